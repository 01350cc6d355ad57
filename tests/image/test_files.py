"""The compose files: what compose makes of them in a fresh clone, and what must never be in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.image.deployment import KEPT, compose_command

FILES = ["docker-compose.yml", "docker-compose.stack.yml", "docker-compose.dev.yml"]


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text()))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files as somebody has them who has just cloned the repository: there is no `.env`."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.docker
@pytest.mark.parametrize("name", FILES)
def test_compose_accepts_the_file_in_a_fresh_clone_and_warns_of_nothing(composing: None, clone: Path, name: str):
    command = compose_command()
    assert command is not None
    env = {key: os.environ[key] for key in KEPT if key in os.environ}
    done = subprocess.run(
        [*command, "-f", name, "config"], cwd=clone, env=env, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "cronium" in yaml.safe_load(done.stdout)["services"]


@pytest.mark.parametrize("name", FILES)
def test_there_is_no_version_and_no_password_in_the_file(name: str):
    content = read(name)
    assert "version" not in content
    given = [service.get("environment") or {} for service in content["services"].values()]
    pairs = [pair for variables in given for pair in (variables.items() if isinstance(variables, dict) else ())]
    assert [
        pair for pair in pairs if re.search("PASSWORD|SECRET|TOKEN", pair[0]) and "/run/secrets/" not in pair[1]
    ] == []
    assert not re.search(r"://[^/\s]*:[^/\s$]*@", (ROOT / name).read_text()), "a password in a URL"


@pytest.mark.parametrize("name", FILES)
def test_everything_is_published_on_loopback_unless_that_is_changed(name: str):
    ports = [port for service in read(name)["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:")] == []


def test_the_replica_is_the_same_service_without_a_published_port():
    services = read("docker-compose.stack.yml")["services"]
    changed = {key for key in services["cronium"] if services["cronium"][key] != services["replica"].get(key)}
    assert changed == {"depends_on", "ports", "environment"}
    assert services["replica"]["ports"] == []


def test_the_backends_of_the_stack_are_reached_by_nobody_else():
    content = read("docker-compose.stack.yml")
    assert content["networks"]["backend"]["internal"] is True
    for name in ("postgres", "valkey"):
        assert content["services"][name]["networks"] == ["backend"]
        assert "ports" not in content["services"][name]


@pytest.mark.parametrize("name", FILES)
def test_what_is_handed_on_by_name_are_settings_that_exist(name: str):
    """An unknown CRONIUM_ variable would end the server; one that nobody hands on would do nothing."""
    from orchestrator.config.settings import ServerSettings

    fields = {f"CRONIUM_{field.upper()}" for field in ServerSettings.model_fields}
    given = read(name)["services"]["cronium"]["environment"]
    names = [entry.partition("=")[0] for entry in given] if isinstance(given, list) else list(given)
    unknown = [entry for entry in names if entry.startswith("CRONIUM_") and entry.partition("__")[0] not in fields]
    assert names
    assert unknown == []


def test_no_container_that_serves_keeps_a_right_that_the_start_does_not_need():
    for name in FILES[:2]:
        service = read(name)["services"]["cronium"]
        assert service["cap_drop"] == ["ALL"]
        assert service["cap_add"] == ["CHOWN", "SETGID", "SETUID"]
        assert service["read_only"] is True
        assert "no-new-privileges:true" in service["security_opt"]
