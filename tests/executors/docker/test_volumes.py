"""`volumes` and `workspace: volume`: what an operator allows and nothing else, read-only; a workspace on disk that goes."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import load_settings
from orchestrator.errors import InvalidError, StartFailedError
from orchestrator.executors.docker.volumes import SOCKETS, Rules
from orchestrator.jobs.container_values import read_volumes
from orchestrator.jobs.faults import Reading
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Volume, Workspace
from tests.executors.docker.engine_for_tests import (
    IMAGE,
    containers_of,
    docker,
    installation,
    kept_by_engine,
    make_spec,
    open_executor,
)
from tests.suites.executor_suite import Seen, finish, read_until

DATA = "/srv/cronium"


def rules(*allowed: str) -> Rules:
    """As on an engine whose paths cannot be looked at here."""
    return Rules(allowed=allowed, closed=(DATA, "/proc", "/var/lib/docker"), hidden=SOCKETS, here=False)


def refused(found: Rules, source: str) -> str:
    with pytest.raises(StartFailedError) as failure:
        found.path(source)
    assert failure.value.reason is Reason.INVALID
    return failure.value.message


@pytest.mark.parametrize("source", ["/data", "/data/", "/data/sets/one", "/models"])
def test_what_is_allowed_and_what_lies_below_it_may_be_mounted(source: str):
    assert rules("/data", "/models").path(source) == source.rstrip("/")


@pytest.mark.parametrize("source", ["/", "/dat", "/database", "/models", "/srv"])
def test_anything_else_is_refused_with_the_setting(source: str):
    message = refused(rules("/data", "named"), source)
    assert "allowed_volumes" in message
    assert source in message


def test_nothing_is_allowed_by_itself():
    assert "allowed_volumes" in refused(rules(), "/data")


@pytest.mark.parametrize(
    "source",
    [
        *("/", "/srv", DATA, f"{DATA}/attempts", "/proc", "/proc/1", "/var", "/var/lib", "/var/lib/docker/volumes"),
        *("/run", "/var/run", "/run/docker.sock", "/var/run/docker.sock"),
    ],
)
def test_our_own_places_and_the_engines_are_refused_even_where_everything_is_allowed(source: str):
    """S11: neither an operator's mistake nor a job's wish opens them."""
    assert "whatever allowed_volumes says" in refused(rules("/"), source)


def test_the_volume_that_we_are_served_from_is_refused_and_others_of_the_engines_are_not():
    """With the server in a container: the engine has all volumes in its own directory, which is closed."""
    ours = "/var/lib/docker/volumes/cronium/_data"
    found = Rules(allowed=("cronium", "models"), closed=("/var/lib/docker", ours), own=(ours,), here=False)
    found.check_volume("models", "/var/lib/docker/volumes/models/_data")
    with pytest.raises(StartFailedError, match="whatever allowed_volumes says"):
        found.check_volume("cronium", ours)


@pytest.mark.parametrize("target", ["/etc", "/run", "/usr/", "/tmp/x", "/cronium", "/proc/sys", "//cronium", "/"])
def test_a_volume_takes_no_place_that_a_container_needs(target: str):
    reading = Reading()
    assert not read_volumes([f"/data:{target}"], reading)
    assert len(reading.problems) == 1


@pytest.mark.parametrize(("text", "found"), [("/srv/data, models", ("/srv/data", "models")), ("/", ("/",))])
def test_the_setting_is_a_list_with_commas(text: str, found: tuple[str, ...]):
    assert load_settings({}, env={"CRONIUM_ALLOWED_VOLUMES": text, "HOME": "/nowhere"}).volumes_allowed == found


@pytest.mark.parametrize("text", ["srv/data", "/srv,,x", "/a/../b", "/a//b", "/a:/b", "-x"])
def test_what_is_no_path_and_no_name_is_no_setting(text: str):
    with pytest.raises(InvalidError) as failure:
        load_settings({}, env={"CRONIUM_ALLOWED_VOLUMES": text, "HOME": "/nowhere"})
    assert "absolute paths" in failure.value.faults[0].message


def test_a_link_is_followed_before_it_is_judged(tmp_path: Path):
    (tmp_path / "allowed").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "allowed" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "allowed" / "in").symlink_to(tmp_path / "allowed")
    found = Rules(allowed=(str(tmp_path / "allowed"),), closed=(), here=True)
    assert f"which is {tmp_path / 'secret'}" in refused(found, str(tmp_path / "allowed" / "out"))
    assert found.path(str(tmp_path / "allowed" / "in")) == str(tmp_path / "allowed")


def test_a_path_that_is_not_there_is_refused_and_not_made(tmp_path: Path):
    found = Rules(allowed=(str(tmp_path),), closed=(), here=True)
    assert "not there" in refused(found, str(tmp_path / "missing"))
    assert not (tmp_path / "missing").exists()


@pytest.fixture
def named() -> Iterator[str]:
    """A volume that an operator made, with a file in it."""
    name = f"cronium-tests-{uuid.uuid4().hex[:8]}"
    docker("volume", "create", name)
    docker("run", "--rm", "-v", f"{name}:/data", IMAGE, "sh", "-c", "echo kept > /data/file; chmod 777 /data")
    yield name
    docker("volume", "rm", name)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory that everybody may write, outside of the state."""
    (tmp_path / "shared" / "below").mkdir(parents=True)
    (tmp_path / "shared" / "file").write_text("shared\n")
    (tmp_path / "shared").chmod(0o777)
    return tmp_path / "shared"


async def run(state: Path, script: str, *, allowed: tuple[str, ...] = (), **changes: Any) -> Seen:
    async with open_executor(state, allowed_volumes=allowed, data_directory=state) as executor:
        process = await executor.start(make_spec(state, script, **changes))
        seen = await finish(process)
        await process.remove()
    return seen


async def failure(state: Path, source: str, *allowed: str) -> str:
    async with open_executor(state, allowed_volumes=allowed, data_directory=state) as executor:
        with pytest.raises(StartFailedError) as found:
            await executor.start(make_spec(state, "true", volumes=(Volume(source=source, target="/data"),)))
    assert found.value.reason is Reason.INVALID
    assert containers_of(state) == []
    return found.value.message


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.mark.docker
@pytest.mark.usefixtures("nothing_left")
class TestOnAnEngine:
    async def test_an_allowed_directory_can_be_read_and_not_written(self, state: Path, shared: Path):
        """Read-only, although the directory is open to everybody."""
        script = "cat /data/file; touch /data/new && echo written; chmod 700 /data && echo changed; true"
        volume = Volume(source=str(shared), target="/data")
        seen = await run(state, script, allowed=(str(shared.parent / "shared"),), volumes=(volume,))
        assert (seen.stdout, seen.exit.code) == (b"shared\n", 0)
        assert not (shared / "new").exists()

    async def test_what_is_mounted_below_an_allowed_directory_is_not_passed_on(self, state: Path, shared: Path):
        """An engine would make the directory itself read-only, and leave that writable."""
        below = shared / "below"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "tmpfs", below], check=True)
        try:
            (below / "hidden").touch()
            volume = Volume(source=str(shared), target="/data")
            script = "ls /data/below; touch /data/below/new && echo written; true"
            seen = await run(state, script, allowed=(str(shared),), volumes=(volume,))
            assert seen.stdout == b""
            assert [path.name for path in below.iterdir()] == ["hidden"]
        finally:
            subprocess.run(["umount", below], check=True)

    async def test_an_allowed_volume_can_be_read_and_not_written(self, state: Path, named: str):
        script = "cat /data/file; touch /data/new && echo written; true"
        seen = await run(state, script, allowed=(named,), volumes=(Volume(source=named, target="/data"),))
        assert seen.stdout == b"kept\n"

    async def test_a_volume_that_is_not_there_is_refused_and_not_made(self, state: Path):
        name = f"cronium-tests-{uuid.uuid4().hex[:8]}"
        assert f"no volume {name}" in await failure(state, name, name)
        assert name not in docker("volume", "ls", "-q").split()

    async def test_a_volume_that_is_not_allowed_is_refused_whether_it_is_there_or_not(self, state: Path, named: str):
        assert "allowed_volumes" in await failure(state, named)
        assert "allowed_volumes" in await failure(state, named, "/")

    async def test_a_volume_that_is_a_directory_of_the_machine_is_judged_as_that(self, state: Path):
        name = f"cronium-tests-{uuid.uuid4().hex[:8]}"
        docker("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/", name)
        try:
            assert "whatever allowed_volumes says" in await failure(state, name, name)
        finally:
            docker("volume", "rm", name)

    async def test_the_volume_that_holds_the_data_is_refused_even_where_it_is_allowed(self, state: Path, named: str):
        data = Path(docker("volume", "inspect", "-f", "{{.Mountpoint}}", named)) / "replica"
        async with open_executor(state, allowed_volumes=(named,), data_directory=data) as executor:
            with pytest.raises(StartFailedError, match="whatever allowed_volumes says"):
                await executor.start(make_spec(state, "true", volumes=(Volume(source=named, target="/data"),)))

    @pytest.mark.parametrize("part", ["", "attempts", "sockets"])
    async def test_the_data_directory_is_refused_even_where_it_is_allowed(self, state: Path, part: str):
        (state / "attempts").mkdir(exist_ok=True)
        (state / "sockets").mkdir(exist_ok=True)
        assert "whatever allowed_volumes says" in await failure(state, str(state / part), "/")

    async def test_a_link_to_the_data_directory_is_refused(self, state: Path, shared: Path):
        (shared / "link").symlink_to(state)
        assert "whatever allowed_volumes says" in await failure(state, str(shared / "link"), "/")

    async def test_a_workspace_on_disk_is_the_jobs_own_and_goes_with_it(self, state: Path):
        """It is writable without any right to change owners, and nothing of it stays."""
        script = "pwd; echo $HOME; echo kept > file && cat file; stat -c '%u %a' .; stat -f -c %T .; id -u"
        seen = await run(state, script, workspace=Workspace.VOLUME, env={"HOME": "/workspace"})
        *said, kind, user = seen.stdout.decode().splitlines()
        assert said == ["/workspace", "/workspace", "kept", "65534 700"]
        assert (kind == "tmpfs", user) == (False, "65534")
        assert kept_by_engine(state) == []

    async def test_a_workspace_on_disk_takes_no_memory(self, state: Path):
        seen = await run(state, "df -k . | tail -1", workspace=Workspace.VOLUME)
        assert int(seen.stdout.split()[1]) > 1024 * 1024

    async def test_two_jobs_at_once_have_a_workspace_each(self, state: Path):
        async with open_executor(state) as executor:
            specs = [make_spec(state, "ls; touch mine; echo up; sleep 1000", workspace=Workspace.VOLUME) for _ in "ab"]
            first, second = [await executor.start(spec) for spec in specs]
            assert await read_until(first, b"up\n") == await read_until(second, b"up\n") == b"up\n"
            assert len(kept_by_engine(state)) == 2
            await first.remove()
            await second.remove()
        assert kept_by_engine(state) == []

    async def test_a_container_that_is_not_made_leaves_no_workspace(self, state: Path):
        spec = make_spec(state, "sleep 1000", workspace=Workspace.VOLUME)
        async with open_executor(state) as executor:
            process = await executor.start(spec)
            await executor.start(spec)  # finds the name taken
            assert len(kept_by_engine(state)) == 1
            assert containers_of(state) == [spec.name]
            await process.remove()
            with pytest.raises(StartFailedError, match="no nothere"):
                await executor.start(make_spec(state, "", argv=["nothere"], workspace=Workspace.VOLUME))
        assert (kept_by_engine(state), containers_of(state)) == ([], [])

    async def test_a_workspace_whose_container_was_removed_by_hand_is_swept(self, state: Path):
        async with open_executor(state) as executor:
            spec = make_spec(state, "sleep 1000", workspace=Workspace.VOLUME)
            await executor.start(spec)
            (volume,) = kept_by_engine(state)
            assert await executor.sweep(frozenset({spec.name})) == []
            docker("rm", "-f", spec.name)
            assert await executor.sweep(frozenset()) == [volume]
        assert kept_by_engine(state) == []

    async def test_a_container_that_only_made_a_workspace_is_swept_and_takes_nobodys_with_it(self, state: Path):
        """As a server leaves it that is killed between making the workspace and the job's container, or after both."""
        label = f"cronium.installation={installation(state)}"
        mount = f"type=volume,target=/workspace,volume-label={label}"
        made = ("--label", label, "--label", "cronium.maker=workspace", "--mount", mount, IMAGE, "/never")
        alone, taken, job = (docker("create", *made), docker("create", *made), f"cronium-tests-{uuid.uuid4().hex[:8]}")
        docker("create", "--label", label, "--name", job, "--volumes-from", taken, IMAGE, "sleep", "1000")
        assert (len(kept_by_engine(state)), len(containers_of(state))) == (2, 3)
        async with open_executor(state) as executor:
            assert len(await executor.sweep(frozenset({job}))) == 1
            assert containers_of(state) == [job]
            docker("start", job)
            (volume,) = kept_by_engine(state)
            assert docker("exec", job, "ls", "-d", "/workspace") == "/workspace"
            assert await executor.sweep(frozenset()) == [job]
        assert alone
        assert volume
        assert (kept_by_engine(state), containers_of(state)) == ([], [])
