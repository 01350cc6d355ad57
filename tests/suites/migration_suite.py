"""What every store promises of its migrations (M17): forward, once, whole, and never past what was changed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ConflictError, CroniumError
from orchestrator.stores.migrate import Migration, read_migrations

ROOT = Path(__file__).parents[2]
ONE = Migration(number=1, name="one", sql="CREATE TABLE notes (a BIGINT NOT NULL);")
TWO = Migration(number=2, name="two", sql="CREATE TABLE more (a BIGINT NOT NULL); INSERT INTO notes (a) VALUES (2);")
THREE = Migration(number=3, name="three", sql="ALTER TABLE notes ADD COLUMN b BIGINT NOT NULL DEFAULT 7;")
HALF = Migration(number=3, name="half", sql="CREATE TABLE half (a BIGINT NOT NULL); INSERT INTO nowhere VALUES (1);")
STARTING = """
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


def start(program: str) -> subprocess.Popen[str]:
    """A process that has imported what it needs and waits for a line before it opens the store."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import asyncio, sys\n{program}\n{STARTING}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


class MigrationSuite:
    """Subclass it, give a fixture `where` (an empty database) and the hooks."""

    package: str

    async def migrate(self, where, migrations: list[Migration]) -> None:
        """Apply what is missing, as opening the store does."""
        raise NotImplementedError

    async def query(self, where, sql: str) -> list[tuple]:
        """Run a statement with the bare driver; its rows."""
        raise NotImplementedError

    def program(self, where) -> str:
        """Source that defines `async def main()`, which opens the store and closes it."""
        raise NotImplementedError

    async def _recorded(self, where) -> list[tuple]:
        return await self.query(where, "SELECT number, name FROM migrations ORDER BY number")

    async def test_what_is_missing_is_applied_in_order_and_recorded(self, where):
        """M17"""
        await self.migrate(where, [ONE])
        assert await self._recorded(where) == [(1, "one")]
        await self.query(where, "INSERT INTO notes (a) VALUES (1)")
        await self.migrate(where, [ONE, TWO, THREE])
        assert await self._recorded(where) == [(1, "one"), (2, "two"), (3, "three")]
        assert await self.query(where, "SELECT a, b FROM notes ORDER BY a") == [(1, 7), (2, 7)]

    async def test_applying_again_does_nothing(self, where):
        """M17: not even the time of the record changes."""
        await self.migrate(where, [ONE, TWO])
        records = "SELECT number, name, checksum, applied_at FROM migrations ORDER BY number"
        before = await self.query(where, records)
        await self.migrate(where, [ONE, TWO])
        assert await self.query(where, records) == before
        assert await self.query(where, "SELECT a FROM notes") == [(2,)]

    async def test_an_applied_file_that_was_edited_or_renamed_is_refused(self, where):
        """M17: and nothing that comes after it is applied."""
        await self.migrate(where, [ONE, TWO])
        edited = Migration(number=1, name="one", sql=ONE.sql + "\n")
        renamed = Migration(number=1, name="uno", sql=ONE.sql)
        for changed in (edited, renamed):
            with pytest.raises(ConflictError, match="0001") as refused:
                await self.migrate(where, [changed, TWO, THREE])
            assert refused.value.code == "migration_changed"
        assert await self._recorded(where) == [(1, "one"), (2, "two")]
        assert await self.query(where, "SELECT * FROM notes") == [(2,)]

    async def test_a_database_newer_than_the_code_is_refused_and_not_touched(self, where):
        """M17"""
        await self.migrate(where, [ONE, TWO, THREE])
        with pytest.raises(ConflictError, match=r"0003 \(three\)") as refused:
            await self.migrate(where, [ONE, TWO])
        assert refused.value.code == "database_newer"
        assert await self._recorded(where) == [(1, "one"), (2, "two"), (3, "three")]

    async def test_a_failing_migration_leaves_the_database_at_the_version_before(self, where):
        """M17: its first statement is undone too; the repaired one is applied later. M16: the error is one of ours."""
        with pytest.raises(CroniumError, match="nowhere"):
            await self.migrate(where, [ONE, TWO, HALF])
        assert await self._recorded(where) == [(1, "one"), (2, "two")]
        repaired = Migration(number=3, name="half", sql="CREATE TABLE half (a BIGINT NOT NULL);")
        await self.migrate(where, [ONE, TWO, repaired])
        assert await self._recorded(where) == [(1, "one"), (2, "two"), (3, "half")]
        assert await self.query(where, "SELECT a FROM half") == []

    async def test_of_many_that_migrate_at_once_one_applies_each(self, where):
        """M17, M18: in one process; all succeed."""
        await asyncio.gather(*(self.migrate(where, [ONE, TWO, THREE]) for _ in range(6)))
        assert await self._recorded(where) == [(1, "one"), (2, "two"), (3, "three")]
        assert await self.query(where, "SELECT a, b FROM notes") == [(2, 7)]

    async def test_of_processes_that_open_a_new_database_at_once_all_succeed(self, where):
        """M17, M18: one record per version."""
        processes = [start(self.program(where)) for _ in range(3)]
        try:
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            errors = [process.communicate(timeout=60)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        assert [process.returncode for process in processes] == [0, 0, 0], errors
        wanted = [(migration.number, migration.name) for migration in read_migrations(self.package)]
        assert await self._recorded(where) == wanted

    async def test_every_older_schema_is_brought_up_to_date(self, where):
        """M17: from each version that there was, one migration at a time."""
        migrations = read_migrations(self.package)
        for number in range(1, len(migrations) + 1):
            await self.migrate(where, migrations[:number])
            assert len(await self._recorded(where)) == number
        await self.migrate(where, migrations)
        assert await self._recorded(where) == [(migration.number, migration.name) for migration in migrations]
