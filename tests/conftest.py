"""What all tests share: markers that cannot run say why, and in CI that is a failure."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CRONIUM = ROOT / ".venv" / "bin" / "cronium"
DOCKER_SOCKET = "/var/run/docker.sock"


def docker_problem() -> str | None:
    """Why tests marked `docker` cannot run here; None when they can."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(DOCKER_SOCKET)
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return None if b"OK" in probe.recv(1000) else "the Docker daemon does not answer"
    except OSError as error:
        return f"no Docker daemon at {DOCKER_SOCKET}: {error.strerror}"


@pytest.hookimpl(trylast=True)  # after `-m` has taken out what was not asked for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("docker")]
    problem = docker_problem() if marked else None
    if problem is None:
        return
    if os.environ.get("CI"):
        raise pytest.UsageError(f"tests marked `docker` must run in CI: {problem}")
    for item in marked:
        item.add_marker(pytest.mark.skip(reason=problem))
