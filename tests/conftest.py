"""What all tests share: markers that cannot run say why, and in CI that is a failure."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.suites")  # before anybody imports a suite

from tests.servers import Postgres, Redis, missing_servers, running_postgres, running_redis  # noqa: E402

ROOT = Path(__file__).parents[1]
CRONIUM = ROOT / ".venv" / "bin" / "cronium"
DOCKER_SOCKET = "/var/run/docker.sock"

# A shell in the background, and nohup, make us ignore these, and so would every command that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


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


def prometheus_problem() -> str | None:
    """Why tests marked `prometheus` cannot run here; None when they can."""
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    return f"no {' and no '.join(missing)} on this machine (Debian: apt install prometheus)" if missing else None


PROBLEMS = {"docker": docker_problem, "distributed": missing_servers, "prometheus": prometheus_problem}


@pytest.hookimpl(trylast=True)  # after `-m` has taken out what was not asked for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, find_problem in PROBLEMS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        problem = find_problem() if marked else None
        if problem is None:
            continue
        if os.environ.get("CI"):
            raise pytest.UsageError(f"tests marked `{marker}` must run in CI: {problem}")
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=problem))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A Postgres cluster for all tests of this process, each of which makes a database of its own."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty Postgres database of this test's own."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A Redis or Valkey for all tests of this process, which clear it before they use it."""
    with running_redis() as server:
        yield server
