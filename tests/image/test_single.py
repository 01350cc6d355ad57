"""The single container, brought up by its compose file and used from outside; what it survives."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.serving import Serving, eventually
from tests.image.deployment import Deployment, docker, inspect

pytestmark = [pytest.mark.docker, pytest.mark.deployment, pytest.mark.timeout(300)]

STEADY = 'for n in $(seq 1 50); do echo "line $n"; sleep 0.2; done'
CALLING = """
import time
import cronium

for n in range(40):
    word = cronium.input()["word"]  # a call, whoever answers it
    print(f"line {n}", flush=True)
    time.sleep(0.2)
cronium.output({"given": word})
"""


@pytest.fixture
def single(deploy: Callable[..., Deployment]) -> Deployment:
    """As it is in a fresh clone, with nothing set."""
    deployment = deploy("docker-compose.yml")
    deployment.up()
    return deployment


def numbered(serving: Serving, job_id: str) -> list[str]:
    return [text for text in serving.text(job_id) if text.startswith("line ")]


def running_with_lines(serving: Serving, job_id: str) -> None:
    eventually(lambda: len(numbered(serving, job_id)) > 2, f"lines of {job_id}: {serving.job(job_id)}")


def jobs_left(job_id: str) -> str:
    return docker("ps", "-aq", "--filter", f"name=cronium-{job_id}")


async def test_a_job_runs_beside_the_container_and_its_lines_come_over_the_websocket(single: Deployment):
    """The script gets its files and the runtime API's socket, though the engine knows both by other names."""
    serving = single.serving
    script = (
        'import cronium\nprint("hello", cronium.input()["word"])\ncronium.output({"word": cronium.input()["word"]})'
    )
    job_id = serving.submit(python=script, input={"word": "there"})
    url = f"{serving.url}/ws/jobs/{job_id}/logs"
    headers = {"Authorization": f"Bearer {serving.token}"}
    async with asyncio.timeout(60), aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as ws:
        messages = [json.loads(message.data) async for message in ws]
    job = serving.wait(job_id)

    assert (job["status"], job["executor"], job["output"]) == ("succeeded", "docker", {"word": "there"})
    lines = [line["text"] for message in messages if message["type"] == "lines" for line in message["lines"]]
    assert lines == ["hello there"]
    assert messages[-1]["type"] == "end"
    eventually(lambda: jobs_left(job_id) == "", "the container to be removed")


def test_commands_inside_find_the_server_without_being_told(single: Deployment):
    job_id = single.serving.submit(bash="true")
    assert single.serving.wait(job_id)["status"] == "succeeded"
    assert job_id in single.run("cronium", "cronium", "jobs")
    doctor = json.loads(single.run("cronium", "cronium", "doctor", "--json"))
    assert doctor["default_executor"] == "docker"


def test_only_loopback_is_published_and_the_root_file_system_is_read_only(single: Deployment):
    made = inspect(single.container())
    bindings = [bound["HostIp"] for ports in made["NetworkSettings"]["Ports"].values() for bound in ports or []]
    assert bindings == ["127.0.0.1"]
    assert made["HostConfig"]["ReadonlyRootfs"] is True
    assert "Read-only" in single.run("cronium", "sh", "-c", "touch /etc/new 2>&1 || true")


def test_a_docker_job_is_attached_again_after_a_restart_in_the_middle_of_it(single: Deployment):
    """It keeps its calls to the runtime API, too: the socket's directory is the one that it has mounted."""
    job_id = single.serving.submit(python=CALLING, input={"word": "kept"})
    running_with_lines(single.serving, job_id)

    docker("restart", single.container())
    single.wait_ready()
    job = single.serving.wait(job_id)

    assert (job["status"], job["attempt"], job["output"]) == ("succeeded", 1, {"given": "kept"})
    assert numbered(single.serving, job_id) == [f"line {n}" for n in range(40)]
    eventually(lambda: jobs_left(job_id) == "", "the container to be removed")


def test_a_killed_orchestrator_is_started_again_and_its_job_goes_on(single: Deployment):
    job_id = single.serving.submit(bash=STEADY)
    running_with_lines(single.serving, job_id)
    before = single.orchestrator()

    single.run("cronium", "as-cronium", "sh", "-c", f"kill -9 {before}")
    eventually(lambda: not single.is_ready() or single.orchestrator() != before, "its end")
    single.wait_ready()
    job = single.serving.wait(job_id)

    assert single.orchestrator() != before
    assert inspect(single.container())["RestartCount"] == 0
    assert (job["status"], job["attempt"]) == ("succeeded", 1)
    assert numbered(single.serving, job_id) == [f"line {n}" for n in range(1, 51)]


def test_a_process_job_is_lost_with_the_container_and_follows_its_policy(deploy: Callable[..., Deployment]):
    deployment = deploy("docker-compose.yml", env={"CRONIUM_PROCESS_JOBS": "2"})
    serving = deployment.up()
    lost = serving.submit(bash="echo line 1; sleep 600", executor="process")
    script = '[ "$CRONIUM_ATTEMPT" -gt 1 ] || { echo line 1; sleep 600; }'
    again = serving.submit(bash=script, executor="process", retry={"attempts": 2, "delay": "20ms", "on_lost": "retry"})
    for job_id in (lost, again):
        eventually(lambda job_id=job_id: serving.text(job_id) == ["line 1"], "its line")

    docker("restart", deployment.container())
    deployment.wait_ready()

    first, second = serving.wait(lost), serving.wait(again)
    assert (first["status"], first["reason"], first["attempt"]) == ("failed", "lost", 1)
    assert (second["status"], second["attempt"]) == ("succeeded", 2)


def test_the_process_executor_is_off_unless_it_is_turned_on(single: Deployment):
    status, problem = single.serving.call("POST", "/api/v3/jobs", {"bash": "true", "executor": "process"})
    assert status == 422, problem


def test_draining_waits_for_a_job_and_the_container_ends_with_zero(deploy: Callable[..., Deployment]):
    deployment = deploy("docker-compose.yml", env={"CRONIUM_DRAIN_SECONDS": "30", "STOP_GRACE_PERIOD": "45s"})
    serving = deployment.up()
    job_id = serving.submit(bash="for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 0.3; done")
    running_with_lines(serving, job_id)
    container = deployment.container()

    deployment.compose("stop", "cronium")

    assert inspect(container)["State"]["ExitCode"] == 0
    deployment.compose("start", "cronium")
    deployment.wait_ready()
    job = serving.job(job_id)
    assert job["status"] == "succeeded"
    journal = serving.call("GET", f"/api/v3/jobs/{job_id}/journal")[1]["entries"]
    assert "adopted" not in [entry["kind"] for entry in journal]


def test_a_directory_of_the_host_is_used_as_its_owner(deploy: Callable[..., Deployment], tmp_path: Path):
    """Bind mounts work like volumes: files are of the directory's owner, and jobs are given theirs from it."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    try:
        os.chown(data, 4711, 4711)
    except PermissionError:
        pytest.skip("only root can give a directory to another account")
    override = tmp_path / "override.yml"
    override.write_text(json.dumps({"services": {"cronium": {"volumes": [f"{data}:/var/lib/cronium"]}}}))

    serving = deploy("docker-compose.yml", overrides=(override,)).up()
    job = serving.wait(serving.submit(bash="echo line 1"))

    assert job["status"] == "succeeded"
    assert {path.stat().st_uid for path in data.iterdir()} == {4711}


def test_a_job_outlives_the_project_that_is_taken_down_and_is_attached_by_the_next_one(single: Deployment):
    """`down` without `--volumes` forgets no job: the next `up` attaches to what runs."""
    job_id = single.serving.submit(bash=STEADY)
    running_with_lines(single.serving, job_id)

    single.compose("down", "--timeout", "20")
    single.up()

    assert single.serving.wait(job_id)["status"] == "succeeded"
    assert numbered(single.serving, job_id) == [f"line {n}" for n in range(1, 51)]


def test_the_engine_may_be_behind_a_proxy(deploy: Callable[..., Deployment], tmp_path: Path):
    """What docker-compose.yml says of a socket proxy: over TCP the files of a job are found as over the socket."""
    forward = Path(__file__).parent / "stand_ins" / "forward.py"
    proxy = {
        "image": "${IMAGE}",
        "command": ["python3", "/forward.py"],
        "init": True,  # ends on TERM
        "healthcheck": {"disable": True},
        "volumes": ["/var/run/docker.sock:/var/run/docker.sock", f"{forward}:/forward.py:ro"],
    }
    cronium = {"environment": {"CRONIUM_DOCKER_ENDPOINT": "tcp://docker-proxy:2375"}}
    override = tmp_path / "override.yml"
    override.write_text(json.dumps({"services": {"docker-proxy": proxy, "cronium": cronium}}))

    serving = deploy("docker-compose.yml", overrides=(override,)).up()
    job_id = serving.submit(python=CALLING, input={"word": "forwarded"})

    assert serving.wait(job_id)["output"] == {"given": "forwarded"}
