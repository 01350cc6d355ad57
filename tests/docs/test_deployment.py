"""`docs/container-migration/`: the commands about containers, run as they stand in a clone, against the image built here."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.migrate import NOTHING
from tests.conftest import CRONIUM
from tests.docs.pages import Shell, blocks, clone
from tests.image.deployment import Deployment, inspect

pytestmark = [pytest.mark.docker, pytest.mark.deployment, pytest.mark.torture, pytest.mark.timeout(600)]

FIRST = blocks("README.md")
DEPLOYMENT = blocks("deployment.md")
TROUBLE = blocks("troubleshooting.md")


@pytest.fixture
def reader(
    deploy: Callable[..., Deployment], base: str, neighbours: dict[str, str], tmp_path: Path
) -> Callable[[str], tuple[Shell, Deployment]]:
    """Somebody in a clone, with a project, a port and images of this test's own and nothing else set."""

    def begin(file: str) -> tuple[Shell, Deployment]:
        root = clone(tmp_path / "clone")
        deployment = deploy(file, root=root, env={"BASE_IMAGE": base, **neighbours})
        env = deployment.environment()
        env |= {"COMPOSE_PROJECT_NAME": deployment.project, "PATH": f"{CRONIUM.parent}:{env['PATH']}"}
        port = {"127.0.0.1:8080": f"127.0.0.1:{deployment.port}"}
        return Shell(root, env, port), deployment

    return begin


def test_the_first_page_leads_to_a_first_job(reader: Callable[[str], tuple[Shell, Deployment]]):
    shell, deployment = reader("docker-compose.yml")
    up, submit = FIRST[""][0].splitlines(keepends=True)
    shell.run(up)
    deployment.wait_ready()
    assert "hello from a container" in shell.run(submit)


def test_the_single_container_is_run_restarted_backed_up_and_upgraded(
    reader: Callable[[str], tuple[Shell, Deployment]],
):
    shell, deployment = reader("docker-compose.yml")
    up, look, outside = DEPLOYMENT["One container"]
    assert '"status":"ready"' in shell.run(up)
    said = shell.run(look)
    assert "hello from a container" in said
    assert re.search(r"^job_\w+ +succeeded", said, re.MULTILINE)
    said = shell.run(outside)
    assert "hello from outside" in said
    assert (shell.directory / "admin.token").stat().st_mode & 0o777 == 0o600

    restart, drain = DEPLOYMENT["Restart, drain, stop"]
    shell.run(restart)
    deployment.wait_ready()
    backup, restore, _, _ = DEPLOYMENT["Backup and restore"]
    assert "2 jobs" in shell.run(backup)
    shell.run("echo 'bash: echo after the backup' | docker compose exec -T cronium cronium submit -")
    shell.run(restore)
    deployment.wait_ready()
    assert len(jobs(deployment)) == 2

    build, replace = DEPLOYMENT["Upgrade"]
    assert NOTHING in shell.run(build)
    shell.run(replace)
    deployment.wait_ready()
    shell.run(drain)
    deployment.wait_ready()
    shown = shell.run("docker compose exec -T cronium cronium config show --origin")
    assert re.search(r"^drain_seconds += 60", shown, re.MULTILINE)
    assert inspect(deployment.container())["Config"]["StopTimeout"] == 75
    assert len(jobs(deployment)) == 2


def jobs(deployment: Deployment) -> list[str]:
    status, page = deployment.serving.call("GET", "/api/v3/jobs")
    assert status == 200, page
    return [job["id"] for job in page["items"]]


def test_the_stack_is_run_with_a_replica_and_its_dump_put_back(reader: Callable[[str], tuple[Shell, Deployment]]):
    shell, deployment = reader("docker-compose.stack.yml")
    deployment.data_dir = "/var/lib/cronium/first"
    first, replica = DEPLOYMENT["The stack"]
    said = shell.run(first)
    assert re.search(r"^database_url += postgresql://cronium:\*\*\*@postgres", said, re.MULTILINE)
    assert (shell.directory / "admin.token").read_text().startswith("crn_")
    shell.run(replica)
    assert deployment.serving.wait(deployment.serving.submit(bash="true"))["status"] == "succeeded"
    shell.run("docker compose --profile replica stop replica")

    _, _, dump, put_back = DEPLOYMENT["Backup and restore"]
    shell.run(dump)
    assert deployment.serving.wait(deployment.serving.submit(bash="true"))["status"] == "succeeded"
    assert len(jobs(deployment)) == 2
    shell.run(put_back)
    deployment.wait_ready()
    assert len(jobs(deployment)) == 1


def test_the_server_of_development_runs_from_the_checkout(reader: Callable[[str], tuple[Shell, Deployment]]):
    shell, deployment = reader("docker-compose.dev.yml")
    up, down = DEPLOYMENT["Development"][0].splitlines(keepends=True)
    shell.run(up)
    deployment.wait_ready()
    assert "/src/orchestrator" in shell.run(
        'docker exec "$(docker compose -f docker-compose.dev.yml ps -q cronium)" '
        "sh -c \"cd /tmp && /opt/cronium/bin/python -c 'import orchestrator; print(orchestrator.__file__)'\""
    )
    shell.run(down)
    assert deployment.leftovers() == []


def test_the_commands_for_trouble_say_something(reader: Callable[[str], tuple[Shell, Deployment]]):
    shell, deployment = reader("docker-compose.yml")
    deployment.up()
    failed = deployment.serving.submit(bash="true", image="cronium-no-such-image:none")
    job = deployment.serving.wait(failed)
    assert job["reason"] == "image_unavailable"
    assert "is not here and could not be pulled: " in job["message"]

    look, last = TROUBLE[""]
    assert re.search(r"docker +version .* answers", shell.run(look).replace("ok", ""))
    assert failed in shell.run(last)
    (state,) = TROUBLE["The container does not come up, or stops"]
    assert shell.run(state).strip() == "running 0 false"
    (health,) = TROUBLE["It is not healthy"]
    assert shell.run(health).count('"status":"ready"') == 2
    (token,) = TROUBLE["I am not let in"]
    assert shell.run(token).splitlines() == [deployment.serving.token, f"127.0.0.1:{deployment.port}"]
    (room,) = TROUBLE["The store is away, or full"]
    assert "/var/lib/cronium" in shell.run(room)
    (count,) = TROUBLE["It was restarted"]
    assert shell.run(count).split() == ["0", "1"]


def test_a_socket_that_is_not_there_is_named_by_doctor(
    reader: Callable[[str], tuple[Shell, Deployment]], tmp_path: Path
):
    """What the page says of a socket that is not mounted."""
    shell, deployment = reader("docker-compose.yml")
    shell.env = {**shell.env, "CRONIUM_DOCKER_ENDPOINT": "unix:///nowhere/docker.sock"}
    deployment.env["CRONIUM_DOCKER_ENDPOINT"] = "unix:///nowhere/docker.sock"
    deployment.up()
    said = json.loads(shell.run("docker compose exec -T cronium cronium doctor --json || true"))
    (docker,) = [check for check in said["checks"] if check["name"] == "docker"]
    assert "There is no Docker engine at unix:///nowhere/docker.sock" in docker["detail"]


def said_by(image: str, *options: str, command: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a container of the image to its end; what it said and its exit code."""
    line = ["docker", "run", "--rm", "--network", "none", *options, image, *command]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.returncode, done.stdout


def test_a_wrong_setting_ends_the_container_with_what_the_page_says(image: str):
    code, said = said_by(image, "--env", "CRONIUM_PRT=1")
    assert code == 2
    assert "The settings are not valid." in said
    assert "CRONIUM_PRT" in said
    assert "has ended for good, so does the container: exit status 2" in said


def test_a_socket_that_the_account_may_not_use_is_named_by_doctor(image: str):
    socket = "/var/run/docker.sock:/var/run/docker.sock"
    _, said = said_by(image, "--user", "4711:4711", "--volume", socket, command=("cronium", "doctor"))
    words = " ".join(said.split())
    assert "This account may not use the Docker engine at unix:///var/run/docker.sock: add it to the group" in words


def test_a_directory_of_roots_that_holds_something_is_refused(image: str, tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").touch()
    if os.geteuid() != 0:
        pytest.skip("only root has a directory of root's to mount")
    mount = f"{tmp_path}/data:/var/lib/cronium"
    code, said = said_by(image, "--volume", mount, command=("as-cronium", "/opt/cronium/bin/cronium", "serve"))
    assert code != 0
    assert "/var/lib/cronium belongs to another account: name another directory." in said
