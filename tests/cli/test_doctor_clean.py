"""`cronium doctor --clean`: what a server left behind is shown with age and size, and deleted only when told to."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.places import instance_of
from tests.cli.conftest import Cli
from tests.conftest import docker_problem
from tests.e2e.conftest import IMAGES
from tests.e2e.serving import Serving, eventually
from tests.executors.docker.engine_for_tests import IMAGE, docker

LABEL = "cronium.installation"


@pytest.fixture
def server(lonely: Cli) -> Iterator[Serving]:
    """A server whose data directory is where the command looks for it."""
    data_dir = lonely.home / ".local" / "share" / "cronium"
    data_dir.mkdir(parents=True, mode=0o700)
    server = Serving(data_dir, env={**lonely.env, **IMAGES})
    try:
        yield server
    finally:
        server.close()
        remove_all(data_dir)


def label_of(data_dir: Path) -> str:
    return f"{LABEL}={instance_of((data_dir / 'attempts.key').read_bytes())}"


def made_by(label: str) -> dict[str, list[str]]:
    """What the engine has of an installation, by kind."""
    wanted = ("--filter", f"label={label}")
    return {
        "container": docker("ps", "-a", *wanted, "--format", "{{.Names}}").split(),
        "volume": docker("volume", "ls", "-q", *wanted).split(),
        "network": docker("network", "ls", *wanted, "--format", "{{.Name}}").split(),
    }


def remove_all(data_dir: Path) -> None:
    """For a test that failed, where there is an engine."""
    if docker_problem() is not None or not (data_dir / "attempts.key").exists():
        return
    for kind, names in made_by(label_of(data_dir)).items():
        for name in names:
            docker(*(("rm", "-f", "-v") if kind == "container" else (kind, "rm")), name)


def leave(label: str) -> dict[str, str]:
    """One thing of each kind, as a server leaves them that is killed and never started again."""
    name = f"cronium-tests-{uuid.uuid4().hex[:8]}"
    docker("volume", "create", "--label", label, name)
    docker("run", "--rm", "-v", f"{name}:/v", IMAGE, "sh", "-c", "head -c 5000 /dev/zero > /v/file")
    docker("network", "create", "--label", label, name)
    docker("create", "--label", label, "--name", name, "--network", name, "-v", f"{name}:/v", IMAGE, "true")
    return {"container": name, "volume": name, "network": name}


async def clean(cli: Cli, *options: str) -> dict[str, Any]:
    answer = await cli("doctor", "--clean", "--json", *options)
    assert answer.code == 0, answer.err
    return dict(json.loads(answer.out))


@pytest.mark.docker
async def test_nothing_is_deleted_before_it_is_told_to_be(server: Serving, lonely: Cli):
    server.start()
    assert server.stop() == 0
    label = label_of(server.data_dir)
    left = leave(label)
    (server.data_dir / "attempts" / "cronium-job_1-1").mkdir()
    (server.data_dir / "attempts" / "cronium-job_1-1" / "script.sh").write_text("x" * 100)
    found = {thing["kind"]: thing for thing in (await clean(lonely))["found"]}
    assert {kind: thing["name"] for kind, thing in found.items() if kind != "directory"} == left
    assert (found["volume"]["size_bytes"], found["directory"]["size_bytes"]) == (5000, 100)
    assert all(0 <= thing["age_seconds"] < 600 for thing in found.values())
    told = await lonely("doctor", "--clean")
    assert "nothing was deleted: `cronium doctor --clean --yes`" in told.out
    assert made_by(label) == {kind: [name] for kind, name in left.items()}
    done = await clean(lonely, "--yes")
    assert done["deleted"] == sorted({left["container"], found["directory"]["name"]})
    assert made_by(label) == {"container": [], "volume": [], "network": []}
    assert list((server.data_dir / "attempts").iterdir()) == []
    assert (await clean(lonely))["found"] == []


@pytest.mark.docker
async def test_what_scripts_were_given_and_what_they_left_is_deleted_as_the_server_would(server: Serving, lonely: Cli):
    """A link in the place of the artifacts is no directory; what is read-only is opened first."""
    server.start()
    assert server.stop() == 0
    attempts = server.data_dir / "attempts"
    (attempts / "cronium-job_1-1" / "sdk").mkdir(parents=True)
    (attempts / "cronium-job_1-1" / "sdk").chmod(0o555)
    (attempts / "cronium-job_1-1").chmod(0o555)
    (attempts / "cronium-job_1-1.artifacts").symlink_to("/nowhere")
    done = await clean(lonely, "--yes")
    assert done["deleted"] == sorted(map(str, (attempts / "cronium-job_1-1", attempts / "cronium-job_1-1.artifacts")))
    assert list(attempts.iterdir()) == []


@pytest.mark.docker
async def test_what_a_job_of_a_stopped_server_still_needs_stays(server: Serving, lonely: Cli):
    """It runs on; the next start collects what it does."""
    server.start()
    script = "echo up; while [ ! -e /cronium/end ]; do sleep 0.02; done; echo down"
    job = server.submit(shell=script, executor="docker", network="internal", workspace="volume")
    eventually(lambda: "up" in server.text(job), "the job to run")
    assert server.stop() == 0
    label = label_of(server.data_dir)
    needed = made_by(label)
    assert [len(names) for names in needed.values()] == [1, 1, 1]
    assert (await clean(lonely, "--yes")) == {"found": [], "deleted": []}
    assert made_by(label) == needed
    (directory,) = (server.data_dir / "attempts").glob(f"cronium-{job}-1")
    (directory / "end").touch()
    server.start()
    assert server.wait(job)["status"] == "succeeded"
    assert server.text(job) == ["up", "down"]


@pytest.mark.docker
async def test_what_is_not_labelled_ours_is_never_touched(server: Serving, lonely: Cli):
    server.start()
    assert server.stop() == 0
    others = leave(f"{LABEL}=of-somebody-else")
    name = f"cronium-tests-{uuid.uuid4().hex[:8]}"
    docker("create", "--name", name, IMAGE, "true")
    try:
        assert (await clean(lonely, "--yes")) == {"found": [], "deleted": []}
        assert made_by(f"{LABEL}=of-somebody-else") == {kind: [other] for kind, other in others.items()}
        assert docker("ps", "-a", "--filter", f"name={name}", "--format", "{{.Names}}") == name
    finally:
        docker("rm", "-f", name, others["container"])
        docker("volume", "rm", others["volume"])
        docker("network", "rm", others["network"])


async def test_while_the_server_runs_nothing_is_looked_for(server: Serving, lonely: Cli):
    server.start()
    answer = await lonely("doctor", "--clean", "--yes")
    assert answer.code == 1
    assert f"in use by process {server.process_id}" in answer.err


async def test_a_directory_that_is_no_servers_is_refused(lonely: Cli):
    answer = await lonely("doctor", "--clean")
    assert answer.code == 2
    assert "CRONIUM_DATA_DIR" in answer.err


async def test_an_engine_that_is_away_is_said_and_nothing_is_deleted(server: Serving, lonely: Cli):
    """Nobody can say then what is needed."""
    server.start()
    assert server.stop() == 0
    (server.data_dir / "attempts" / "cronium-job_1-1").mkdir()
    lonely.env["CRONIUM_DOCKER_ENDPOINT"] = "unix:///nowhere/docker.sock"
    answer = await lonely("doctor", "--clean", "--yes")
    assert answer.code == 1
    assert "/nowhere/docker.sock" in answer.err
    assert (server.data_dir / "attempts" / "cronium-job_1-1").exists()


async def test_yes_alone_is_refused(lonely: Cli):
    answer = await lonely("doctor", "--yes")
    assert (answer.code, "--clean" in answer.err) == (2, True)
