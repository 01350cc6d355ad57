"""Containers that wait: each runs one job, once; whatever dies, no job runs twice and no container waits for ever."""

from __future__ import annotations

import asyncio
import io
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.executor import Executor, ProcessSpec, Signal
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.package_cache import PackageCache
from orchestrator.executors.docker.settings import PackageSettings
from orchestrator.executors.docker.warm_slot import WarmFiles
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Limits, Volume, Workspace
from tests.executors.docker.engine_for_tests import (
    IMAGE,
    PYTHON,
    Proxy,
    containers_of,
    docker,
    inspect,
    installation,
    make_spec,
    open_executor,
    open_proxy,
)
from tests.executors.docker.warm_for_tests import (
    Noting,
    Tally,
    open_always_warm,
    open_pool,
    pool_of,
    profile_for,
    starts_of,
    warmed,
)
from tests.suites.executor_suite import finish, read_until

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

DOCKER_INIT = Path("/usr/bin/docker-init")


async def run(executor: Executor, spec: ProcessSpec) -> bytes:
    process = await executor.start(spec)
    try:
        return (await finish(process)).stdout
    finally:
        await process.remove()


async def until(condition: Any) -> None:
    """Polling with a deadline: it is the engine, or the one task of the pool, that gets there."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def behind_a_proxy(state: Path, tally: Tally | None = None) -> AsyncIterator[tuple[Executor, Proxy]]:
    async with (
        open_proxy(state / "proxy.sock") as proxy,
        open_pool(state, tally, endpoint=f"unix://{state}/proxy.sock") as executor,
    ):
        yield executor, proxy


def idle(executor: Executor) -> list[Any]:
    return [slot for slots in pool_of(executor)._idle.values() for slot in slots]


async def test_there_are_none_by_default(tmp_path: Path):
    tally = Tally()
    async with open_executor(tmp_path, warm_directory=tmp_path / "warm", observer=tally) as executor:
        assert await run(executor, make_spec(tmp_path, "echo ran")) == b"ran\n"
        assert idle(executor) == []
    assert (tally.hits, tally.misses) == (0, 0)


async def test_the_second_job_of_a_kind_finds_a_container_waiting(tmp_path: Path):
    tally, setup = Tally(), Noting()
    async with open_pool(tmp_path, tally) as executor:
        assert await run(executor, make_spec(tmp_path, "echo cold")) == b"cold\n"
        await until(lambda: tally.waiting == 1)
        name = f"cronium-warm-{idle(executor)[0].id}"
        assert name in containers_of(tmp_path)
        process = await executor.start(make_spec(tmp_path, "echo warm"), setup)
        assert name not in containers_of(tmp_path)
        assert process.name in containers_of(tmp_path)
        assert (await finish(process)).stdout == b"warm\n"
        await process.remove()
    assert (tally.hits, tally.misses) == (1, 1)
    assert setup.facts["warm"] is True
    assert setup.facts["image"]["name"] == IMAGE


SEEN = """cat /proc/$$/environ | tr '\\0' '\\n' | grep -v ^HOSTNAME= | sort; pwd; umask; ls -laR --time-style=+ /cronium; id
ls /proc/$$/fd; cut -d' ' -f2-4 /proc/self/mounts | cut -d, -f1 | sort; ulimit -a; grep -E '^(Sig|Cap|Seccomp|NoNew)' /proc/self/status
echo $PPID; [ $(cut -d' ' -f5 /proc/$$/stat) = $$ ] && echo leads; cat; hostname | wc -c; ls -ld --time-style=+ /artifacts /workspace /tmp; ls -A / /workspace"""


async def test_a_script_sees_exactly_what_it_sees_in_a_cold_one(tmp_path: Path):
    """The same environment, working directory, files, descriptors, mounts, limits, signals and rights."""
    outputs = []
    async with open_always_warm(tmp_path) as warm, open_executor(tmp_path) as cold:
        for executor in (warm, cold):
            spec = with_artifacts(make_spec(tmp_path, SEEN, env={"A.B": " x'\n", "HOME": "/workspace", "T": "1"}))
            (spec.directory / "sdk").mkdir(mode=0o555)
            spec.directory.chmod(0o555)
            outputs.append(await run(executor, spec))
        assert warm.tally.hits == 1
    assert b"A.B= x'" in outputs[0]
    assert outputs[0].splitlines() == outputs[1].splitlines()


def with_artifacts(spec: ProcessSpec) -> ProcessSpec:
    directory = spec.directory.with_name(f"{spec.name}.artifacts")
    directory.mkdir()
    directory.chmod(0o777)
    return replace(spec, artifacts=directory)


async def test_what_a_script_leaves_as_artifacts_is_where_the_job_expects_it(tmp_path: Path):
    async with open_always_warm(tmp_path) as executor:
        spec = with_artifacts(make_spec(tmp_path, "echo kept > /artifacts/file"))
        await run(executor, spec)
        assert executor.tally.hits == 1
    assert spec.artifacts is not None
    assert (spec.artifacts / "file").read_text() == "kept\n"


async def test_nothing_of_a_job_is_in_a_container_that_waits(tmp_path: Path):
    async with open_pool(tmp_path) as executor:
        spec = make_spec(tmp_path, "echo", env={"CRONIUM_EXECUTION_TOKEN": "cra_secret"})
        await warmed(executor, spec)
        found = inspect(f"cronium-warm-{idle(executor)[0].id}")
    assert "cra_secret" not in str(found)
    assert "CRONIUM" not in str(found["Config"]["Env"])


async def test_each_container_runs_one_job(tmp_path: Path):
    async with open_always_warm(tmp_path) as executor:
        first = await run(executor, make_spec(tmp_path, "touch /workspace/left /tmp/left; hostname"))
        second = await run(executor, make_spec(tmp_path, "ls /workspace /tmp; hostname"))
        assert executor.tally.hits == 2
    assert b"left" not in second
    assert first not in second


async def test_the_times_of_the_end_are_the_scripts_not_the_containers(tmp_path: Path):
    async with open_always_warm(tmp_path) as executor:
        spec = make_spec(tmp_path, "exit 3")
        await warmed(executor._executor, spec)
        await asyncio.sleep(0.05)
        before = datetime.now(UTC)
        process = await executor.start(spec)
        found = await executor.attach(spec.name)
        assert found is not None
        for exit_ in (await process.wait(), await found.wait()):
            assert exit_.code == 3
            assert exit_.started_at is not None
            assert exit_.finished_at is not None
            assert before.timestamp() - 0.02 <= exit_.started_at.timestamp()  # a file's time is that of the last tick
            assert exit_.started_at <= exit_.finished_at
        await process.remove()


@pytest.mark.parametrize(
    "changes",
    [
        {"warm": False},
        {"workspace": Workspace.VOLUME},
        {"volumes": [Volume(source="/srv", target="/mnt")]},
        {"tied": True},
    ],
)
async def test_jobs_that_do_not_want_it_or_cannot_have_it_are_started_cold(tmp_path: Path, changes: dict):
    async with open_pool(tmp_path) as executor:
        assert not starts_of(executor).serves(make_spec(tmp_path, "true", **changes))
        assert starts_of(executor).serves(make_spec(tmp_path, "true"))


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": Limits(memory_bytes=2**27)},
        {"limits": Limits(cpus=0.5)},
        {"limits": Limits(pids=17)},
        {"network": "bridge"},
        {"workdir": "/usr"},
        {"image": "cronium-job-bash:local"},
        {"env": {"PATH": "/bin"}},
    ],
)
async def test_a_job_never_gets_a_container_of_another_kind(tmp_path: Path, changes: dict):
    async with open_pool(tmp_path) as executor:
        usual = await profile_for(executor, make_spec(tmp_path, "true"))
        assert await profile_for(executor, make_spec(tmp_path, "false", env={"A": "1"})) == usual
        assert await profile_for(executor, make_spec(tmp_path, "true", **changes)) != usual


async def test_no_more_wait_than_the_setting_allows(tmp_path: Path):
    tally = Tally()
    async with open_pool(tmp_path, tally) as executor:
        await warmed(executor, make_spec(tmp_path, "true"), 2)
        spec = make_spec(tmp_path, "true")
        profile = await profile_for(executor, spec)
        for _ in range(8):
            pool_of(executor)._demand.ask(profile, pool_of(executor)._now())
        assert pool_of(executor)._missing() is None
        other = make_spec(tmp_path, "true", workdir="/usr")
        for _ in range(8):
            pool_of(executor)._demand.ask(await profile_for(executor, other), pool_of(executor)._now())
        await warmed(executor, other)  # takes the place of one
        await until(lambda: len(containers_of(tmp_path)) == 2)
        assert len(idle(executor)) == 2
    assert tally.wasted == 1


async def test_what_nobody_asks_for_any_more_is_thrown_away(tmp_path: Path):
    tally = Tally()
    async with open_pool(tmp_path, tally) as executor:
        await warmed(executor, make_spec(tmp_path, "true"))
        pool_of(executor)._demand._asked.clear()
        pool_of(executor)._news.set()
        await until(lambda: containers_of(tmp_path) == [] and list((tmp_path / "warm").iterdir()) == [])
    assert (tally.wasted, tally.waiting) == (1, 0)


async def test_one_that_dies_while_it_waits_is_replaced_and_no_job_fails_for_it(tmp_path: Path):
    tally = Tally()
    async with open_pool(tmp_path, tally) as executor:
        await warmed(executor, make_spec(tmp_path, "true"))
        dead = idle(executor)[0]
        docker("kill", dead.container)
        await until(lambda: tally.wasted == 1)  # told by the kernel, without a look
        assert await run(executor, make_spec(tmp_path, "echo ran")) == b"ran\n"
        await until(lambda: idle(executor) and idle(executor)[0] is not dead)


async def test_one_that_dies_as_it_is_taken_is_followed_by_a_cold_start(tmp_path: Path):
    tally = Tally()
    async with behind_a_proxy(tmp_path, tally) as (executor, proxy):
        spec = make_spec(tmp_path, "echo ran")
        await warmed(executor, spec)
        proxy.holds["/rename"] = asyncio.Event()
        starting = asyncio.ensure_future(executor.start(spec))
        await proxy.held.wait()
        docker("kill", idle_id := pool_container(tmp_path))
        proxy.holds["/rename"].set()
        process = await starting
        assert (await finish(process)).stdout == b"ran\n"
        assert inspect(process.name)["Id"] != idle_id
        await process.remove()
    assert (tally.hits, tally.misses) == (0, 1)


def pool_container(state: Path) -> str:
    (found,) = [name for name in containers_of(state) if name.startswith("cronium-warm-")]
    return inspect(found)["Id"]


async def test_a_name_that_somebody_has_is_not_taken_and_the_container_waits_on(tmp_path: Path):
    async with open_pool(tmp_path) as executor, open_executor(tmp_path) as other:
        spec = make_spec(tmp_path, "echo ran; sleep 1000")
        await warmed(executor, spec)
        (slot,) = idle(executor)
        first = await other.start(spec)
        second = await executor.start(spec)
        await read_until(second, b"ran\n")
        await first.signal(Signal.KILL)
        assert (await finish(second)).stdout == b"ran\n"
        assert slot in idle(executor)
        assert slot.gate.is_waited_at
        await first.remove()


async def test_many_starts_of_one_name_run_it_once(tmp_path: Path):
    async with open_pool(tmp_path) as one, open_pool(tmp_path) as other, open_executor(tmp_path) as cold:
        for _ in range(5):
            spec = with_artifacts(make_spec(tmp_path, "echo ran | tee -a /artifacts/runs"))
            await warmed(one, spec)
            await warmed(other, spec)
            processes = await asyncio.gather(*(executor.start(spec) for executor in (one, other, cold) * 2))
            for process in processes:
                assert (await finish(process)).stdout == b"ran\n"
            await processes[0].remove()
            assert spec.artifacts is not None
            assert (spec.artifacts / "runs").read_text() == "ran\n"


async def test_one_that_was_named_and_never_given_its_job_is_given_up_for_good(tmp_path: Path):
    """Its starter hangs: whoever asks by name is told that it never ran, and the starter comes too late."""
    async with open_pool(tmp_path) as executor, open_executor(tmp_path, warm_directory=tmp_path / "warm") as other:
        spec = make_spec(tmp_path, "echo ran")
        await warmed(executor, spec)
        (slot,) = idle(executor)
        docker("rename", f"cronium-warm-{slot.id}", spec.name)
        assert await other.attach(spec.name) is None
        slot.files.fill(spec.directory, None, b"exec echo ran\n")
        assert not slot.files.give()
        await until(lambda: slot.container not in docker("ps", "-aq", "--no-trunc").split())
        assert await other.attach(spec.name) is None


async def test_a_start_that_another_gave_up_is_lost_and_not_run(tmp_path: Path):
    async with behind_a_proxy(tmp_path) as (executor, proxy):
        spec = make_spec(tmp_path, "echo ran")
        await warmed(executor, spec)
        proxy.holds["/rename"] = asyncio.Event()
        starting = asyncio.ensure_future(executor.start(spec))
        await proxy.held.wait()
        (directory,) = (tmp_path / "warm").iterdir()
        assert not WarmFiles(directory).was_given()  # which gives it up
        proxy.holds["/rename"].set()
        with pytest.raises(StartFailedError, match="given up") as failure:
            await starting
        assert failure.value.reason == Reason.LOST
        assert await executor.attach(spec.name) is None


async def test_a_start_that_is_cancelled_anywhere_runs_once_or_never(tmp_path: Path):
    async with open_pool(tmp_path) as executor:
        for milliseconds in range(0, 40, 2):
            spec = with_artifacts(make_spec(tmp_path, "echo ran | tee -a /artifacts/runs"))
            await warmed(executor, spec)
            starting = asyncio.ensure_future(executor.start(spec))
            await asyncio.wait({starting}, timeout=milliseconds / 1000)
            starting.cancel()
            await asyncio.wait({starting})
            found = await executor.attach(spec.name)
            assert spec.artifacts is not None
            if found is not None:
                assert (await finish(found)).stdout == b"ran\n"
                await found.remove()
                assert (spec.artifacts / "runs").read_text() == "ran\n"
            else:
                assert not (spec.artifacts / "runs").exists()


async def test_an_engine_that_goes_away_in_a_start_leaves_nothing_that_runs_later(tmp_path: Path):
    async with behind_a_proxy(tmp_path) as (executor, proxy):
        spec = make_spec(tmp_path, "echo ran")
        await warmed(executor, spec)
        proxy.cuts["/rename"] = [0]  # it hears it, and its answer is lost
        with pytest.raises(UnavailableError):
            await executor.start(spec)
        assert await executor.attach(spec.name) is None
        assert spec.name not in containers_of(tmp_path)
        assert await run(executor, make_spec(tmp_path, "echo next")) == b"next\n"


async def test_containers_are_made_again_when_the_engine_is_back(tmp_path: Path):
    async with behind_a_proxy(tmp_path) as (executor, proxy):
        spec = make_spec(tmp_path, "true")
        profile = await profile_for(executor, spec)
        proxy.is_down = True
        proxy.drop_all()
        pool_of(executor)._demand.ask(profile, pool_of(executor)._now())
        pool_of(executor)._news.set()
        await until(lambda: len(pool_of(executor)._doomed) > 0)
        proxy.is_down = False
        await until(lambda: len(idle(executor)) == 1)
        await until(lambda: len(containers_of(tmp_path)) == 1)


async def test_an_image_that_was_built_again_makes_its_containers_stale(tmp_path: Path):
    name = f"cronium-warm-test:{installation(tmp_path)[-8:]}"
    docker("tag", IMAGE, name)
    tally, setup = Tally(), Noting()
    try:
        async with open_pool(tmp_path, tally) as executor:
            await warmed(executor, make_spec(tmp_path, "true", image=name))
            docker("tag", "cronium-job-bash:local", name)
            process = await executor.start(make_spec(tmp_path, "echo ran", image=name), setup)
            assert (await finish(process)).stdout == b"ran\n"
            await process.remove()
    finally:
        docker("rmi", name)
    assert (tally.hits, tally.misses, tally.wasted) == (0, 1, 1)
    assert setup.facts["image"]["id"] == inspect("cronium-job-bash:local")["Id"]


async def test_what_an_image_lacks_since_it_was_built_again_is_said_by_a_warm_start_too(tmp_path: Path):
    name = f"cronium-warm-test:{installation(tmp_path)[-8:]}"
    docker("tag", PYTHON, name)
    changes: dict[str, Any] = {"image": name, "argv": ["python3", "-c", "print('ran')"]}
    try:
        async with open_pool(tmp_path) as executor:
            await warmed(executor, make_spec(tmp_path, "", **changes))
            assert await run(executor, make_spec(tmp_path, "", **changes)) == b"ran\n"
            await until(lambda: len(idle(executor)) == 2)  # none is being made of the old one
            docker("tag", "cronium-job-bash:local", name)
            for slot in idle(executor):
                docker("kill", slot.container)
            await until(lambda: all(slot.image == inspect(name)["Id"] for slot in idle(executor)) and idle(executor))
            with pytest.raises(StartFailedError, match="has no python3"):
                await executor.start(make_spec(tmp_path, "", **changes))
    finally:
        docker("rmi", name)


async def test_how_many_wait_is_told_when_it_changes(tmp_path: Path):
    """A server that goes on with another's jobs has a second pool, without demand, and one observer."""
    tally = Tally()
    async with open_pool(tmp_path / "own", tally) as executor, open_pool(tmp_path / "others", tally) as other:
        await warmed(executor, make_spec(tmp_path / "own", "true"))
        assert tally.waiting == 1
        assert pool_of(other)._missing() is None  # as each of its rounds looks
        assert tally.waiting == 1


async def test_an_image_without_a_shell_is_never_warm_and_runs_all_the_same(tmp_path: Path):
    name = f"cronium-warm-test:{installation(tmp_path)[-8:]}"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(DOCKER_INIT.resolve(), "tool")
    subprocess.run(["docker", "import", "-", name], input=packed.getvalue(), check=True, capture_output=True)
    tally = Tally()
    try:
        async with open_pool(tmp_path, tally) as executor:
            spec = make_spec(tmp_path, "", image=name, argv=["/tool", "--version"])
            assert b"tini" in await run(executor, spec)
            await until(lambda: len(pool_of(executor)._unfit) == 1)
            await until(lambda: containers_of(tmp_path) == [])
    finally:
        docker("rmi", name)
    assert tally.waiting == 0


async def test_a_sweep_leaves_those_alone_that_wait(tmp_path: Path):
    async with open_pool(tmp_path) as executor:
        spec = make_spec(tmp_path, "echo ran")
        await warmed(executor, spec)
        assert await executor.sweep(frozenset()) == []
        assert await run(executor, spec) == b"ran\n"


async def test_closing_leaves_no_container_waiting_and_no_file(tmp_path: Path):
    async with open_pool(tmp_path) as executor:
        await warmed(executor, make_spec(tmp_path, "true"), 2)
        assert len(containers_of(tmp_path)) == 2
    assert containers_of(tmp_path) == []
    assert list((tmp_path / "warm").iterdir()) == []


async def test_none_is_made_with_packages_that_are_gone_or_being_installed(tmp_path: Path):
    """Its mount would be of a directory that is removed, and every script in it would miss them."""
    packages = PackageSettings(directory=tmp_path / "packages")
    async with open_pool(tmp_path, packages=packages) as executor:
        spec = make_spec(tmp_path, "true")
        profile = await profile_for(executor, replace(spec, labels={**spec.labels, "packages": "f00"}))
        maker = pool_of(executor).maker
        with pytest.raises(StartFailedError, match="packages are gone"):
            await maker.make("slot-1", profile, lambda: None)
        lock = PackageCache(packages.directory).lock("f00")
        assert lock is not None
        with pytest.raises(StartFailedError, match="packages are just being installed"):
            await maker.make("slot-2", profile, lambda: None)
        lock.release()


SERVER = """
import asyncio, sys
from pathlib import Path
from tests.executors.docker.engine_for_tests import make_spec
from tests.executors.docker.test_warm import with_artifacts
from tests.executors.docker.warm_for_tests import open_pool, warmed

async def main():
    state = Path(sys.argv[1])
    async with open_pool(state) as executor:
        spec = with_artifacts(make_spec(state, "echo ran >> /artifacts/runs; echo ran"))
        await warmed(executor, spec, 2)
        print(spec.name, flush=True)
        if sys.argv[2] == "start":
            await executor.start(spec)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def killed_server(state: Path, what: str, seconds: float) -> ProcessSpec:
    """A server that is killed so long after it began to start a job; the job, made anew as for another attempt at it."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(state), what, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    async with asyncio.timeout(60):
        name = (await server.stdout.readline()).decode().strip()
        await asyncio.sleep(seconds)  # the moment to be tested
        server.send_signal(signal.SIGKILL)
        await server.wait()
    directory = state / "attempts" / name
    spec = make_spec(state, "echo ran >> /artifacts/runs; echo ran")
    return replace(spec, name=name, directory=directory, artifacts=directory.with_name(f"{name}.artifacts"))


async def test_what_a_killed_server_left_waiting_ends_by_itself_and_is_swept(tmp_path: Path):
    await killed_server(tmp_path, "wait", 0.0)
    await until(lambda: docker("ps", "-q", "--filter", f"label=cronium.installation={installation(tmp_path)}") == "")
    async with open_pool(tmp_path) as executor:
        assert len(await executor.sweep(frozenset())) == 2
        assert containers_of(tmp_path) == []
        assert list((tmp_path / "warm").iterdir()) == []


@pytest.mark.parametrize("milliseconds", [0, 2, 4, 6, 8, 10, 12, 15, 20, 40])
async def test_a_server_that_is_killed_anywhere_in_a_start_has_run_it_once_or_never(tmp_path: Path, milliseconds: int):
    spec = await killed_server(tmp_path, "start", milliseconds / 1000)
    assert spec.artifacts is not None
    runs = spec.artifacts / "runs"
    async with open_pool(tmp_path) as executor:
        process = await executor.attach(spec.name)
        if process is None:
            await executor.sweep(frozenset())
            assert not runs.exists()
            shutil.rmtree(spec.directory, ignore_errors=True)
            spec.directory.mkdir()
            process = await executor.start(spec)
        assert (await finish(process)).stdout == b"ran\n"
        assert runs.read_text() == "ran\n"
        await process.remove()
        await executor.sweep(frozenset())
