"""SQLite stores and other processes: who may open what, who may write, and what is left after a kill."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ConflictError
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock

ROOT = Path(__file__).parents[3]
HOLDING = """
import asyncio, sys
from pathlib import Path
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock
async def main():
    async with open_sqlite_store(Path(sys.argv[1]), clock=FakeClock(), exclusive=True):
        print("holding", flush=True)
        sys.stdin.read()
asyncio.run(main())
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def start_writing(path: Path, name: str, blocks: int) -> subprocess.Popen[str]:
    return start(str(Path(__file__).with_name("writing.py")), str(path), name, str(blocks))


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=20)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cronium.db"


@pytest.mark.parametrize("lines", [1, 40, 400])
async def test_what_was_acknowledged_before_a_kill_is_there(path, lines):
    process = start_writing(path, "w", 10**9)
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.read().splitlines()
    finally:
        end(process)
    acknowledged = dict(line.split() for line in said if line.count(" ") == 1)
    async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store, store.read() as repos:
        for subject, seq in acknowledged.items():
            assert len(await repos.journal.read(subject)) == 2
            assert len(await repos.journal.read("shared", after=int(seq) - 1, limit=1)) == 1
        shared = [entry.seq for entry in await repos.journal.read("shared", limit=10**6)]
    assert shared == list(range(1, len(shared) + 1))
    assert len(shared) >= len(acknowledged) >= lines


async def test_several_processes_may_write(path):
    processes = [start_writing(path, name, 200) for name in ("a", "b", "c")]
    try:
        said = [process.communicate(timeout=100)[0] for process in processes]
    finally:
        for process in processes:
            end(process)
    assert [process.returncode for process in processes] == [0, 0, 0]
    numbers = [int(line.split()[1]) for output in said for line in output.splitlines()]
    assert sorted(numbers) == list(range(1, 601))


async def test_a_second_process_is_refused_by_name_while_the_first_holds_the_store(path):
    holder = start("-c", HOLDING, str(path))
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(ConflictError, match=f"process {holder.pid}") as refused:
            async with open_sqlite_store(path, clock=FakeClock(), exclusive=True):
                pass
        assert refused.value.code == "store_in_use"
        async with open_sqlite_store(path, clock=FakeClock(), exclusive=False) as store:
            await store.check()
    finally:
        end(holder)
    async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store:
        await store.check()


async def test_a_store_that_was_closed_can_be_opened_again(path):
    for _ in range(3):
        async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store:
            await store.check()


async def test_a_query_that_runs_when_the_store_closes_is_waited_for(path):
    async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store:
        async with store.read() as repos:
            counting = [asyncio.ensure_future(repos.jobs.count()) for _ in range(50)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*counting) == [{}] * 50
    assert not path.with_name("cronium.db-wal").exists()  # the last connection to close removes it
