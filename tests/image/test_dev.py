"""The development stack: the server runs from the checkout and follows it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.serving import eventually
from tests.image.deployment import Deployment

pytestmark = [pytest.mark.docker, pytest.mark.deployment, pytest.mark.torture, pytest.mark.timeout(300)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy that may be changed."""
    for name in ("orchestrator", "runtime_api", "sdk", "docker"):
        shutil.copytree(ROOT / name, tmp_path / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "docker-compose.dev.yml", tmp_path / "checkout")
    tmp_path.chmod(0o755)
    return tmp_path / "checkout"


def test_a_change_of_the_source_is_served_a_moment_later_and_jobs_go_on(
    deploy: Callable[..., Deployment], neighbours: dict[str, str], checkout: Path
):
    deployment = deploy("docker-compose.dev.yml", root=checkout, env=dict(neighbours))
    serving = deployment.up()
    job_id = serving.submit(bash="for n in $(seq 60); do echo line $n; sleep 0.2; done")
    eventually(lambda: serving.text(job_id), "its first line")

    (checkout / "orchestrator" / "__init__.py").write_text('"""Changed."""\n\n__version__ = "9.9.9"\n')

    eventually(lambda: version(deployment) == "9.9.9", f"the changed server\n{deployment.logs()}")
    deployment.wait_ready()
    job = serving.wait(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 1)
    assert serving.text(job_id) == [f"line {n}" for n in range(1, 61)]


def version(deployment: Deployment) -> str:
    """What the server that runs now says of itself; nothing between two."""
    said = deployment.run("cronium", "sh", "-c", "as-cronium cat /var/lib/cronium/server.json || true")
    return str(json.loads(said or '{"version": ""}')["version"])
