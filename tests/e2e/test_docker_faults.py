"""A server whose Docker daemon is stopped, hangs, or is meddled with: jobs end as they should, and others do not notice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import IMAGES
from tests.e2e.serving import FINAL, Serving, eventually
from tests.executors.docker.private_daemon import IMAGE, PrivateDaemon, daemon_for_tests

pytestmark = pytest.mark.docker

WAITING = "echo up; while [ ! -e /cronium/end ]; do sleep 0.02; done; echo down; exit 3"


@pytest.fixture(scope="module")
def daemon() -> Iterator[PrivateDaemon]:
    with daemon_for_tests() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def server(daemon: PrivateDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    env = {**IMAGES, "CRONIUM_DOCKER_ENDPOINT": daemon.endpoint}
    server = Serving(tmp_path_factory.mktemp("faults") / "data", env=env)
    server.data_dir.mkdir(mode=0o700)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def frozen(daemon: PrivateDaemon) -> Iterator[PrivateDaemon]:
    """Goes on in the end, whatever the test does."""
    yield daemon
    daemon.signal(signal.SIGCONT)


def submit(server: Serving, script: str, **spec: Any) -> str:
    return server.submit(**{"shell": script, "executor": "docker", "image": IMAGE, **spec})


def prints(server: Serving, job: str, text: str = "up") -> None:
    eventually(lambda: text in server.text(job), f"{text!r} of {job}")


def container(job: str, attempt: int = 1) -> str:
    return f"cronium-{job}-{attempt}"


def let_end(server: Serving, job: str) -> None:
    """Tell a script that waits for it to end."""
    (server.data_dir / "attempts" / container(job) / "end").touch()


def test_a_job_that_went_down_with_the_daemon_is_lost_and_says_why(server: Serving, daemon: PrivateDaemon):
    job = submit(server, "echo up; sleep 1000")
    prints(server, job)
    daemon.restart()
    ended = server.wait(job)
    assert (ended["status"], ended["reason"], ended["exit_code"]) == ("failed", "lost", None)
    assert "daemon was stopped while the script ran" in ended["message"]
    assert server.text(job) == ["up"]


def test_a_job_that_may_be_run_again_when_lost_is(server: Serving, daemon: PrivateDaemon):
    script = 'echo up; [ "$CRONIUM_ATTEMPT" = 2 ] || sleep 1000'
    job = submit(server, script, retry={"attempts": 2, "on_lost": "retry", "delay": "50ms"})
    prints(server, job)
    daemon.restart()
    ended = server.wait(job)
    assert (ended["status"], ended["attempt"]) == ("succeeded", 2)


def test_with_live_restore_a_job_runs_on_while_the_server_is_killed_as_well(server: Serving, daemon: PrivateDaemon):
    daemon.restart("--live-restore")
    job = submit(server, "i=0; while [ ! -e /cronium/end ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit 3")
    prints(server, job, "20")
    server.kill()
    daemon.restart("--live-restore")
    server.start()
    daemon.restart("--live-restore", number=signal.SIGKILL)
    let_end(server, job)
    ended = server.wait(job)
    lines = server.text(job)
    daemon.restart()
    assert (ended["status"], ended["exit_code"]) == ("failed", 3)
    assert len(lines) >= 20
    assert lines == [str(number) for number in range(1, len(lines) + 1)]


def test_a_container_killed_by_hand_keeps_its_exit_status_and_its_log_says_so(server: Serving, daemon: PrivateDaemon):
    job = submit(server, "echo up; sleep 1000")
    prints(server, job)
    daemon.docker("kill", container(job))
    ended = server.wait(job)
    assert (ended["status"], ended["reason"], ended["exit_code"]) == ("failed", "exit_code", 137)
    (line,) = server.text(job, "system")
    assert "by hand" in line


@pytest.mark.parametrize(
    ("spec", "end", "status"),
    [
        ({}, lambda server, job: server.call("POST", f"/api/v3/jobs/{job}/cancel"), "cancelled"),
        ({"timeout": "2s"}, lambda _server, _job: None, "timed_out"),
    ],
    ids=["cancelled", "timed out"],
)
def test_a_paused_job_is_ended_all_the_same(
    server: Serving, daemon: PrivateDaemon, spec: dict[str, Any], end: Callable[[Serving, str], Any], status: str
):
    job = submit(server, "trap 'echo heard; exit 5' TERM; echo up; sleep 1000 & wait", **spec)
    prints(server, job)
    daemon.docker("pause", container(job))
    end(server, job)
    assert server.wait(job)["status"] == status
    assert server.text(job) == ["up", "heard"]


def test_while_the_daemon_hangs_others_work_and_when_it_goes_on_so_does_everything(
    server: Serving, frozen: PrivateDaemon
):
    unwanted, wanted = submit(server, "echo up; sleep 1000"), submit(server, WAITING)
    prints(server, unwanted)
    prints(server, wanted)
    frozen.signal(signal.SIGSTOP)
    queued = [submit(server, f"echo {number}") for number in range(3)]
    assert server.call("POST", f"/api/v3/jobs/{unwanted}/cancel")[0] in (200, 202)
    for number in range(5):
        assert server.call("GET", "/healthz")[0] == 200
        other = server.submit(shell=f"echo other {number}", executor="process")
        assert server.wait(other)["status"] == "succeeded"
    let_end(server, wanted)
    assert not any(server.job(job)["status"] in FINAL for job in (unwanted, wanted, *queued))
    frozen.signal(signal.SIGCONT)
    assert server.wait(unwanted)["status"] == "cancelled"
    assert (server.wait(wanted)["exit_code"], server.text(wanted)) == (3, ["up", "down"])
    assert [(server.wait(job)["status"], server.text(job)) for job in queued] == [
        ("succeeded", [str(number)]) for number in range(3)
    ]


def test_nothing_of_any_job_is_left_on_the_daemon(server: Serving, daemon: PrivateDaemon):
    eventually(lambda: not daemon.docker("ps", "-a", "-q"), "every container to be removed")
    assert not daemon.docker("ps", "-a", "-q")
