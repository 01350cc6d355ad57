"""What `docs/images.md` says: its commands are run as they stand but for the registry's name, its tables are true."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.settings import ServerSettings
from orchestrator.executors.docker.refusals import OTHERWISE, refused
from orchestrator.executors.docker.settings import DockerSettings
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.model.specs import PullPolicy
from orchestrator.workflows.document import load_document
from tests.conftest import CRONIUM, ROOT
from tests.e2e.serving import Serving, environment, eventually
from tests.executors.docker.registry import USERS, Registry, registry_for_tests

PAGE = (ROOT / "docs" / "images.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
FILES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SUBMIT, NEWEST, LOGIN = COMMANDS
NAMED = "registry.example.org"
PLACE = "/etc/cronium/registry"


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with registry_for_tests(locked=True) as registry:
        yield registry


@pytest.fixture
def place(tmp_path: Path, registry: Registry) -> Path:
    """A directory with the files of the page; the registry of the page is one that is here."""
    registry.push(name=f"{registry.address}/team/tools:1")
    for text in FILES:
        if (name := re.match(r"# (\S+\.yaml)\n", text)) is not None:
            (tmp_path / name[1]).write_text(put(text, tmp_path, registry))
    (tmp_path / "password.txt").write_text(USERS["reader"])
    (tmp_path / "registry").mkdir()
    return tmp_path


def put(text: str, place: Path, registry: Registry) -> str:
    return text.replace(NAMED, registry.address).replace(PLACE, str(place / "registry"))


def run(script: str, place: Path, registry: Registry, **more: str) -> str:
    """Run commands of the page; what they say, on stderr too."""
    env = environment(PATH=f"{CRONIUM.parent}{os.pathsep}{os.environ['PATH']}", **more)
    done = subprocess.run(
        ["bash", "-euc", put(script, place, registry)], cwd=place, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.docker
def test_the_commands_of_the_page_do_what_it_says(place: Path, registry: Registry):
    """Every command of the page: the log tells of the pull, `why` of the image, and the server's log of no secret."""
    run(LOGIN, place, registry)
    assert (place / "registry" / "config.json").stat().st_mode & 0o777 == 0o600
    setting = load_document((place / "cronium.yaml").read_text(), source="page").data
    assert setting == {"registry_auth_file": str(place / "registry" / "config.json")}
    server = Serving(place / "data", env={"CRONIUM_REGISTRY_AUTH_FILE": str(place / "registry" / "config.json")})
    try:
        server.start()
        address = {"CRONIUM_URL": server.url, "CRONIUM_TOKEN": server.token}
        said = run(SUBMIT, place, registry, **address)
        assert "hello from the image" in said
        assert f"in {registry.address}/team/tools:1 ({registry.address}/team/tools@sha256:" in said
        assert "hello from the newest" in run(NEWEST, place, registry, **address)
        newest, first = server.call("GET", "/api/v3/jobs")[1]["items"]
        assert told(server, first)[0] == f"Pulling {registry.address}/team/tools:1"
        assert told(server, first)[-1].startswith(f"Pulled {registry.address}/team/tools:1 in ")
        assert "is up to date" in told(server, newest)[-1]
        assert server.stop() == 0
        everything = server.log() + json.dumps([first, newest])
        assert USERS["reader"] not in everything
    finally:
        server.close()


def told(server: Serving, job: dict[str, Any]) -> list[str]:
    return server.text(job["id"], "system")


@pytest.mark.docker
def test_a_job_is_cancelled_while_its_image_is_pulled(place: Path, registry: Registry):
    """From a registry that never answers: a listener that nobody accepts from."""
    server = Serving(place / "data")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        image = f"127.0.0.1:{silent.getsockname()[1]}/none/none:1"
        try:
            server.start()
            job_id = server.submit(shell="true", image=image)
            eventually(lambda: server.text(job_id, "system") == [f"Pulling {image}"], "the log to tell of the pull")
            assert server.call("POST", f"/api/v3/jobs/{job_id}/cancel")[0] in (200, 202)
            job = server.wait(job_id)
            assert (job["status"], job["started_at"]) == ("cancelled", None)
            assert server.stop() == 0, server.log()
        finally:
            server.close()


@pytest.mark.parametrize("text", [text for text in FILES if "cronium.yaml" not in text])
def test_the_files_of_the_page_are_read(text: str):
    data = load_document(text, source="page").data
    assert isinstance(data, dict)
    spec = parse_job_spec({"shell": "true", **data})
    assert spec.image == data["image"]


def test_every_policy_is_explained():
    (table,) = re.findall(r"^\| `pull` \|.*?\n\n", PAGE, re.DOTALL | re.MULTILINE)
    told = re.findall(r"^\| `(\w+)` \| [^|]", table, re.MULTILINE)
    assert told == [policy.value for policy in PullPolicy]


def test_every_refusal_of_the_page_is_one_that_is_understood():
    (table,) = re.findall(r"\| the registry or the engine says.*?\n\n", PAGE, re.DOTALL)
    rows = [line.split("|")[1] for line in table.strip().splitlines()[2:]]
    words = [word for row in rows for word in re.findall(r"`([^`]+)`", row)]
    assert len(words) >= 12
    assert [word for word in words if OTHERWISE in refused(word, "r", logged_in=False)] == []


def test_the_figures_of_the_page_are_those_of_the_product():
    defaults = DockerSettings.__dataclass_fields__
    assert defaults["pull_idle_seconds"].default == 5 * 60
    assert f"user {defaults['user'].default.partition(':')[0]}," in PAGE
    assert {"registry_auth_file", "setup_timeout_seconds"} <= set(ServerSettings.model_fields)
    assert "says nothing for five minutes" in re.sub(r"\s+", " ", PAGE)
