"""What the engine calls our files when the orchestrator is in a container itself."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from orchestrator.errors import StartFailedError
from orchestrator.executors.docker.engine import open_engine
from orchestrator.executors.docker.mounts import Mounts, OurFiles, containers_in
from orchestrator.executors.docker.settings import find_endpoint
from tests.executors.docker.engine_for_tests import IMAGE, docker, inspect

OURS = "f" * 64


def test_the_innermost_mount_is_the_one_that_is_seen():
    mounts = Mounts(
        sources={
            PurePosixPath("/data"): "/volumes/outer",
            PurePosixPath("/data/deep"): "/srv/inner",
            PurePosixPath("/data/memory"): None,
        }
    )
    assert mounts.find(PurePosixPath("/data/a/b")) == "/volumes/outer/a/b"
    assert mounts.find(PurePosixPath("/data")) == "/volumes/outer"
    assert mounts.find(PurePosixPath("/data/deep/a")) == "/srv/inner/a"
    assert mounts.find(PurePosixPath("/data/memory/a")) is None
    assert mounts.find(PurePosixPath("/database")) is None


def test_a_mount_of_the_root_is_above_everything():
    assert Mounts(sources={PurePosixPath("/"): "/srv"}).find(PurePosixPath("/a/b")) == "/srv/a/b"


@pytest.mark.parametrize(
    "root",
    [
        f"/var/lib/docker/containers/{OURS}/hostname",
        f"/lib/docker/containers/{OURS}/hostname",
        f"/containers/storage/overlay-containers/{OURS}/userdata/hostname",
        f"/data/{'a' * 64}/containers/{OURS}/hostname",
    ],
)
def test_the_container_is_known_by_what_the_engine_mounts_into_it(root: str):
    line = f"99 78 254:0 {root} /etc/hostname ro,relatime - ext4 /dev/vda rw"
    assert containers_in([line]) == [OURS]


@pytest.mark.parametrize(
    "line",
    [
        f"99 78 254:0 /var/lib/docker/volumes/{OURS}/_data /var/lib/cronium rw - ext4 /dev/vda rw",
        "99 78 254:0 /etc/hostname /etc/hostname ro - ext4 /dev/vda rw",
        "",
    ],
)
def test_other_mounts_say_nothing_of_the_container(line: str):
    assert containers_in([line]) == []


@pytest.fixture
def container(tmp_path: Path) -> Iterator[str]:
    """A container as the orchestrator's own could be: never started, the engine is only asked about it."""
    name = f"cronium-tests-{uuid.uuid4().hex[:12]}"
    mounts = ["-v", f"{name}:/data", "-v", f"{tmp_path}:/srv/files", "--tmpfs", "/data/memory"]
    try:
        docker("create", "--name", name, *mounts, IMAGE, "true")
        yield name
    finally:
        with contextlib.suppress(Exception):
            docker("rm", "-f", "-v", name)
        docker("volume", "rm", "-f", name)


@pytest.mark.docker
async def test_the_engine_says_itself_where_its_volumes_and_mounts_are(tmp_path: Path, container: str):
    source = next(mount["Source"] for mount in inspect(container)["Mounts"] if mount["Destination"] == "/data")
    async with open_engine(find_endpoint(None), 10.0) as engine:
        ours = OurFiles(engine, ("0" * 64, container))
        assert await ours.place_of(Path("/data/attempts/x")) == f"{source}/attempts/x"
        assert await ours.place_of(Path("/srv/files/x")) == f"{tmp_path}/x"


@pytest.mark.docker
@pytest.mark.parametrize("place", ["/data/memory/attempts", "/elsewhere"])
async def test_what_is_on_no_volume_is_refused_with_what_to_do(place: str, container: str):
    async with open_engine(find_endpoint(None), 10.0) as engine:
        with pytest.raises(StartFailedError, match=f"cannot mount {place} .* Mount a volume"):
            await OurFiles(engine, (container,)).place_of(Path(place))


@pytest.mark.docker
@pytest.mark.parametrize("candidates", [(), ("0" * 64,)], ids=["no container", "not of this engine"])
async def test_without_a_container_on_this_engine_the_names_are_the_same(candidates: tuple[str, ...]):
    async with open_engine(find_endpoint(None), 10.0) as engine:
        assert await OurFiles(engine, candidates).place_of(Path("/srv/x")) == "/srv/x"
