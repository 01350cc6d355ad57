"""Scripts that mean harm, on a whole server: they end as they should, nothing of them stays, others go on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import Serving, eventually
from tests.e2e.test_trees import alive, mark

__all__ = ["mark"]

# Every process of a bomb ends by itself after so long: a failing test must not take the machine with it.
FUSE_SECONDS = 12
BOMB = f"""end=$((EPOCHSECONDS + {FUSE_SECONDS})); echo begun
b() {{ [ $EPOCHSECONDS -lt $end ] || exit; b | b & }}; b
"""
# Forks one, with a session of its own, and ends: without end, but never many at a time.
RUNNER = f"""end=$((EPOCHSECONDS + {FUSE_SECONDS * 5})); echo begun
r() {{ [ $EPOCHSECONDS -lt $end ] || exit; sleep 0.01; r & }}; r
exec sleep MARK"""
PIDS = 80


@pytest.fixture
def job_marks() -> Iterator[list[str]]:
    """Jobs whose processes are killed in the end, whatever the test found."""
    jobs: list[str] = []
    yield jobs
    for job_id in jobs:
        while left := processes_of(job_id):
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


def processes_of(job_id: str) -> list[int]:
    """The processes of this machine whose environment names the job."""
    wanted, found = f"CRONIUM_JOB_ID={job_id}".encode(), []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended, or it is nobody's
    return found


def bomb(serving: Serving, job_marks: list[str], script: str, **more: object) -> str:
    job_id = serving.submit(bash=script, executor="process", pids=PIDS, **more)
    job_marks.append(job_id)
    return job_id


def test_a_fork_bomb_fails_by_its_limit_and_others_run_beside_it(shared: Serving, job_marks: list[str]):
    bombs = [bomb(shared, job_marks, f"{BOMB}while :; do wait; done") for _ in range(2)]
    others = [shared.submit(shell=f"echo {number}", executor="process") for number in range(10)]

    for number, job_id in enumerate(others):
        assert (shared.wait(job_id)["status"], shared.text(job_id)) == ("succeeded", [str(number)])
    for job_id in bombs:
        job = shared.wait(job_id)
        assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "limit", 137)
        assert f"more than {PIDS} processes" in job["message"]
        assert "pids" in job["message"]
        assert shared.text(job_id) == ["begun"]
        assert processes_of(job_id) == []


def test_cancelling_ends_what_forks_and_ends_without_end(shared: Serving, job_marks: list[str], mark: str):
    job_id = bomb(shared, job_marks, RUNNER.replace("MARK", mark))
    eventually(lambda: shared.text(job_id) == ["begun"], "the first line")

    shared.call("POST", f"/api/v3/jobs/{job_id}/cancel")

    assert shared.wait(job_id)["status"] == "cancelled"
    assert (alive(mark), processes_of(job_id)) == ([], [])


def test_a_timeout_ends_what_forks_and_ends_without_end(shared: Serving, job_marks: list[str], mark: str):
    job_id = bomb(shared, job_marks, RUNNER.replace("MARK", mark), timeout="1s")

    assert shared.wait(job_id)["status"] == "timed_out"
    assert (alive(mark), processes_of(job_id)) == ([], [])


def test_a_fork_bomb_ends_with_its_main_process(shared: Serving, job_marks: list[str]):
    job_id = bomb(shared, job_marks, f"{RUNNER.partition('exec')[0]}exit 3")

    job = shared.wait(job_id)

    assert (job["status"], job["exit_code"], shared.text(job_id)) == ("failed", 3, ["begun"])
    assert processes_of(job_id) == []


def test_a_job_that_kills_its_supervisor_is_lost_and_nothing_of_it_stays(shared: Serving, job_marks: list[str]):
    job_id = bomb(shared, job_marks, "setsid sleep 1000 & echo begun; kill -9 $PPID; sleep 1000")

    job = shared.wait(job_id)

    assert (job["status"], job["reason"]) == ("failed", "lost")
    eventually(lambda: processes_of(job_id) == [], "its processes to be gone")


@pytest.mark.parametrize("number", [1, 2, 6, 9, 11, 15, 34, 64])
def test_a_signal_that_ends_a_script_is_its_exit_code(shared: Serving, number: int):
    job_id = shared.submit(bash=f"kill -{number} $$; sleep 1", executor="process")

    job = shared.wait(job_id)

    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 128 + number)


def test_no_zombie_and_no_process_stays_of_many_short_jobs(serving: Serving):
    jobs = [serving.submit(shell=f"(exit 7) & exit {number % 3}", executor="process") for number in range(60)]

    assert [serving.wait(job_id)["exit_code"] for job_id in jobs] == [number % 3 for number in range(60)]
    eventually(lambda: _states_below(serving.process_id) == [], "zombies and supervisors to be gone")


def _states_below(pid: int) -> list[str]:
    """What the server's children and their children are, but for the zygote itself: those that are dead, or supervise."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,stat=,comm="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    below = {str(pid)}
    for row in rows:
        if row[1] in below:
            below.add(row[0])
    return [row[3] for row in rows if row[0] in below and ("Z" in row[2] or row[3].startswith("cronium-superv"))]
