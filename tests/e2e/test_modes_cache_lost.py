"""Valkey goes away while the server runs: it goes on in memory, says so, and returns by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import Serving, eventually
from tests.servers import Redis, running_redis

pytestmark = pytest.mark.distributed

DEGRADED = "cronium_cache_degraded"


@pytest.fixture
def valkey() -> Iterator[Redis]:
    """A server of this test's own, which it may end."""
    with running_redis() as server:
        yield server


@pytest.fixture(params=["memory", "valkey"], ids="requests counted in {}".format)
def server(request: pytest.FixtureRequest, tmp_path: Path, database: str, valkey: Redis) -> Iterator[Serving]:
    """In distributed mode, with a cache that nothing asks, and with one that every request asks."""
    env = {"CRONIUM_MODE": "distributed", "DATABASE_URL": database, "VALKEY_URL": valkey.url}
    env |= {"CRONIUM_LOG_FORMAT": "json", "CRONIUM_RATE_LIMIT_BACKEND": str(request.param)}
    server = Serving(tmp_path / "data", env=env)
    server.data_dir.mkdir(mode=0o700)
    try:
        server.start()
        yield server
    finally:
        server.close()


def cache(server: Serving) -> str:
    """What readiness says of the cache; the server is ready all the time."""
    status, answer = server.call("GET", "/readyz")
    assert (status, answer["status"]) == (200, "ready"), answer
    return str(answer["details"]["cache"])


def test_a_server_goes_on_in_memory_and_returns_by_itself(server: Serving, valkey: Redis, tmp_path: Path):
    gate = tmp_path / "gate"
    job_id = server.submit(shell=f"echo begun; until [ -e {gate} ]; do sleep 0.05; done; echo done")
    eventually(lambda: server.text(job_id) == ["begun"], "the first line")
    assert (cache(server), server.metrics()[DEGRADED]) == ("valkey", 0)

    valkey.stop()

    eventually(lambda: cache(server) == "memory, while valkey is away", "the loss to be noticed", within=20)
    assert server.metrics()[DEGRADED] == 1
    assert server.wait(server.submit(shell="true"))["status"] == "succeeded"
    gate.touch()
    assert (server.wait(job_id)["status"], server.text(job_id)) == ("succeeded", ["begun", "done"])

    valkey.start()

    eventually(lambda: cache(server) == "valkey", "the return to be noticed")
    assert server.metrics()[DEGRADED] == 0
    assert server.wait(server.submit(shell="true"))["status"] == "succeeded"
    assert said(server) == [
        "the cache is away; going on in the memory of this process",
        "the cache is back",
    ]


def said(server: Serving) -> list[Any]:
    return [record["message"] for record in server.records() if record["message"].startswith("the cache is ")]
