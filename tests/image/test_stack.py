"""The stack: Postgres, Valkey and two orchestrators, from images made on this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.serving import Serving, eventually
from tests.image.deployment import Deployment, docker, inspect
from tests.image.test_single import STEADY, numbered, running_with_lines

pytestmark = [pytest.mark.docker, pytest.mark.deployment, pytest.mark.timeout(400)]


@pytest.fixture
def stack(deploy: Callable[..., Deployment], neighbours: dict[str, str]) -> Deployment:
    return deploy(
        "docker-compose.stack.yml", env=dict(neighbours), profile="replica", data_dir="/var/lib/cronium/first"
    )


def test_the_stack_comes_up_in_order_with_passwords_of_its_own(stack: Deployment):
    serving = stack.up()

    databases = stack.run("cronium", "as-cronium", "cat", "/run/secrets/cronium/database_url")
    password = databases.partition("cronium:")[2].partition("@")[0]
    assert len(password) >= 32
    assert len(set(password)) > 8
    assert password in stack.run("postgres", "cat", "/run/secrets/postgres/password")
    assert password not in docker("inspect", stack.container(), stack.container("postgres"), stack.container("valkey"))
    assert password not in stack.logs()
    details = serving.call("GET", "/readyz")[1]["details"]
    assert details == {"store": "ok", "cache": "valkey", "engine": "ok"}
    assert inspect(stack.container("replica"))["NetworkSettings"]["Ports"].get("8080/tcp") is None
    refused = "psql -h 127.0.0.1 -U cronium -d cronium -c 'select 1' 2>&1 || true"
    assert "password" in stack.run("postgres", "sh", "-c", f"PGPASSWORD=cronium {refused}")


def test_jobs_are_shared_out_and_survive_both_backends_and_one_orchestrator(stack: Deployment):
    """Postgres is restarted under a running job; then the orchestrator that has one is killed, and the other goes on."""
    serving = stack.up()
    job_id = serving.submit(bash=STEADY)
    running_with_lines(serving, job_id)

    docker("restart", stack.container("postgres"), stack.container("valkey"))
    stack.wait_ready()
    assert ended(serving, job_id) == "succeeded"

    crowd = [serving.submit(bash=STEADY, name=f"crowd {n}") for n in range(4)]
    for one in crowd:
        running_with_lines(serving, one)
    docker("kill", stack.container("replica"))
    for one in crowd:
        assert ended(serving, one) == "succeeded"
        assert numbered(serving, one) == [f"line {n}" for n in range(1, 51)]
        assert serving.job(one)["attempt"] == 1


def ended(serving: Serving, job_id: str) -> str:
    """Its last status. While a backend comes back the server answers 503: asked again."""

    def look() -> str | None:
        status, job = serving.call("GET", f"/api/v3/jobs/{job_id}")
        return str(job["status"]) if status == 200 and job["finished_at"] else None

    return str(eventually(look, f"{job_id} to end", within=120))
