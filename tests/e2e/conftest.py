"""Servers for end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import Serving

IMAGES = {
    "CRONIUM_IMAGES__PYTHON": "cronium-job-python:local",
    "CRONIUM_IMAGES__NODE": "cronium-job-node:local",
    "CRONIUM_IMAGES__BASH": "cronium-debian:local",
    "CRONIUM_IMAGES__SHELL": "cronium-debian:local",
}


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A server of this test's own."""
    server = Serving(tmp_path / "data", env=dict(IMAGES))
    server.data_dir.mkdir(mode=0o700)
    server.start()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server for the tests of one file that do not disturb each other."""
    server = Serving(tmp_path_factory.mktemp("shared") / "data", env=dict(IMAGES))
    server.data_dir.mkdir(mode=0o700)
    server.start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def executor(request: pytest.FixtureRequest) -> str:
    """Each executor in turn; `docker` where a daemon answers."""
    return str(request.param)
