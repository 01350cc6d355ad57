"""Servers for end-to-end tests, in each mode: what users see is the same, so the tests are the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import Serving
from tests.servers import Postgres, Redis

IMAGES = {
    "CRONIUM_IMAGES__PYTHON": "cronium-job-python:local",
    "CRONIUM_IMAGES__NODE": "cronium-job-node:local",
    "CRONIUM_IMAGES__BASH": "cronium-debian:local",
    "CRONIUM_IMAGES__SHELL": "cronium-debian:local",
}

RECEIVERS = {"CRONIUM_OUTBOUND_ALLOW": "127.0.0.1"}  # webhooks of tests are told to this machine


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where scripts run has nothing to do with where jobs are kept: Docker is tested in one mode only."""
    both = [
        item
        for item in items
        if item.get_closest_marker("docker")
        and item.get_closest_marker("distributed")
        and "mode" in getattr(item, "fixturenames", ())
    ]
    if both:
        items[:] = [item for item in items if item not in both]
        config.hook.pytest_deselected(items=both)


@pytest.fixture(scope="module", params=["standalone", pytest.param("distributed", marks=pytest.mark.distributed)])
def mode(request: pytest.FixtureRequest) -> str:
    """Each mode in turn; `distributed` where its servers are."""
    return str(request.param)


@contextlib.contextmanager
def backends(mode: str, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What a server's environment says of its mode; in distributed mode with an empty database of its own."""
    if mode == "standalone":
        yield {}
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    redis: Redis = request.getfixturevalue("redis")
    name = postgres.create_database()
    yield {"CRONIUM_MODE": mode, "DATABASE_URL": postgres.url(name), "VALKEY_URL": redis.url}
    postgres.drop_database(name)


@pytest.fixture
def serving(tmp_path: Path, mode: str, request: pytest.FixtureRequest) -> Iterator[Serving]:
    """A server of this test's own."""
    with backends(mode, request) as env:
        server = Serving(tmp_path / "data", env={**IMAGES, **RECEIVERS, **env})
        server.data_dir.mkdir(mode=0o700)
        try:
            server.start()
            yield server
        finally:
            server.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, mode: str, request: pytest.FixtureRequest) -> Iterator[Serving]:
    """A server for the tests of one file that do not disturb each other."""
    with backends(mode, request) as env:
        server = Serving(tmp_path_factory.mktemp("shared") / "data", env={**IMAGES, **env})
        server.data_dir.mkdir(mode=0o700)
        try:
            server.start()
            yield server
            assert server.stop() == 0, server.log()
        finally:
            server.close()


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def executor(request: pytest.FixtureRequest) -> str:
    """Each executor in turn; `docker` where a daemon answers."""
    return str(request.param)
