"""Packages of jobs: installed once, kept whole or not at all, found by scripts, locked away from everything else."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.executor import Executor, ProcessSpec, Signal
from orchestrator.errors import StartFailedError
from orchestrator.executors.docker.engine import open_engine
from orchestrator.executors.docker.images import Images
from orchestrator.executors.docker.mounts import OurFiles
from orchestrator.executors.docker.package_cache import PackageCache
from orchestrator.executors.docker.packages import CONTAINER, Packages
from orchestrator.executors.docker.settings import DockerSettings, PackageSettings, find_endpoint
from orchestrator.executors.docker.tied import open_tie
from orchestrator.model.json import Json
from orchestrator.model.logs import Cursor
from orchestrator.model.specs import Language, Limits
from tests.conftest import ROOT
from tests.executors.docker.engine_for_tests import (
    IMAGE,
    PYTHON,
    containers_of,
    docker,
    inspect,
    installation,
    make_spec,
    open_executor,
)
from tests.executors.docker.package_index import Index, open_index

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

NODE = "cronium-job-node:local"
SDK = ROOT / "sdk"

ORCHESTRATOR = """
import asyncio, sys
from pathlib import Path
from tests.executors.docker.engine_for_tests import open_executor
from tests.executors.docker.test_packages import PackageSettings, python

async def main():
    state = Path(sys.argv[1])
    settings = PackageSettings(directory=state / "packages", pip_config=state / "pip.conf")
    async with open_executor(state, packages=settings) as executor:
        await executor.start(python(state, "", "beta", tied=sys.argv[2] == "tied"))

asyncio.run(main())
"""


@dataclass
class Heard:
    """A `Setup` that keeps what it is told."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Json] = field(default_factory=dict)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def record(self, fact: str, value: Json) -> None:
        self.facts[fact] = value


@pytest.fixture
async def index() -> AsyncIterator[Index]:
    async with open_index() as found:
        found.add_wheel("alpha", "1.0", requires="beta")
        found.add_wheel("beta", "2.5")
        yield found


def rules(state: Path, index: Index, **changes: Any) -> PackageSettings:
    return replace(
        PackageSettings(
            directory=state / "packages",
            pip_config=index.pip_config(state / "pip.conf"),
            npm_config=index.npm_config(state / "npmrc"),
        ),
        **changes,
    )


def python(state: Path, code: str, *packages: str, **changes: Any) -> ProcessSpec:
    given = {"image": PYTHON, "language": Language.PYTHON, "packages": packages, "argv": ["python3", "-c", code]}
    return make_spec(state, "", **{**given, **changes})


def node(state: Path, file: str, text: str, *packages: str, **changes: Any) -> ProcessSpec:
    """A Node script as a job's is given: with the SDK's hook."""
    spec = make_spec(
        state, "", image=NODE, language=Language.NODE, packages=packages, argv=["node", f"/cronium/{file}"]
    )
    (spec.directory / file).write_text(text)
    (spec.directory / "sdk").mkdir()
    for path in (SDK / "js/lib/cronium").iterdir():
        (spec.directory / "sdk" / path.name).write_bytes(path.read_bytes())
    return replace(
        spec, env={"NODE_PATH": "/cronium/sdk", "NODE_OPTIONS": "--require=/cronium/sdk/register.cjs"}, **changes
    )


async def run(executor: Executor, spec: ProcessSpec, heard: Heard | None = None) -> tuple[int | None, str]:
    """Run to the end; exit code and all output."""
    process = await executor.start(spec, heard or Heard())
    try:
        output = b"".join([chunk.data async for chunk in process.output(Cursor())])
        return (await process.wait()).code, output.decode()
    finally:
        await process.remove()


@asynccontextmanager
async def open_packages(state: Path, settings: PackageSettings) -> AsyncIterator[Packages]:
    docker_settings = DockerSettings(
        installation=installation(state), socket_directory=state / "sockets", packages=settings
    )
    endpoint = find_endpoint(None)
    async with open_tie(endpoint) as tie, open_engine(endpoint, 30.0) as engine:
        yield Packages(engine, docker_settings, OurFiles(engine), Images(engine, docker_settings), tie)


async def held(packages: Packages, spec: ProcessSpec, heard: Heard | None = None) -> ProcessSpec:
    async with packages.ready(spec, heard or Heard()) as found:
        return found


async def installing(state: Path) -> str:
    """The container that installs, once there is one."""
    async with asyncio.timeout(60):
        while not (found := [name for name in containers_of(state) if name.startswith(CONTAINER)]):
            await asyncio.sleep(0.05)
    return found[0]


def entries(state: Path) -> list[str]:
    return sorted(path.parent.name for path in (state / "packages").glob("*/entry.json"))


def staged(state: Path) -> list[str]:
    place = state / "packages" / "staging"
    return [path.name for path in place.iterdir()] if place.exists() else []


async def test_a_python_script_finds_its_packages_and_the_journal_their_versions(tmp_path: Path, index: Index):
    heard = Heard()
    code = "import alpha, beta, shutil; alpha.main(); print(alpha.__file__, shutil.which('alpha-hello'))"
    async with open_executor(tmp_path, packages=rules(tmp_path, index)) as executor:
        assert await run(executor, python(tmp_path, code, "alpha>=1"), heard) == (
            0,
            "hello\n/packages/alpha.py /packages/bin/alpha-hello\n",
        )
    assert heard.facts["packages"] == {"alpha": "1.0", "beta": "2.5"}
    assert heard.lines[0] == f"Installing alpha>=1 in the image {PYTHON}."
    assert heard.lines[-1].startswith("Installed alpha 1.0, beta 2.5 in ")


async def test_a_program_that_a_package_brings_runs(tmp_path: Path, index: Index):
    async with open_executor(tmp_path, packages=rules(tmp_path, index)) as executor:
        spec = python(tmp_path, "import subprocess; subprocess.run(['alpha-hello'], check=True)", "alpha")
        assert await run(executor, spec) == (0, "hello\n")


async def test_the_next_job_takes_them_from_the_cache_also_after_a_restart(tmp_path: Path, index: Index):
    settings = rules(tmp_path, index)
    async with open_executor(tmp_path, packages=settings) as executor:
        await run(executor, python(tmp_path, "import alpha", "alpha", "beta"))
        asked = len(index.asked)
        again = Heard()
        assert (await run(executor, python(tmp_path, "import alpha", "beta", "alpha"), again))[0] == 0
    async with open_executor(tmp_path, packages=settings) as executor:
        later = Heard()
        assert (await run(executor, python(tmp_path, "import alpha", "alpha", "beta "), later))[0] == 0
    assert len(index.asked) == asked
    assert again.facts["packages"] == later.facts["packages"] == {"alpha": "1.0", "beta": "2.5"}
    assert again.lines == later.lines == []
    assert len(entries(tmp_path)) == 1


async def test_jobs_cannot_write_what_other_jobs_will_find(tmp_path: Path, index: Index):
    code = (
        "import os\n"
        "for path in ('/packages/new', '/packages/alpha.py'):\n"
        "    try:\n"
        "        open(path, 'w')\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
    )
    async with open_executor(tmp_path, packages=rules(tmp_path, index)) as executor:
        code_, output = await run(executor, python(tmp_path, code, "alpha"))
    assert (code_, output) == (0, "Read-only file system\n" * 2)


async def test_the_sdk_comes_before_packages_and_packages_before_what_the_job_names(tmp_path: Path, index: Index):
    env = {"PYTHONPATH": "/cronium/sdk/python:/opt/mine", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    code = "import os; print(os.environ['PYTHONPATH'], os.environ['PATH'])"
    async with open_executor(tmp_path, packages=rules(tmp_path, index)) as executor:
        _, output = await run(executor, python(tmp_path, code, "alpha", env=env))
    assert output == f"/cronium/sdk/python:/packages:/opt/mine {env['PATH']}\n"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("script.cjs", "const gamma = require('gamma'); console.log(gamma.how);"),
        ("script.mjs", "import gamma from 'gamma'; console.log(gamma.how);"),
        ("script.mjs", "console.log((await import('gamma')).default.how);"),
    ],
    ids=["require", "import", "import()"],
)
async def test_a_node_script_finds_its_packages_either_way(file: str, text: str, tmp_path: Path, index: Index):
    exports = '{"name": "gamma", "version": "3.0.0", "exports": {"import": "./index.mjs", "require": "./index.cjs"}, '
    exports += '"bin": {"gamma-hello": "bin.js"}}'
    files = {
        "package.json": exports,
        "index.mjs": "export default {how: 'found'};",
        "index.cjs": "module.exports = {how: 'found'};",
        "bin.js": "#!/usr/bin/env node\nconsole.log('hello');",
    }
    index.add_npm("gamma", "3.0.0", files)
    heard = Heard()
    ending = "const {spawnSync} = await import('node:child_process');" if file.endswith(".mjs") else ""
    ending = ending or "const {spawnSync} = require('node:child_process');"
    text = f"{text}\n{ending}\nconsole.log(spawnSync('gamma-hello').stdout.toString().trim());"
    async with open_executor(tmp_path, packages=rules(tmp_path, index)) as executor:
        assert await run(executor, node(tmp_path, file, text, "gamma@^3"), heard) == (0, "found\nhello\n")
    assert heard.facts["packages"] == {"gamma": "3.0.0"}
    assert list((tmp_path / "packages").rglob("ran-a-script")) == []


async def test_ten_jobs_at_once_install_once(tmp_path: Path, index: Index):
    index.open.clear()
    hearing = [Heard() for _ in range(10)]
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages, asyncio.TaskGroup() as tasks:
        spec = python(tmp_path, "", "beta")
        waiting = [tasks.create_task(held(packages, spec, heard)) for heard in hearing]
        await asyncio.wait_for(index.reached.wait(), 60)
        index.open.set()
    assert index.asked.count("beta") == 1
    assert {task.result().labels["packages"] for task in waiting} == set(entries(tmp_path))
    for heard in hearing:
        assert heard.facts["packages"] == {"beta": "2.5"}
        assert heard.lines[-1].startswith("Installed beta 2.5")


async def test_a_cancelled_job_leaves_the_installation_to_the_others(tmp_path: Path, index: Index):
    index.open.clear()
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages, asyncio.TaskGroup() as tasks:
        spec = python(tmp_path, "", "beta")
        first, second = (tasks.create_task(held(packages, spec)) for _ in range(2))
        await asyncio.wait_for(index.reached.wait(), 60)
        first.cancel()
        await asyncio.wait({first})
        index.open.set()
    assert first.cancelled()
    assert second.result().labels["packages"] == entries(tmp_path)[0]
    assert index.asked.count("beta") == 1


async def test_the_last_one_that_is_cancelled_takes_everything_with_it(tmp_path: Path, index: Index):
    index.open.clear()
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages:
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(held(packages, python(tmp_path, "", "beta"))) for _ in range(2)]
            await asyncio.wait_for(index.reached.wait(), 60)
            for task in waiting:
                task.cancel()
        assert (containers_of(tmp_path), entries(tmp_path), staged(tmp_path)) == ([], [], [])
        index.open.set()
        await held(packages, python(tmp_path, "", "beta"))
    assert len(entries(tmp_path)) == 1


async def test_two_processes_on_one_directory_install_once(tmp_path: Path, index: Index):
    index.open.clear()
    settings = rules(tmp_path, index)
    async with AsyncExitStack() as stack:
        ours, theirs = [await stack.enter_async_context(open_packages(tmp_path, settings)) for _ in range(2)]
        async with asyncio.TaskGroup() as tasks:
            for packages in (ours, theirs):
                tasks.create_task(held(packages, python(tmp_path, "", "beta")))
            await asyncio.wait_for(index.reached.wait(), 60)
            index.open.set()
    assert index.asked.count("beta") == 1


async def test_two_installations_on_one_engine_keep_out_of_each_others_way(tmp_path: Path, index: Index):
    async with AsyncExitStack() as stack:
        for name in ("one", "two"):
            state = tmp_path / name
            state.mkdir()
            packages = await stack.enter_async_context(open_packages(state, rules(state, index)))
            await held(packages, python(state, "", "beta"))
    assert entries(tmp_path / "one") != entries(tmp_path / "two")


async def test_what_installs_is_locked_down_like_a_job_and_knows_nothing_of_it(tmp_path: Path, index: Index):
    index.open.clear()
    async with open_executor(tmp_path, packages=rules(tmp_path, index)) as executor:
        plain = await executor.start(python(tmp_path, "input()", env={"CRONIUM_EXECUTION_TOKEN": "cra_secret"}))
        job = inspect(plain.name)
        await plain.remove()
        spec = python(tmp_path, "", "beta", env={"CRONIUM_EXECUTION_TOKEN": "cra_secret"})
        starting = asyncio.ensure_future(executor.start(spec))
        found = inspect(await installing(tmp_path))
        index.open.set()
        await (await starting).remove()
    same = ("CapDrop", "CapAdd", "SecurityOpt", "ReadonlyRootfs", "Init", "Privileged", "PidsLimit", "Ulimits")
    assert {key: found["HostConfig"][key] for key in same} == {key: job["HostConfig"][key] for key in same}
    assert found["HostConfig"]["Memory"] == found["HostConfig"]["MemorySwap"] == 1024**3
    assert found["HostConfig"]["NetworkMode"] == "bridge"
    assert found["Config"]["User"] == job["Config"]["User"] == "65534:65534"
    assert found["Config"]["Labels"]["cronium.installation"] == installation(tmp_path)
    assert "secret" not in json.dumps(found)
    assert sorted(mount["Destination"] for mount in found["Mounts"]) == ["/config", "/packages", "/tmp"]


async def test_a_package_that_is_not_there_is_named_in_pips_own_words(tmp_path: Path, index: Index):
    heard = Heard()
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages:
        with pytest.raises(
            StartFailedError, match=r"No matching distribution found for nowhere.* Check the name"
        ) as caught:
            await held(packages, python(tmp_path, "", "nowhere==9"), heard)
    assert caught.value.reason == "invalid"
    assert any("No matching distribution" in line for line in heard.lines)
    assert (entries(tmp_path), staged(tmp_path)) == ([], [])


async def test_a_node_package_that_is_not_there_is_named_in_npms_own_words(tmp_path: Path, index: Index):
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages:
        with pytest.raises(StartFailedError, match=r"404.* Check the name") as caught:
            await held(packages, node(tmp_path, "script.cjs", "", "nowhere@9"))
    assert caught.value.reason == "invalid"


async def test_an_index_out_of_reach_is_the_networks_fault_and_may_be_tried_again(tmp_path: Path, index: Index):
    async with open_packages(tmp_path, rules(tmp_path, index, network="none")) as packages:
        with pytest.raises(StartFailedError, match=r"From the network none the index cannot be reached") as caught:
            await held(packages, python(tmp_path, "", "beta"))
    assert caught.value.reason == "host_unreachable"


async def test_an_image_without_pip_is_said_to_have_none(tmp_path: Path, index: Index):
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages:
        with pytest.raises(StartFailedError, match=r"The image has no pip") as caught:
            await held(packages, python(tmp_path, "", "beta", image=IMAGE))
    assert caught.value.reason == "invalid"


async def test_a_python_that_the_script_does_not_want_is_refused_before_anything_is_fetched(
    tmp_path: Path, index: Index
):
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages:
        with pytest.raises(StartFailedError, match=rf"asks for Python >=3.99 .*{PYTHON} has 3\.\d+\.\d+") as caught:
            async with packages.ready(python(tmp_path, "", "beta"), Heard(), requires=">=3.99"):
                pytest.fail("it was ready")
        async with packages.ready(python(tmp_path, ""), Heard(), requires=">=3.8") as ready:
            assert ready.labels["packages"] == entries(tmp_path)[0]
    assert caught.value.reason == "invalid"
    assert index.asked == []


async def test_code_of_a_packages_own_runs_only_where_the_operator_allows_it(tmp_path: Path, index: Index):
    index.add_sdist("built", "1.0")
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages:
        with pytest.raises(StartFailedError, match="package_scripts"):
            await held(packages, python(tmp_path, "", "built"))
    async with open_executor(tmp_path, packages=rules(tmp_path, index, scripts=True)) as executor:
        assert await run(executor, python(tmp_path, "import built; built.main()", "built")) == (0, "built\n")


async def test_what_logs_in_at_an_index_reaches_no_job_and_no_log(tmp_path: Path, index: Index):
    index.password = "hunter2"
    config = index.pip_config(tmp_path / "own.conf", user="me:hunter2@")
    heard = Heard()
    async with open_executor(tmp_path, packages=rules(tmp_path, index, pip_config=config)) as executor:
        process = await executor.start(python(tmp_path, "input()", "beta"), heard)
        found = json.dumps(inspect(process.name))
        await process.signal(Signal.KILL)
        await process.remove()
    assert "hunter2" not in found + json.dumps(heard.facts) + "".join(heard.lines)
    kept = [path for path in (tmp_path / "packages").rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if b"hunter2" in path.read_bytes()] == []


async def test_an_index_that_wants_a_password_is_said_to_want_one(tmp_path: Path, index: Index):
    index.password = "hunter2"
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages:
        with pytest.raises(StartFailedError, match=r"package_pip_config"):
            await held(packages, python(tmp_path, "", "beta"))


async def test_a_server_without_rights_can_remove_what_the_containers_user_has_installed(tmp_path: Path, index: Index):
    index.add_npm("gamma", "3.0.0", {"package.json": '{"name": "gamma", "version": "3.0.0"}', "lib/deep/a.js": ""})
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages:
        await held(packages, python(tmp_path, "", "alpha"))
        await held(packages, node(tmp_path, "script.cjs", "", "gamma"))
    directories = [path for path in (tmp_path / "packages").glob("*/tree/**/*") if path.is_dir()]
    assert {path.name for path in directories} >= {"alpha-1.0.dist-info", "deep"}
    assert [path for path in directories if path.stat().st_mode & 0o777 != 0o777] == []


async def test_what_was_not_used_for_longest_makes_room_but_nothing_that_is_mounted(tmp_path: Path, index: Index):
    for name in ("one", "two", "three", "four"):
        index.add_wheel(name, "1.0", size=600_000)
    settings = rules(tmp_path, index, cache_bytes=1_500_000)
    cache = PackageCache(settings.directory)
    async with open_executor(tmp_path, packages=settings) as executor:
        running = await executor.start(python(tmp_path, "import time; time.sleep(60)", "one"))
        [first] = entries(tmp_path)
        for name in ("two", "three"):
            assert (await run(executor, python(tmp_path, "", name)))[0] == 0
            os.utime(settings.directory / first / "entry.json", (1, 1))  # used longest ago
        assert first in entries(tmp_path)
        assert len(entries(tmp_path)) == 2
        await running.remove()
        assert (await run(executor, python(tmp_path, "", "four")))[0] == 0
    assert first not in entries(tmp_path)
    assert not cache.tree(first).exists()


async def test_packages_larger_than_the_whole_cache_are_refused(tmp_path: Path, index: Index):
    index.add_wheel("huge", "1.0", size=3_000_000)
    async with open_packages(tmp_path, rules(tmp_path, index, cache_bytes=2_000_000)) as packages:
        with pytest.raises(StartFailedError, match="package_cache_bytes") as caught:
            await held(packages, python(tmp_path, "", "huge"))
    assert caught.value.reason == "limit"
    assert (entries(tmp_path), staged(tmp_path)) == ([], [])


async def test_what_a_killed_server_had_begun_is_removed_and_never_used(tmp_path: Path, index: Index):
    """The lock of an installation goes with its process; its container and its directory stay behind."""
    settings = rules(tmp_path, index)
    key = (await _key_of(tmp_path, settings)).removeprefix(CONTAINER)
    half = PackageCache(settings.directory).stage(key)
    (half.tree / "beta.py").write_text("half")
    label = f"cronium.installation={installation(tmp_path)}"
    docker("run", "-d", "--name", f"{CONTAINER}{key}", "--label", label, IMAGE, "sleep", "60")
    async with open_executor(tmp_path, packages=settings) as executor:
        assert (await run(executor, python(tmp_path, "import beta; beta.main()", "beta"))) == (0, "hello\n")
        docker("run", "-d", "--name", f"{CONTAINER}{key}", "--label", label, IMAGE, "sleep", "60")
        assert await executor.sweep(frozenset()) == [f"{CONTAINER}{key}"]
    assert staged(tmp_path) == []
    assert entries(tmp_path) == [key]


async def test_what_another_began_and_died_with_goes_with_the_next_installation(tmp_path: Path, index: Index):
    """Commands do not sweep when they start: others of them may be at work."""
    settings = rules(tmp_path, index)
    cache = PackageCache(settings.directory)
    dead, alive = cache.stage("dead"), cache.stage("alive")
    lock = cache.lock("alive")
    assert lock is not None
    async with open_packages(tmp_path, settings) as packages:
        await held(packages, python(tmp_path, "", "beta"))
    assert (dead.directory.exists(), alive.directory.exists()) == (False, True)
    lock.release()


async def kill_while_installing(state: Path, index: Index, *, tied: bool) -> str:
    """Start a job with packages in another process, kill that while they are installed, and return the container."""
    index.open.clear()
    rules(state, index)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ORCHESTRATOR, str(state), "tied" if tied else ""),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    await asyncio.wait_for(index.reached.wait(), 60)
    name = await installing(state)
    child.kill()
    await child.wait()
    return name


async def test_a_server_that_is_killed_while_it_installs_leaves_nothing_for_good(tmp_path: Path, index: Index):
    settings = rules(tmp_path, index)
    left = await kill_while_installing(tmp_path, index, tied=False)
    assert containers_of(tmp_path) == [left]
    assert len(staged(tmp_path)) == 1
    index.open.set()
    async with open_executor(tmp_path, packages=settings) as executor:
        assert await executor.sweep(frozenset()) == [left]
        assert (staged(tmp_path), entries(tmp_path)) == ([], [])
        assert await run(executor, python(tmp_path, "import beta; beta.main()", "beta")) == (0, "hello\n")


async def test_a_command_that_is_killed_while_it_installs_takes_the_container_with_it(tmp_path: Path, index: Index):
    left = await kill_while_installing(tmp_path, index, tied=True)
    async with asyncio.timeout(30):
        while left in containers_of(tmp_path):
            await asyncio.sleep(0.05)  # polling with a deadline: another program removes it
    assert entries(tmp_path) == []


async def test_a_sweep_leaves_an_installation_that_is_under_way(tmp_path: Path, index: Index):
    index.open.clear()
    settings = rules(tmp_path, index)
    async with open_executor(tmp_path, packages=settings) as executor:
        starting = asyncio.ensure_future(executor.start(python(tmp_path, "", "beta")))
        await asyncio.wait_for(index.reached.wait(), 60)
        async with open_executor(tmp_path, packages=settings) as other:
            assert await other.sweep(frozenset()) == []
        index.open.set()
        await (await starting).remove()
    assert len(entries(tmp_path)) == 1


async def test_an_installation_that_somebody_kills_is_tried_again(tmp_path: Path, index: Index):
    index.open.clear()
    async with open_packages(tmp_path, rules(tmp_path, index)) as packages:
        waiting = asyncio.ensure_future(held(packages, python(tmp_path, "", "beta")))
        await asyncio.wait_for(index.reached.wait(), 60)
        docker("rm", "-f", "-v", await installing(tmp_path))
        with pytest.raises(StartFailedError, match="somebody removed or stopped") as caught:
            await waiting
    assert caught.value.reason == "host_unreachable"


async def test_packages_need_little_of_the_jobs_own_limits(tmp_path: Path, index: Index):
    """The installation has limits of its own: a job of 32 MiB has packages, too."""
    index.add_wheel("large", "1.0", size=40_000_000)
    async with open_executor(tmp_path, packages=rules(tmp_path, index)) as executor:
        small = Limits(memory_bytes=32 * 1024 * 1024)
        assert (await run(executor, python(tmp_path, "import large", "large", limits=small)))[0] == 0


@pytest.mark.parametrize("language", [Language.PYTHON, Language.NODE])
async def test_packages_come_from_the_registry_that_the_image_knows(language: Language, tmp_path: Path):
    """With no setting at all: one small package of each."""
    settings = PackageSettings(directory=tmp_path / "packages")
    spec = (
        python(tmp_path, "import six; print(six.__name__)", "six==1.16.0")
        if language is Language.PYTHON
        else node(tmp_path, "script.mjs", "import ms from 'ms'; console.log(ms(60000));", "ms@2.1.3")
    )
    heard = Heard()
    async with open_executor(tmp_path, packages=settings) as executor:
        code, output = await run(executor, spec, heard)
    assert (code, output) == (0, "six\n" if language is Language.PYTHON else "1m\n"), heard.lines
    assert heard.facts["packages"] == ({"six": "1.16.0"} if language is Language.PYTHON else {"ms": "2.1.3"})


async def _key_of(state: Path, settings: PackageSettings) -> str:
    """The container that would install `beta`."""
    async with open_packages(state, settings) as packages:
        spec = python(state, "", "beta")
        image = await packages._image(spec, Heard())
        return (await packages._order(spec, image, "", settings)).name
