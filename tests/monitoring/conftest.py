"""A server that has done a little of everything, and what Prometheus sees of it."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.serving import Serving, eventually

FAILS = "import sys; print('no'); sys.exit(3)"
CALLS = "import cronium; cronium.set_variable('k', cronium.input()); cronium.output({'a': 1}); print('done')"


@pytest.fixture(scope="session")
def busy() -> Iterator[Serving]:
    """A server on which jobs succeeded, failed, were tried again and called; a schedule fired; somebody watched."""
    with TemporaryDirectory(prefix="cronium-metrics-") as directory:
        server = Serving(Path(directory) / "data", env={"CRONIUM_DOCKER_JOBS": "0"})
        server.data_dir.mkdir()
        server.start()
        try:
            _work(server)
            yield server
        finally:
            server.close()


def _work(server: Serving) -> None:
    made, event = server.call(
        "POST",
        "/api/v3/events",
        {"name": "often", "bash": "true", "executor": "process", "schedule": {"every": "1s"}, "max_executions": 1},
    )
    assert made == 201, event
    good = server.submit(python=CALLS, executor="process", input={"n": 1})
    bad = server.submit(python=FAILS, executor="process", retry={"attempts": 2, "delay": "10ms"})
    watching = urllib.request.Request(
        f"{server.url}/api/v3/jobs/{good}/logs?follow=1", headers={"Authorization": f"Bearer {server.token}"}
    )
    with urllib.request.urlopen(watching, timeout=30) as lines:
        assert [json.loads(line)["type"] for line in lines][-1] == "end"
    assert server.wait(good)["status"] == "succeeded", server.lines(good)
    assert server.wait(bad)["status"] == "failed"
    assert server.call("GET", "/nowhere/job_1")[0] == 404
    eventually(
        lambda: server.metrics().get("cronium_fire_delay_seconds_count") == 1 and _all_ended(server),
        f"the event {event} to fire",
    )


def _all_ended(server: Serving) -> bool:
    found = server.metrics()
    return sum(value for name, value in found.items() if name.startswith("cronium_jobs_finished_total")) == 3


@pytest.fixture(scope="session")
def text(busy: Serving) -> str:
    """A scrape."""
    answer = busy.ask("GET", "/metrics")
    assert answer.status == 200
    return str(answer.body)


@pytest.fixture(scope="session")
def series(text: str) -> list[tuple[str, dict[str, str]]]:
    """What Prometheus keeps of that scrape: names and labels, with those that it adds."""
    added = {"job": "cronium", "instance": "cronium:8080"}
    found = [("up", added)]
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels = re.fullmatch(r"([\w:]+)(?:\{(.*)\})? \S+", line).groups()  # type: ignore[union-attr]
            found.append((name, {**added, **dict(re.findall(r'(\w+)="([^"]*)"', labels or ""))}))
    return found


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a program that a test started."""
    process.terminate()
    process.wait(30)
