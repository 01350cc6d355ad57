"""A database that cannot be written: requests are told so, what runs goes on, and rights are all it takes."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.disks import assert_whole, kinds, refuses_writes, require, serving_on, start_is_refused
from tests.e2e.serving import Serving, eventually
from tests.servers import Postgres, running_postgres

pytestmark = pytest.mark.torture

LINES = [str(n) for n in range(2000)]


def begin(server: Serving, gate: Path) -> str:
    """A job that prints 0, waits for the gate, prints the rest, and ends with 5."""
    job_id = server.submit(shell=f"echo 0; until [ -e {gate} ]; do sleep 0.02; done; seq 1 1999; exit 5")
    eventually(lambda: server.text(job_id) == ["0"], "the first line")
    return job_id


def assert_refused(server: Serving, job_id: str) -> str:
    """New work is refused with a code and what to do, old work can be looked at; the sentence."""
    answer = server.ask("POST", "/api/v3/jobs", {"shell": "true"})
    assert (answer.status, answer.body["code"]) == (503, "store_unavailable"), answer
    assert server.job(job_id)["status"] == "running"
    assert server.text(job_id) == ["0"]
    assert server.call("GET", "/healthz")[0] == 200
    return str(answer.body["detail"])


def assert_ended_once(server: Serving, job_id: str) -> None:
    job = server.wait(job_id)
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 5, 1)
    assert server.text(job_id) == LINES
    assert kinds(server, job_id) == ["queued", "claimed", "started", "finished"]
    assert server.wait(server.submit(shell="true"))["status"] == "succeeded"


def test_a_start_on_a_disk_that_is_mounted_read_only_ends_and_says_so(tmp_path: Path):
    """M16, M29: and the next one, when it may write, finds everything."""
    with serving_on(tmp_path) as (server, disk):
        server.start()
        job_id = server.submit(shell="echo kept")
        server.wait(job_id)
        assert server.stop() == 0
        disk.remount("ro")
        said = start_is_refused(server)
        disk.remount("rw")
        assert str(disk.path) in said
        assert "Read-only file system" in said
        server.start()
        assert server.text(job_id) == ["kept"]
        assert server.wait(server.submit(shell="true"))["status"] == "succeeded"
        assert server.stop() == 0
        assert_whole(disk.path / "cronium.db")


@contextlib.contextmanager
def protected(*files: Path) -> Iterator[None]:
    """Nobody may write to these files, not even root, nor who has opened them before."""
    names = [str(file) for file in files]
    done = subprocess.run(["chattr", "+i", *names], capture_output=True, text=True)
    require(f"files cannot be protected here: {done.stderr.strip()}" if done.returncode else None)
    try:
        with files[0].open("rb+"):
            require("a file that is protected can be written here")
    except PermissionError:
        yield
    finally:
        subprocess.run(["chattr", "-i", *names], check=True)


def test_a_job_outlasts_a_database_that_is_protected_for_a_while(tmp_path: Path):
    """M16: on SQLite."""
    server = Serving(tmp_path / "data", env={"CRONIUM_METRICS_PUBLIC": "true"})
    server.data_dir.mkdir(mode=0o700)
    database = server.data_dir / "cronium.db"
    try:
        server.start()
        job_id = begin(server, tmp_path / "gate")
        with protected(database, database.with_name("cronium.db-wal")):
            (tmp_path / "gate").touch()
            eventually((server.data_dir / "spool" / f"cronium-{job_id}-1" / "exit").exists, "the script to end")
            eventually(lambda: refuses_writes(server), "the loss to be noticed")
            assert "cronium.db" in assert_refused(server, job_id)
        assert_ended_once(server, job_id)
        assert server.stop() == 0
        assert_whole(database)
    finally:
        server.close()


@pytest.fixture
def cluster() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.mark.distributed
def test_a_job_outlasts_a_postgres_that_is_read_only_for_a_while(cluster: Postgres, tmp_path: Path):
    """M16: as after a switch to a standby, or when an operator guards a disk that is nearly full."""
    url = cluster.url(cluster.create_database())
    server = Serving(tmp_path / "data", env={"DATABASE_URL": url, "CRONIUM_METRICS_PUBLIC": "true"})
    server.data_dir.mkdir(mode=0o700)
    try:
        server.start()
        job_id = begin(server, tmp_path / "gate")
        set_read_only(cluster, "on")
        eventually(lambda: refuses_writes(server), "the loss to be noticed")
        (tmp_path / "gate").touch()
        eventually((server.data_dir / "spool" / f"cronium-{job_id}-1" / "exit").exists, "the script to end")
        assert "read-only" in assert_refused(server, job_id)
        assert server.metrics()["cronium_store_up"] == 1
        set_read_only(cluster, "off")
        assert_ended_once(server, job_id)
        eventually(lambda: server.call("GET", "/readyz")[0] == 200, "the server to be ready again")
        assert server.stop() == 0
    finally:
        server.close()


def set_read_only(cluster: Postgres, value: str) -> None:
    """For sessions that are open too."""
    cluster.run(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    cluster.run("SELECT pg_reload_conf()")
