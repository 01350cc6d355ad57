"""A server that is told to end: it leaves at once, or waits for running jobs first, and nothing is lost or left over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import leftovers
from tests.chaos.mix import MARK
from tests.chaos.scene import Scene, open_scene, place_for_a_run
from tests.e2e.conftest import backends
from tests.e2e.serving import Serving, eventually

LONG = 600


@pytest.fixture
def scene(mode: str, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A server of this test's own, not started yet, and everything that it starts."""
    with backends(mode, request) as env, place_for_a_run() as place:
        store = "sqlite" if mode == "standalone" else "postgres"
        with open_scene(place, store=store, executor="process", env=env) as scene:
            try:
                yield scene
            finally:
                release(scene)
                if (process := scene.servers[0].process) is not None and process.poll() is None:
                    process.kill()
                    process.wait(10)


def release(scene: Scene) -> None:
    """Let the scripts end."""
    (scene.place / "go").touch()


def waiting(scene: Scene, then: str = "echo done") -> dict[str, Any]:
    """A job that says `begun` and waits to be released; not for ever, should the test fail."""
    wait = f"for n in $(seq 1200); do [ -e {scene.place}/go ] && break; sleep 0.05; done"
    return {"shell": f"echo begun; {wait}; {then}", "env": {MARK: scene.mark}}


def started(scene: Scene, drain_seconds: float, **spec: Any) -> tuple[Serving, str]:
    """A server with that setting, and a job that runs there."""
    [server] = scene.servers
    server.env["CRONIUM_DRAIN_SECONDS"] = f"{drain_seconds:g}"
    server.start()
    job_id = server.submit(**(spec or waiting(scene)))
    eventually(lambda: server.text(job_id) == ["begun"], "the first line")
    return server, job_id


def tell_to_end(server: Serving) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)


def ended(server: Serving) -> int:
    assert server.process is not None
    return server.process.wait(60)


def drains(server: Serving) -> bool:
    answer = server.ask("GET", "/readyz")
    return answer.status == 503 and answer.body["details"]["engine"] == "draining"


def journal(server: Serving, job_id: str) -> list[str]:
    return [entry["kind"] for entry in server.call("GET", f"/api/v3/jobs/{job_id}/journal")[1]["entries"]]


def left_over(scene: Scene) -> list[str]:
    """What has no business on the machine when all jobs have ended."""
    [server] = scene.servers
    running = server.process is not None and server.process.poll() is None
    found = leftovers.processes(scene.mark, [server.process_id] if running else [])
    found += leftovers.files(server.data_dir)
    if not running:
        found += [str(path) for path in (scene.place / "run").rglob("*.sock")]
        found += [str(path) for path in server.data_dir.glob("server.json")]
    return found


def assert_nothing_is_left_over(scene: Scene) -> None:
    [server] = scene.servers
    with contextlib.suppress(AssertionError):
        eventually(lambda: not left_over(scene), "nothing to be left over", within=20)
    assert left_over(scene) == []
    assert server.stop() == 0
    with contextlib.suppress(AssertionError):
        eventually(lambda: not left_over(scene), "nothing to be left over", within=20)
    assert left_over(scene) == []


def test_without_a_limit_the_server_leaves_at_once_and_the_script_goes_on(scene: Scene):
    server, job_id = started(scene, 0)

    assert server.stop() == 0

    assert leftovers.processes(scene.mark, []), "the script runs"
    server.start()
    release(scene)
    job = server.wait(job_id)
    assert (job["status"], job["attempt"], server.text(job_id)) == ("succeeded", 1, ["begun", "done"])
    assert "adopted" in journal(server, job_id)
    assert_nothing_is_left_over(scene)


def test_within_the_limit_running_jobs_end_and_others_wait_for_the_next_start(scene: Scene):
    server, job_id = started(scene, LONG)
    follower = server.cronium("logs", "-f", job_id)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begun\n"

    tell_to_end(server)
    eventually(lambda: drains(server), "the server to drain")
    assert server.call("GET", "/healthz")[0] == 200
    assert server.job(job_id)["status"] == "running"
    later = server.submit(shell="echo later")
    release(scene)

    assert ended(server) == 0
    assert follower.communicate(timeout=60)[0] == "done\n"
    assert follower.returncode == 0
    server.start()
    assert server.wait(later)["status"] == "succeeded"
    assert journal(server, later) == ["queued", "claimed", "started", "finished"]
    assert journal(server, job_id) == ["queued", "claimed", "started", "finished"]
    assert server.text(job_id) == ["begun", "done"]
    assert_nothing_is_left_over(scene)


def test_a_failed_attempt_is_not_tried_again_while_the_server_drains(scene: Scene):
    spec = {**waiting(scene, then="exit $((2 - CRONIUM_ATTEMPT))"), "retry": {"attempts": 2, "delay": "100ms"}}
    server, job_id = started(scene, LONG, **spec)

    tell_to_end(server)
    eventually(lambda: drains(server), "the server to drain")
    release(scene)
    assert ended(server) == 0
    server.start()

    job = server.wait(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    kinds = ["queued", "claimed", "started", "retrying", "claimed", "started", "finished"]
    assert journal(server, job_id) == kinds
    assert_nothing_is_left_over(scene)


def test_jobs_that_take_longer_than_the_limit_go_on_by_themselves(scene: Scene):
    server, job_id = started(scene, 0.5)

    assert server.stop() == 0

    assert leftovers.processes(scene.mark, []), "the script runs"
    server.start()
    assert server.job(job_id)["status"] == "running"
    release(scene)
    assert server.wait(job_id)["status"] == "succeeded"
    assert server.text(job_id) == ["begun", "done"]
    assert_nothing_is_left_over(scene)


def test_an_idle_server_does_not_wait(scene: Scene):
    [server] = scene.servers
    server.env["CRONIUM_DRAIN_SECONDS"] = str(LONG)
    server.start()
    server.wait(server.submit(shell="true"))

    assert server.stop() == 0
    assert left_over(scene) == []


def test_a_second_signal_ends_the_wait_and_loses_nothing(scene: Scene):
    server, job_id = started(scene, LONG)
    tell_to_end(server)
    eventually(lambda: drains(server), "the server to drain")

    tell_to_end(server)

    assert ended(server) == 130
    assert leftovers.processes(scene.mark, []), "the script runs"
    server.start()
    release(scene)
    job = server.wait(job_id)
    assert (job["status"], job["attempt"], server.text(job_id)) == ("succeeded", 1, ["begun", "done"])
    assert_nothing_is_left_over(scene)


@pytest.mark.parametrize("way", ["drained", "killed"])
def test_what_only_looks_like_ours_is_left_alone(scene: Scene, way: str):
    """Directories, sockets and processes with names like those that the next start clears away."""
    [server] = scene.servers
    strangers = [
        server.data_dir / "spool.old" / "cronium-job_1-1" / "stdout",
        server.data_dir / "attempts-kept" / "cronium-job_1-1" / "script.py",
        scene.place / "run" / "cronium" / "0123456789" / "server" / "api.sock",
        scene.place / "run" / "cronium-job_1-1" / "note",
    ]
    for path in strangers:
        path.parent.mkdir(parents=True, mode=0o700)
        path.write_text("not Cronium's")
    (scene.place / "run" / "cronium").chmod(0o700)
    env = {"CRONIUM_EXECUTION_ID": "job_1", "CRONIUM_ATTEMPT": "1", "PATH": os.environ["PATH"]}
    with subprocess.Popen(["bash", "-c", "exec -a cronium-superv sleep 100"], env=env) as process:
        server, job_id = started(scene, 0)
        if way == "drained":
            assert server.stop() == 0
        else:
            server.kill()
        release(scene)
        server.start()
        assert server.wait(job_id)["status"] == "succeeded"
        assert_nothing_is_left_over_but(scene, strangers)
        still_there = process.poll() is None
        process.kill()

    assert still_there
    assert [path.read_text() for path in strangers] == ["not Cronium's"] * len(strangers)


def assert_nothing_is_left_over_but(scene: Scene, strangers: list[Path]) -> None:
    [server] = scene.servers
    names = [str(path) for path in strangers]

    def ours() -> list[str]:
        return [name for name in left_over(scene) if name not in names]

    with contextlib.suppress(AssertionError):
        eventually(lambda: not ours(), "nothing to be left over", within=20)
    assert ours() == []
    assert server.stop() == 0
    assert ours() == []


@pytest.mark.docker
def test_a_container_that_only_looks_like_ours_is_left_alone(scene: Scene):
    [server] = scene.servers
    name = f"cronium-job_{scene.mark}-1"
    command = ["docker", "run", "--detach", "--name", name, "--label", "cronium.installation=another"]
    subprocess.run([*command, "cronium-debian:local", "sleep", "300"], check=True, capture_output=True, timeout=60)
    try:
        server, job_id = started(scene, LONG, **{**waiting(scene, then="true"), "executor": "process"})
        in_container = server.submit(shell="echo begun; sleep 1", executor="docker")
        eventually(lambda: server.text(in_container) == ["begun"], "the container to run")
        server.kill()
        release(scene)
        server.start()
        assert [server.wait(job)["status"] for job in (job_id, in_container)] == ["succeeded"] * 2
        assert server.stop() == 0
        inspected = subprocess.run(
            ["docker", "inspect", "-f", "{{.State.Running}}", name], capture_output=True, text=True, timeout=60
        )
        assert inspected.stdout.strip() == "true"
        assert leftovers.containers(server.data_dir) == []
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, timeout=60)
