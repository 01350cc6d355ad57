"""The compose file comes up and goes, with images that are made here in the place of the public ones."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.serving import eventually
from tests.monitoring.files import MONITORING, alerts, commands
from tests.servers import free_port

pytestmark = [pytest.mark.docker, pytest.mark.prometheus]
BASE = "cronium-debian:local"
# As the public image: its account, a directory that is its own, its entrypoint.
PROMETHEUS = f"""FROM {BASE}
COPY prometheus /bin/prometheus
RUN mkdir /prometheus && chown 65534:65534 /prometheus
USER 65534
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
"""
# Only its account and its shell: there is no Grafana to be had here.
GRAFANA = f"""FROM {BASE}
USER 472
CMD ["sh", "-c", "trap exit TERM; cat $GF_SECURITY_ADMIN_PASSWORD__FILE; while :; do sleep 1; done"]
"""


@dataclass(frozen=True)
class Stack:
    """The compose file under a name of its own."""

    name: str
    env: dict[str, str]

    def compose(self, *args: str) -> str:
        command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        file = str(MONITORING / "docker-compose.monitoring.yml")
        done = subprocess.run(
            [*command, "-p", self.name, "-f", file, *args], env=self.env, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def left(self) -> list[str]:
        """Whatever of it is still there."""
        wanted = f"label=com.docker.compose.project={self.name}"
        return [
            line
            for kind in (("ps", "-a"), ("volume", "ls"), ("network", "ls"))
            for line in docker(*kind, "-q", "--filter", wanted).split()
        ]


def docker(*args: str) -> str:
    return subprocess.run(["docker", *args], check=True, capture_output=True, text=True, timeout=100).stdout


def build(directory: Path, tag: str, dockerfile: str) -> str:
    (directory / "Dockerfile").write_text(dockerfile)
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    subprocess.run(["docker", "build", "-q", "-t", tag, str(directory)], check=True, env=environment, timeout=100)
    return tag


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    name = f"cronium-test-{secrets.token_hex(4)}"
    place = tmp_path_factory.mktemp("images")
    program = shutil.which("prometheus")
    assert program is not None
    shutil.copy(program, place / "prometheus")
    images = {
        "PROMETHEUS_IMAGE": build(place, f"{name}-prometheus", PROMETHEUS),
        "GRAFANA_IMAGE": build(place, f"{name}-grafana", GRAFANA),
    }
    ports = {"PROMETHEUS_PORT": str(free_port()), "GRAFANA_PORT": str(free_port())}
    stack = Stack(name, {**os.environ, **images, **ports, "NETWORK_NAME": name, "COMPOSE_PROJECT_NAME": name})
    try:
        stack.compose("up", "-d")
        yield stack
    finally:
        stack.compose("down", "-v", "-t", "3")
        docker("rmi", "-f", *images.values())


def get(stack: Stack, path: str) -> bytes | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.env['PROMETHEUS_PORT']}{path}", timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return None


def test_prometheus_comes_up_with_the_rules_and_may_read_its_token(stack: Stack):
    eventually(lambda: get(stack, "/-/ready"), "Prometheus to be ready")
    groups = json.loads(get(stack, "/api/v1/rules") or b"")["data"]["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"]] == [rule["alert"] for rule in alerts()]
    token = stack.compose("exec", "-T", "prometheus", "cat", "/run/cronium-monitoring/cronium.token")
    assert token == "none"


def test_grafana_finds_a_password_that_nobody_else_may_read(stack: Stack):
    password = stack.compose("exec", "-T", "grafana", "cat", "/run/cronium-monitoring/grafana.password")
    assert len(password) >= 32
    show = ["exec", "-T", "grafana", "stat", "-c", "%a %u", "/run/cronium-monitoring/grafana.password"]
    assert stack.compose(*show).strip() == "600 472"


def test_the_commands_of_the_page_bring_it_up_and_hand_over_a_token(stack: Stack):
    outputs = [
        subprocess.run(
            ["bash", "-euc", block], cwd=ROOT, env=stack.env, check=True, capture_output=True, text=True, timeout=100
        ).stdout
        for block in commands("docker compose")
    ]
    assert len(outputs) == 3
    assert len(outputs[1]) >= 32
    read = ["exec", "-T", "prometheus", "cat", "/run/cronium-monitoring/cronium.token"]
    eventually(lambda: stack.compose(*read) == "crn_...", "the token to be handed over")


def test_a_second_start_keeps_the_password_and_the_end_leaves_nothing(stack: Stack):
    show = ["exec", "-T", "grafana", "cat", "/run/cronium-monitoring/grafana.password"]
    before = stack.compose(*show)
    stack.compose("down", "-t", "3")
    stack.compose("up", "-d")
    assert stack.compose(*show) == before
    stack.compose("down", "-v", "-t", "3")
    assert stack.left() == []
