"""SQLite copes with the concurrency that is documented: many runs in one process, others that look or write (M22)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.errors import UnavailableError
from orchestrator.model.jobs import JobStatus
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Cursor
from orchestrator.model.specs import ExecutorKind
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock
from tests.suites.store_making import get, insert, make_job, make_lines, make_run, outcome

ROOT = Path(__file__).parents[3]
RUNS = STEPS = 20
POLLING = """
import asyncio, sys, threading
from pathlib import Path
from orchestrator.contracts.store import JobFilter
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock
told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
async def main():
    looks = 0
    async with open_sqlite_store(Path(sys.argv[1]), clock=FakeClock(), exclusive=False) as store:
        print("polling", flush=True)
        while not told.is_set():
            async with store.read() as repos:
                await repos.jobs.count()
                for job in (await repos.jobs.page(JobFilter(), after=None, limit=20)).items:
                    await repos.logs.read(job.id, after=0, limit=10)
                    await repos.journal.read(job.id)
            looks += 1
    print(looks)
asyncio.run(main())
"""
HOLDING = """
import sys
import apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("holding", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@contextmanager
def running(program: str, path: Path, says: str) -> Iterator[subprocess.Popen[str]]:
    """A process that works on the database until its stdin ends, or says a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{says}\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cronium.db"


async def work_on(store, clock, number: int) -> None:
    """One run, step by step, as an orchestrator writes it; each step has a queue of its own, so that we claim ours."""
    run = make_run(clock, queue=f"run-{number}")
    async with store.begin() as repos:
        await repos.runs.insert(run)
        await repos.outbox.add(run.id, "advance_run", queue=run.queue, payload={}, at=clock.now())
    for step in range(STEPS):
        job = make_job(clock, queue=run.queue, run_id=run.id, step=str(step))
        await insert(store, job)
        async with store.begin() as repos:
            [claim] = await repos.jobs.claim("one", run.queue, {ExecutorKind.PROCESS: 1}, lease=timedelta(seconds=15))
            await repos.jobs.start_attempt(claim, process="p", token_digest=job.id.encode())
        async with store.begin() as repos:
            await repos.logs.append(claim, make_lines(clock, 1, ["a", "b"]), Cursor())
        async with store.read() as repos:
            assert len(await repos.logs.read(job.id, after=0, limit=10)) == 2
        async with store.begin() as repos:
            await repos.jobs.finish(claim, outcome(clock))
            await repos.journal.append(run.id, EntryKind.STEP_COMPLETED, at=clock.now(), by="engine")
    async with store.begin() as repos:
        await repos.runs.finish(run.id, run.status.SUCCEEDED, at=clock.now(), output={}, error=None)


async def test_twenty_runs_of_twenty_steps_and_a_process_that_looks_never_find_it_locked(path):
    """M22: both processes work to the end without an error."""
    clock = FakeClock()
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        with running(POLLING, path, "polling") as polling:
            await asyncio.gather(*(work_on(store, clock, number) for number in range(RUNS)))
            looks, errors = await asyncio.to_thread(polling.communicate, timeout=60)
        assert (polling.returncode, errors) == (0, "")
        assert int(looks) > 0
        async with store.read() as repos:
            assert await repos.jobs.count() == {JobStatus.SUCCEEDED: RUNS * STEPS}
            assert await repos.runs.queues() == frozenset()


async def test_a_process_that_holds_the_write_lock_for_two_seconds_delays_and_does_not_fail(path):
    """M22: reading goes on meanwhile."""
    clock = FakeClock()
    before, jobs = make_job(clock), [make_job(clock) for _ in range(10)]
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        await insert(store, before)
        with running(HOLDING, path, "holding") as holder:
            writing = [asyncio.ensure_future(insert(store, job)) for job in jobs]
            asyncio.get_running_loop().call_later(2.0, os.write, holder.stdin.fileno(), b"\n")
            assert await get(store, before.id) == before
            assert not any(task.done() for task in writing)
            await asyncio.gather(*writing)
        for job in jobs:
            assert await get(store, job.id) == job


async def test_a_process_that_holds_the_write_lock_too_long_is_named_and_trying_again_works(path):
    """M22: nothing of what was refused is there; reading goes on meanwhile."""
    clock = FakeClock()
    before, job = make_job(clock), make_job(clock)
    async with open_sqlite_store(path, clock=clock, exclusive=True, busy_seconds=0.1) as store:
        await insert(store, before)
        with running(HOLDING, path, "holding") as holder:
            for _ in range(2):
                with pytest.raises(UnavailableError, match="Another process") as refused:
                    await insert(store, job)
                assert refused.value.code == "store_busy"
            with pytest.raises(UnavailableError):
                await store.check()
            assert await get(store, before.id) == before
            await asyncio.to_thread(holder.communicate, timeout=60)
        await insert(store, job)
        assert await get(store, job.id) == job
