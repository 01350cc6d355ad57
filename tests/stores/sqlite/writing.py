"""A program that writes to a SQLite store until it is stopped or has written enough: `writing.py PATH NAME COUNT`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from orchestrator.model.journal import EntryKind
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock

WRITERS = 8


async def main(path: Path, name: str, blocks: int) -> None:
    """Write, and say on stdout what was acknowledged: `<subject> <seq of the shared subject>`."""
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    numbers = count()

    async def write(writer: int) -> None:
        seen = 0
        while (number := next(numbers)) < blocks:
            subject = f"{name}-{writer}-{number}"
            async with store.begin() as repos:
                await repos.journal.append(subject, EntryKind.QUEUED, at=clock.now(), by=name)
                await repos.journal.append("shared", EntryKind.QUEUED, at=clock.now(), by=name)
                seen = (await repos.journal.read("shared", after=seen, limit=1_000_000))[-1].seq
                await repos.journal.append(subject, EntryKind.FINISHED, at=clock.now(), by=name)
            sys.stdout.write(f"{subject} {seen}\n")
            sys.stdout.flush()

    async with open_sqlite_store(path, clock=clock, exclusive=False) as store, asyncio.TaskGroup() as tasks:
        for writer in range(WRITERS):
            tasks.create_task(write(writer))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
