"""What is in the image, and how its process 1 behaves, without compose."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.e2e.serving import eventually
from tests.image.deployment import docker, inspect

pytestmark = [pytest.mark.docker, pytest.mark.deployment, pytest.mark.timeout(300)]
ADDED_MEGABYTES = 120
STEADY_SECONDS = 12  # longer than supervisord's startsecs: from then on an end is no failed start


@pytest.fixture
def run(image: str) -> Iterator[Callable[..., str]]:
    """Starts containers of the image; returns their names. They and their volumes are removed at the end."""
    made: list[str] = []

    def start(*arguments: str) -> str:
        name = f"cronium-test-{secrets.token_hex(4)}"
        made.append(name)
        docker("run", "--detach", "--name", name, *arguments, image)
        return name

    yield start
    for name in made:
        docker("rm", "--force", "--volumes", name)


def state(name: str) -> dict[str, object]:
    return dict(inspect(name)["State"])


def health(name: str) -> str:
    return str(inspect(name)["State"]["Health"]["Status"])


def process_id(name: str) -> str:
    return str(json.loads(docker("exec", name, "as-cronium", "cat", "/var/lib/cronium/server.json"))["pid"])


def processes(name: str) -> list[list[str]]:
    """User, process id (of the host) and command of each process in the container."""
    rows = docker("top", name, "-eo", "uid,pid,ppid,args").splitlines()[1:]
    return [row.split(None, 3) for row in rows]


def is_ready(name: str) -> bool:
    return "ready" in docker("exec", name, "sh", "-c", "healthy || true")


def test_the_image_adds_little_to_its_base(image: str, base: str):
    added = (inspect(image)["Size"] - inspect(base)["Size"]) / 1_000_000
    assert 10 < added <= ADDED_MEGABYTES


def test_the_image_says_what_it_is_and_how_it_is_checked(image: str):
    config = inspect(image)["Config"]
    labels = [name for name in config["Labels"] if name.startswith("org.opencontainers.image.")]
    assert {"title", "version", "licenses", "revision"} <= {name.rpartition(".")[2] for name in labels}
    assert config["Healthcheck"]["Test"] == ["CMD", "healthy"]
    assert set(config["Volumes"]) == {"/var/lib/cronium", "/run/cronium"}
    assert "CRONIUM_PROCESS_JOBS=0" in config["Env"]


def test_nothing_that_only_builds_is_in_the_image(image: str):
    listed = docker("run", "--rm", "--entrypoint", "ls", image, "/opt/cronium/lib/python3.12/site-packages")
    assert "asyncpg" in listed
    assert "valkey" in listed
    assert not [name for name in listed.split() if name.startswith(("pip", "hatchling", "pytest"))]


def test_supervisord_is_process_1_and_nobody_is_root(run: Callable[..., str]):
    name = run("--volume", "/var/run/docker.sock:/var/run/docker.sock")
    eventually(lambda: is_ready(name), docker("logs", name))
    found = processes(name)
    first = str(inspect(name)["State"]["Pid"])
    assert [row[1] for row in found if "supervise" in row[3]] == [first]
    assert [row[2] for row in found if "cronium serve" in row[3]] == [first]
    assert {row[0] for row in found} == {"10001"}
    doctor = json.loads(docker("exec", name, "cronium", "doctor", "--json"))
    assert [check["state"] for check in doctor["checks"] if check["name"] == "docker"] == ["ok"]


def test_a_user_that_is_named_is_used_as_it_is(run: Callable[..., str]):
    name = run("--user", "10001:10001", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
    eventually(lambda: is_ready(name), "readiness")
    assert {row[0] for row in processes(name)} == {"10001"}


def test_stdout_and_stderr_are_not_mixed(run: Callable[..., str]):
    """The server's log is stderr, one JSON object a line, and stdout has nothing of it."""
    name = run()
    eventually(lambda: is_ready(name), "readiness")
    assert docker("logs", name) == ""
    assert {json.loads(line)["level"] for line in stderr_of(name).splitlines()} <= {"info", "warning"}


def test_stopping_is_quick_in_order_and_ends_with_zero(run: Callable[..., str]):
    name = run()
    eventually(lambda: is_ready(name), "readiness")
    docker("stop", "--time", "20", name)
    assert state(name)["ExitCode"] == 0
    assert "leaving" in stderr_of(name)


@pytest.mark.torture
def test_settings_that_are_not_valid_end_the_container_with_a_failure(run: Callable[..., str]):
    """Tried again a few times, ever later; then FATAL, and no container that only looks alive."""
    name = run("--env", "CRONIUM_PORT=nonsense")
    ended = eventually(lambda: (now := state(name))["Running"] is False and now, "the end of the container", 120)
    assert ended["ExitCode"] not in (0, 137)
    said = stderr_of(name)
    assert said.count("CRONIUM_PORT") >= 3, "it was tried again"
    assert "has ended for good" in docker("logs", name)


def test_an_orchestrator_that_is_told_to_end_takes_the_container_with_it(run: Callable[..., str]):
    name = run()
    eventually(lambda: is_ready(name), "readiness")
    eventually(lambda: seconds_up(name) > STEADY_SECONDS, "supervisord to take it for running")
    docker("exec", name, "as-cronium", "sh", "-c", f"kill -TERM {process_id(name)}")
    ended = eventually(lambda: (now := state(name))["Running"] is False and now, "the end of the container")
    assert ended["ExitCode"] == 1


def test_orphans_are_reaped(run: Callable[..., str]):
    name = run()
    eventually(lambda: is_ready(name), "readiness")
    docker("exec", name, "as-cronium", "sh", "-c", "(sleep 0.1 & sleep 0.05) & exit 0")
    eventually(lambda: not [row for row in processes(name) if "sleep" in row[3] or "defunct" in row[3]], "no zombies")
    assert len(processes(name)) == 2


def test_health_follows_the_server(run: Callable[..., str]):
    quick = [
        "--health-interval",
        "1s",
        "--health-retries",
        "2",
        "--health-timeout",
        "2s",
        "--health-start-period",
        "1s",
    ]
    name = run(*quick, "--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "SETUID", "--cap-add", "SETGID")
    eventually(lambda: health(name) == "healthy", "healthy")
    docker("exec", name, "as-cronium", "sh", "-c", f"kill -STOP {process_id(name)}")
    eventually(lambda: health(name) == "unhealthy", "unhealthy")
    docker("exec", name, "as-cronium", "sh", "-c", f"kill -CONT {process_id(name)}")
    eventually(lambda: health(name) == "healthy", "healthy again")
    assert state(name)["Running"] is True


def seconds_up(name: str) -> float:
    started = datetime.fromisoformat(str(state(name)["StartedAt"])[:26] + "+00:00")
    return (datetime.now(UTC) - started).total_seconds()


def stderr_of(name: str) -> str:
    return subprocess.run(["docker", "logs", name], capture_output=True, text=True, timeout=60).stderr
