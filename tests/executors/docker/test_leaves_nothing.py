"""However jobs and the server end: nothing that was made for them stays, on the engine or on the disk."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.places import instance_of, socket_root
from tests.e2e.conftest import IMAGES
from tests.e2e.serving import FINAL, Serving, eventually
from tests.executors.docker.engine_for_tests import docker

pytestmark = pytest.mark.docker

FEW = 16
MANY = int(os.environ.get("CRONIUM_TEST_LEFTOVER_JOBS", "150"))
SEED = 20261121
# Of a database, while it is open: they come and go.
OF_DATABASE = re.compile(r"cronium\.db-(wal|shm)")
KINDS = (
    {"network": "none"},
    {"network": "internal"},
    {"workspace": "volume"},
    {"network": "internal", "workspace": "volume"},
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    server = Serving(tmp_path / "data", env={**IMAGES, "CRONIUM_LOG_LEVEL": "warning"})
    server.data_dir.mkdir(mode=0o700)
    try:
        yield server
    finally:
        server.close()
        for kind, names in on_engine(server).items():
            for name in names:
                docker(*(("rm", "-f", "-v") if kind == "container" else (kind, "rm")), name)


def label_of(server: Serving) -> str:
    return f"label=cronium.installation={instance_of((server.data_dir / 'attempts.key').read_bytes())}"


def on_engine(server: Serving) -> dict[str, list[str]]:
    """What the engine has of this installation, by kind."""
    wanted = ("--filter", label_of(server))
    found = {
        "container": docker("ps", "-a", *wanted, "--format", "{{.ID}}").split(),
        "volume": docker("volume", "ls", "-q", *wanted).split(),
        "network": docker("network", "ls", "-q", *wanted).split(),
    }
    return {kind: names for kind, names in found.items() if names}


def on_disk(server: Serving) -> set[str]:
    """Every path in the data directory and in the directory of the sockets."""
    sockets = socket_root(server.data_dir, os.environ)
    places = {"data": server.data_dir, "sockets": sockets}
    return {
        f"{name}/{path.relative_to(place)}"
        for name, place in places.items()
        for path in place.rglob("*")
        if not OF_DATABASE.fullmatch(path.name)
    }


class Trouble:
    """Ends jobs and the server at random, as often as half of the jobs."""

    def __init__(self, server: Serving, jobs: list[str]) -> None:
        self._server, self._jobs = server, jobs
        self._chance = random.Random(SEED)
        self.done: dict[str, int] = {}

    def make(self) -> None:
        what = self._chance.choices(("kill", "remove", "cancel", "crash"), weights=(4, 4, 4, 1))[0]
        worked = {"kill": self._kill, "remove": self._remove, "cancel": self._cancel, "crash": self._crash}[what]()
        self.done[what] = self.done.get(what, 0) + worked

    def _kill(self) -> bool:
        return self._to_one_container("kill")

    def _remove(self) -> bool:
        return self._to_one_container("rm", "-f")

    def _to_one_container(self, *command: str) -> bool:
        """Which may end by itself meanwhile."""
        running = docker("ps", "-q", "--filter", label_of(self._server)).split()
        if not running:
            return False
        return subprocess.run(["docker", *command, self._chance.choice(running)], capture_output=True).returncode == 0

    def _cancel(self) -> bool:
        status, _ = self._server.call("POST", f"/api/v3/jobs/{self._chance.choice(self._jobs)}/cancel")
        return status < 300

    def _crash(self) -> bool:
        self._server.kill()
        self._server.start()
        return True


def unfinished(server: Serving) -> list[str]:
    """The jobs that have not ended."""
    return [
        str(job["id"])
        for status in ("queued", "running")
        for job in server.call("GET", f"/api/v3/jobs?status={status}&limit=200")[1]["items"]
    ]


def run_and_trouble(server: Serving, count: int) -> dict[str, int]:
    """Run so many jobs and end half of them at random; return what was done to them."""
    jobs = [
        server.submit(shell=f"echo up; sleep 0.{number % 10}", executor="docker", **KINDS[number % len(KINDS)])
        for number in range(count)
    ]
    trouble = Trouble(server, jobs)
    while sum(trouble.done.values()) < count // 2 and unfinished(server):
        trouble.make()
    eventually(lambda: not unfinished(server), "all jobs to end", within=1800)
    statuses = [server.job(job)["status"] for job in jobs]
    assert set(statuses) <= set(FINAL)
    return trouble.done


def leaves_nothing(server: Serving, count: int) -> None:
    server.start()
    assert server.stop() == 0
    before = on_disk(server)
    server.start()
    done = run_and_trouble(server, count)
    assert sum(done.values()) > 0
    server.kill()
    server.start()  # sweeps what nobody could remove while it was away
    eventually(lambda: not on_engine(server), "the sweep")
    assert server.stop() == 0
    assert on_engine(server) == {}
    assert on_disk(server) == before


def test_some_jobs_half_of_them_ended_at_random_leave_nothing(server: Serving):
    """Killed, removed, cancelled, and the server killed and started again."""
    leaves_nothing(server, FEW)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_many_jobs_half_of_them_ended_at_random_leave_nothing(server: Serving):
    """The same with more; CRONIUM_TEST_LEFTOVER_JOBS=1000 for a long run."""
    leaves_nothing(server, MANY)
