"""Backups of a SQLite database: consistent under load, whole or not there, checked, and put in place without loss."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from orchestrator.errors import ConflictError, DeniedError, InvalidError, NotFoundError, UnavailableError
from orchestrator.stores.migrate import Migration, read_migrations
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.backup import back_up, restore
from orchestrator.stores.sqlite.check import inspect
from orchestrator.stores.sqlite.lock import hold_lock
from orchestrator.stores.sqlite.rehearse import migrate_file, rehearse
from orchestrator.stores.sqlite.seal import digest_without
from tests.fakes import NEW_YEAR, FakeClock
from tests.stores.sqlite.test_processes import end, start, start_writing

MIGRATIONS = read_migrations("orchestrator.stores.sqlite")
NEXT = len(MIGRATIONS) + 1
BETTER = Migration(
    number=NEXT, name="better", sql="CREATE TABLE better (a INTEGER) STRICT; INSERT INTO better VALUES (7)"
)
FAULTY = Migration(number=NEXT + 1, name="faulty", sql="CREATE TABLE half (a); SELECT nonsense")


def quiet(done, total):
    """Progress that nobody watches."""


def make_backup(database, file, **changes):
    options = {"migrations": MIGRATIONS, "replace": False, "clock": FakeClock(), "progress": quiet, **changes}
    return back_up(database, file, **options)


def put_back(file, database, **changes):
    options = {"migrations": MIGRATIONS, "replace": False, "admin": None, "clock": FakeClock(), "progress": quiet}
    return restore(file, database, **{**options, **changes})


def query(path, sql):
    with closing(apsw.Connection(str(path))) as connection:
        return connection.execute(sql).fetchall()


def snapshot(directory):
    """Every file of a directory and its bytes; the lock file is no content."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix != ".lock"}


async def fill(path, **values):
    async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store, store.begin() as repos:
        for key, value in values.items():
            await repos.variables.set("global", key, value, at=NEW_YEAR)


async def read(path, key):
    async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store, store.read() as repos:
        found = await repos.variables.get("global", key)
    return None if found is None else found.value


@pytest.fixture
def place(tmp_path):
    """Where backups go."""
    directory = tmp_path / "backups"
    directory.mkdir()
    return directory


@pytest.fixture
async def database(tmp_path):
    """A database with more than a few pages in it."""
    path = tmp_path / "data" / "cronium.db"
    await fill(path, **{f"key{number}": "x" * 4000 for number in range(100)}, found="yes")
    return path


class TestMaking:
    async def test_a_backup_is_one_private_file_that_says_what_it_is(self, database, place):
        made = make_backup(database, place / "a.db")
        assert [path.name for path in place.iterdir()] == ["a.db"]
        assert stat.S_IMODE((place / "a.db").stat().st_mode) == 0o600
        assert made.contents == inspect(place / "a.db", MIGRATIONS)
        assert made.contents.rows["variables"] == 101
        assert made.contents.size_bytes == (place / "a.db").stat().st_size
        assert (made.contents.migration, made.contents.pending) == (len(MIGRATIONS), ())
        assert made.contents.stamp is not None
        assert made.contents.stamp.made_at == NEW_YEAR
        assert [path.name for path in place.iterdir()] == ["a.db"]

    async def test_the_database_is_not_changed(self, database, place):
        before = query(database, "SELECT name FROM sqlite_schema ORDER BY name")
        make_backup(database, place / "a.db")
        assert query(database, "SELECT name FROM sqlite_schema ORDER BY name") == before

    async def test_what_is_only_in_the_log_yet_is_in_the_backup(self, database, place):
        async with open_sqlite_store(database, clock=FakeClock(), exclusive=True) as store:
            async with store.begin() as repos:
                await repos.variables.set("global", "late", "z", at=NEW_YEAR)
            assert database.with_name("cronium.db-wal").stat().st_size > 0
            make_backup(database, place / "a.db")
        put_back(place / "a.db", place / "new" / "cronium.db")
        assert await read(place / "new" / "cronium.db", "late") == "z"

    async def test_under_load_it_holds_whole_transactions_only(self, tmp_path, place):
        """Each transaction of the writer adds two entries of its own and one to a shared, gapless list."""
        database = tmp_path / "cronium.db"
        writer = start_writing(database, "w", 10**9)
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline()
            draining = threading.Thread(target=writer.stdout.read)  # a full pipe would stop the writer
            draining.start()
            for number in range(8):
                file = place / f"{number}.db"
                made = make_backup(database, file)
                ((pairs, entries),) = query(
                    file, "SELECT COUNT(DISTINCT subject), COUNT(*) FROM journal WHERE subject <> 'shared'"
                )
                ((shared, last),) = query(file, "SELECT COUNT(*), MAX(seq) FROM journal WHERE subject = 'shared'")
                assert (pairs * 2, pairs, pairs) == (entries, shared, last)
                assert made.contents.rows["journal"] == entries + shared
                wait_for_more(database, shared)
        finally:
            writer.kill()
            draining.join(20)
            end(writer)

    async def test_commits_during_the_copy_neither_wait_for_it_nor_start_it_again(self, database, place):
        seen = []

        def write_between(done, total):
            query(database, f"INSERT INTO journal VALUES ('load', {len(seen) + 1}, 0, 'queued', 'x', '{'x' * 3000}')")
            seen.append((done, total))

        await fill(database, large="x" * 20_000_000)
        made = make_backup(database, place / "a.db", progress=write_between)
        assert len(seen) > 3
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
        assert {total for _, total in seen} == {seen[-1][0]}
        assert made.contents.rows["journal"] == 0
        assert query(database, "SELECT COUNT(*) FROM journal") == [(len(seen),)]

    async def test_two_at_once_both_succeed(self, database, place):
        with ThreadPoolExecutor(2) as threads:
            made = list(threads.map(lambda name: make_backup(database, place / name), ("a.db", "b.db")))
        assert [inspect(each.file, MIGRATIONS).rows for each in made] == [made[0].contents.rows] * 2
        assert sorted(path.name for path in place.iterdir()) == ["a.db", "b.db"]

    async def test_of_two_at_once_under_one_name_one_is_told_so(self, database, place):
        (place / "other.db").write_bytes(b"")

        def take_the_name(done, total):
            if (place / "other.db").exists():
                (place / "other.db").rename(place / "a.db")

        with pytest.raises(ConflictError, match=r"a\.db exists"):
            make_backup(database, place / "a.db", progress=take_the_name)
        assert snapshot(place) == {"a.db": b""}

    async def test_an_existing_file_is_replaced_only_when_asked_for(self, database, place):
        (place / "a.db").write_text("precious")
        with pytest.raises(ConflictError, match="--force") as refused:
            make_backup(database, place / "a.db")
        assert refused.value.code == "file_exists"
        assert snapshot(place) == {"a.db": b"precious"}
        make_backup(database, place / "a.db", replace=True)
        assert inspect(place / "a.db", MIGRATIONS).rows["variables"] == 101

    async def test_what_cannot_be_a_backup_is_refused_even_when_forced(self, database, place):
        for file, problem in (
            (place, "plain file"),
            (database, "database itself"),
            (place / "no" / "a.db", "directory"),
        ):
            with pytest.raises(InvalidError, match=problem):
                make_backup(database, file, replace=True)
        assert await read(database, "found") == "yes"

    def test_a_database_that_is_not_there_is_not_made(self, tmp_path, place):
        with pytest.raises(NotFoundError, match=r"nowhere/cronium\.db"):
            make_backup(tmp_path / "nowhere" / "cronium.db", place / "a.db")
        assert list(place.iterdir()) == []
        assert not (tmp_path / "nowhere").exists()

    async def test_a_damaged_database_makes_no_backup(self, database, place):
        content = bytearray(database.read_bytes())
        content[8192:12288] = b"\xff" * 4096
        database.write_bytes(content)
        with pytest.raises((InvalidError, UnavailableError), match=r"cronium\.db"):
            make_backup(database, place / "a.db")
        assert list(place.iterdir()) == []

    async def test_a_backup_of_a_restored_backup_is_sealed_anew(self, database, place):
        make_backup(database, place / "a.db")
        by_hand = place / "copied" / "cronium.db"
        by_hand.parent.mkdir()
        by_hand.write_bytes((place / "a.db").read_bytes())  # with the stamp in it
        await fill(by_hand, more="of it")
        made = make_backup(by_hand, place / "b.db", clock=FakeClock(NEW_YEAR.replace(year=2027)))
        assert made.contents.stamp is not None
        assert made.contents.stamp.made_at.year == 2027
        assert made.contents.rows["variables"] == 102


def wait_for_more(database, count):
    """Wait until the writer has committed more than `count` transactions."""
    deadline = time.monotonic() + 60
    while query(database, "SELECT COUNT(*) FROM journal WHERE subject = 'shared'")[0][0] <= count:
        assert time.monotonic() < deadline, "the writer has stopped"
        time.sleep(0.01)


KILLED = """
import os, signal, sys
from pathlib import Path
from orchestrator.stores.migrate import read_migrations
from orchestrator.stores.sqlite.backup import back_up
from orchestrator.telemetry.clock import SystemClock
def die(done, total):
    if done >= total // 2:
        os.kill(os.getpid(), signal.SIGKILL)
back_up(Path(sys.argv[1]), Path(sys.argv[2]), migrations=read_migrations("orchestrator.stores.sqlite"),
        replace=False, clock=SystemClock(), progress=die)
"""

KILLED_RESTORING = """
import os, signal, sys
from pathlib import Path
from orchestrator.stores.migrate import read_migrations
from orchestrator.stores.sqlite.backup import restore
from orchestrator.telemetry.clock import SystemClock
def die(done, total):
    os.kill(os.getpid(), signal.SIGKILL)
restore(Path(sys.argv[1]), Path(sys.argv[2]), migrations=read_migrations("orchestrator.stores.sqlite"),
        replace=True, admin=None, clock=SystemClock(), progress=die)
"""


class TestFaults:
    async def test_a_kill_leaves_nothing_that_passes_for_a_backup_and_the_next_one_tidies_up(self, database, place):
        await fill(database, large="x" * 20_000_000)
        process = start("-c", KILLED, str(database), str(place / "a.db"))
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        left = [path for path in place.iterdir() if path.suffix == ".partial"]
        assert len(left) == 1
        assert not (place / "a.db").exists()
        with pytest.raises(InvalidError, match=r"not a backup|damaged"):
            inspect(left[0], MIGRATIONS)
        make_backup(database, place / "a.db")
        assert [path.name for path in place.iterdir()] == ["a.db"]

    async def test_a_kill_of_a_restore_leaves_the_database_that_was_there(self, database, place):
        make_backup(database, place / "a.db")
        await fill(database, found="later")
        process = start("-c", KILLED_RESTORING, str(place / "a.db"), str(database))
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert await read(database, "found") == "later"
        put_back(place / "a.db", database, replace=True)
        assert await read(database, "found") == "yes"
        assert [path for path in database.parent.iterdir() if "partial" in path.name] == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
    async def test_root_leaves_nothing_in_the_directory_of_another_account(self, database, place):
        make_backup(database, place / "a.db")
        for path in (*database.parent.iterdir(), database.parent):
            os.chown(path, 65534, 65534)
        make_backup(database, place / "b.db")
        with pytest.raises(DeniedError, match="another account"):
            put_back(place / "b.db", database, replace=True)
        with pytest.raises(DeniedError, match="another account"):
            migrate_file(database, migrations=[*MIGRATIONS, BETTER], clock=FakeClock(), progress=quiet)
        rehearse(database, migrations=[*MIGRATIONS, BETTER], clock=FakeClock(), progress=quiet)
        assert {path.stat().st_uid for path in database.parent.iterdir()} == {65534}

    async def test_what_another_backup_is_writing_is_not_tidied_up(self, database, place):
        inner = []

        def another(done, total):
            if not inner:
                inner.append(make_backup(database, place / "inner.db"))

        make_backup(database, place / "outer.db", progress=another)
        assert sorted(path.name for path in place.iterdir()) == ["inner.db", "outer.db"]

    async def test_a_file_that_must_not_grow_is_named_and_nothing_is_left(self, database, place):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        try:
            with pytest.raises(UnavailableError, match=r"copy of .*cronium\.db") as refused:
                make_backup(database, place / "a.db")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert refused.value.code == "store_unavailable"
        assert list(place.iterdir()) == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
    async def test_a_full_disk_is_named_and_nothing_is_left(self, database, place):
        with small_disk(place / "disk") as disk:
            with pytest.raises(UnavailableError, match="no space left"):
                make_backup(database, disk / "a.db")
            assert list(disk.iterdir()) == []
            make_backup(database, place / "a.db")
            with pytest.raises(UnavailableError, match="No space left"):
                put_back(place / "a.db", disk / "cronium.db")
            assert [path.name for path in disk.iterdir()] == ["cronium.db.lock"]

    async def test_a_directory_that_cannot_be_written_is_named(self, database):
        with pytest.raises((UnavailableError, InvalidError), match="/proc"):
            make_backup(database, Path("/proc/self/a.db"))


@contextmanager
def small_disk(path):
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def flip(file, at):
    content = bytearray(file.read_bytes())
    content[at] ^= 0x20
    file.write_bytes(content)


DAMAGE = {
    "cut off": lambda file: os.truncate(file, file.stat().st_size // 2),
    "cut off in the first page": lambda file: os.truncate(file, 60),
    "one byte short": lambda file: os.truncate(file, file.stat().st_size - 1),
    "a byte flipped in the middle": lambda file: flip(file, file.stat().st_size // 2),
    "a byte flipped at the end": lambda file: flip(file, file.stat().st_size - 1),
    "empty": lambda file: os.truncate(file, 0),
    "text": lambda file: file.write_text("this is no database, whatever its name says\n" * 100),
    "another program's": lambda file: (file.unlink(), query(file, "PRAGMA user_version = 1; CREATE TABLE t (a)")),
    "missing": lambda file: file.unlink(),
    "a directory": lambda file: (file.unlink(), file.mkdir()),
    "newer": lambda file: query(file, f"INSERT INTO migrations VALUES ({NEXT}, 'from_the_future', 'x', 0)"),
    "made by other migrations": lambda file: query(file, "UPDATE migrations SET checksum = 'x' WHERE number = 1"),
    "in use": lambda file: file.with_name(f"{file.name}-wal").write_bytes(b"x"),
}


class TestRestoring:
    @pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
    async def test_what_is_no_whole_backup_is_refused_by_name_and_nothing_is_changed(self, database, place, damage):
        make_backup(database, place / "a.db")
        damage(place / "a.db")
        before = snapshot(database.parent)
        for attempt in (
            lambda: inspect(place / "a.db", MIGRATIONS),
            lambda: put_back(place / "a.db", database, replace=True),
            lambda: put_back(place / "a.db", place / "new" / "cronium.db"),
        ):
            with pytest.raises((InvalidError, NotFoundError, ConflictError), match=r"a\.db|Migration|newer Cronium"):
                attempt()
        assert snapshot(database.parent) == before
        assert not (place / "new").exists()

    async def test_any_flipped_byte_is_noticed(self, database, place):
        make_backup(database, place / "a.db")
        good = (place / "a.db").read_bytes()
        for at in range(0, len(good), len(good) // 40):
            (place / "a.db").write_bytes(good)
            flip(place / "a.db", at)
            with pytest.raises((InvalidError, ConflictError)):
                inspect(place / "a.db", MIGRATIONS)
        (place / "a.db").write_bytes(good)
        assert inspect(place / "a.db", MIGRATIONS).rows["variables"] == 101

    async def test_a_reference_to_nothing_is_refused(self, database, place):
        query(database, "PRAGMA foreign_keys = OFF; INSERT INTO job_documents VALUES ('job_gone', '{}')")
        with pytest.raises(InvalidError, match="job_documents refers to"):
            make_backup(database, place / "a.db")

    async def test_a_restored_database_is_the_one_that_was_backed_up(self, database, place):
        make_backup(database, place / "a.db")
        new = place / "new" / "cronium.db"
        done = put_back(place / "a.db", new)
        assert (done.kept, done.contents.rows["variables"]) == (None, 101)
        assert stat.S_IMODE(new.stat().st_mode) == 0o600
        assert query(new, "SELECT name, sql FROM sqlite_schema ORDER BY name") == query(
            database, "SELECT name, sql FROM sqlite_schema ORDER BY name"
        )
        assert await read(new, "found") == "yes"

    async def test_a_plain_copy_of_a_database_at_rest_can_be_restored(self, database, place):
        (place / "a.db").write_bytes(database.read_bytes())
        done = put_back(place / "a.db", place / "new" / "cronium.db")
        assert done.contents.stamp is None
        assert await read(place / "new" / "cronium.db", "found") == "yes"

    async def test_a_database_that_is_there_is_kept_when_it_is_replaced_and_only_then(self, database, place):
        make_backup(database, place / "a.db")
        await fill(database, found="later")
        with pytest.raises(ConflictError, match="--force"):
            put_back(place / "a.db", database)
        assert await read(database, "found") == "later"
        done = put_back(place / "a.db", database, replace=True)
        assert done.kept == database.with_name("cronium.db.before-restore-20260101T000000Z")
        assert await read(database, "found") == "yes"
        again = put_back(done.kept, database, replace=True)
        assert again.kept == done.kept.with_name(f"{done.kept.name}-2")
        assert await read(database, "found") == "later"

    async def test_what_only_the_log_of_a_killed_server_holds_is_kept_and_not_mixed_in(self, database, place):
        make_backup(database, place / "a.db")
        writer = start_writing(database, "w", 10**9)
        assert writer.stdout is not None
        assert writer.stdout.readline()
        end(writer)
        assert database.with_name("cronium.db-wal").stat().st_size > 0
        done = put_back(place / "a.db", database, replace=True)
        assert not database.with_name("cronium.db-wal").exists()
        assert query(database, "SELECT COUNT(*) FROM journal") == [(0,)]
        assert done.kept is not None
        assert query(done.kept, "SELECT COUNT(*) FROM journal")[0][0] >= 3

    async def test_a_log_without_its_database_is_not_mixed_in(self, database, place):
        make_backup(database, place / "a.db")
        async with open_sqlite_store(database, clock=FakeClock(), exclusive=False) as store:
            await store.check()
            log = database.with_name("cronium.db-wal").read_bytes()
        database.unlink()
        database.with_name("cronium.db-wal").write_bytes(log)
        put_back(place / "a.db", database)
        assert query(database, "SELECT COUNT(*) FROM checks") == [(0,)]
        assert database.with_name("cronium.db.before-restore-20260101T000000Z-wal").read_bytes() == log

    async def test_a_damaged_database_is_replaced_and_kept_as_it_is(self, database, place):
        make_backup(database, place / "a.db")
        database.write_text("damaged beyond reading")
        done = put_back(place / "a.db", database, replace=True)
        assert done.kept is not None
        assert done.kept.read_text() == "damaged beyond reading"
        assert await read(database, "found") == "yes"

    async def test_a_database_in_use_is_not_replaced(self, database, place):
        make_backup(database, place / "a.db")
        with hold_lock(database), pytest.raises(ConflictError, match=f"process {os.getpid()}") as refused:
            put_back(place / "a.db", database, replace=True)
        assert refused.value.code == "store_in_use"
        with closing(apsw.Connection(str(database))) as connection:  # another program, without the lock
            connection.execute("BEGIN; SELECT * FROM variables")
            with pytest.raises(ConflictError, match="in use") as refused:
                put_back(place / "a.db", database, replace=True)
        assert refused.value.code == "store_in_use"
        assert [path.name for path in database.parent.iterdir() if "restore" in path.name] == []

    async def test_it_says_whether_the_token_at_hand_is_in_the_backup(self, database, place):
        query(database, "INSERT INTO tokens VALUES ('tok_1', 'admin', 'admin', x'01', 0, NULL)")
        query(database, "INSERT INTO tokens VALUES ('tok_2', 'old', 'admin', x'02', 0, 1)")
        make_backup(database, place / "a.db")
        admitted = [
            put_back(place / "a.db", database, replace=True, admin=token).admits for token in (b"\1", b"\2", None)
        ]
        assert admitted == [True, False, False]


def test_the_digest_leaves_out_the_hole_wherever_blocks_end(tmp_path, monkeypatch):
    file, hole = tmp_path / "file", b"0123456789"
    digests = set()
    file.write_bytes(b"a" * 25 + hole + b"b" * 25)
    for block in range(1, 80):
        monkeypatch.setattr("orchestrator.stores.sqlite.seal._BLOCK_BYTES", block)
        digest, place = digest_without(file, hole)
        digests.add(digest)
        assert place == 25
    file.write_bytes(b"a" * 25 + bytes(10) + b"b" * 25)
    assert digests == {digest_without(file, hole)[0]}
    assert digest_without(file, hole)[1] == -1


class TestMigrating:
    async def test_with_nothing_to_do_nothing_is_copied(self, database):
        before = snapshot(database.parent)
        rehearsed = rehearse(database, migrations=MIGRATIONS, clock=FakeClock(), progress=quiet)
        done = migrate_file(database, migrations=MIGRATIONS, clock=FakeClock(), progress=quiet)
        assert (rehearsed.steps, rehearsed.failure, done.steps, done.backup) == ((), None, (), None)
        assert snapshot(database.parent) == before

    async def test_a_rehearsal_says_what_would_be_applied_and_changes_nothing(self, database):
        before = snapshot(database.parent)
        done = rehearse(database, migrations=[*MIGRATIONS, BETTER], clock=FakeClock(), progress=quiet)
        assert [(step.number, step.name) for step in done.steps] == [(NEXT, "better")]
        assert done.failure is None
        assert ("better" in done.before, done.after["better"]) == (False, 1)
        assert done.before["variables"] == done.after["variables"] == 101
        assert snapshot(database.parent) == before

    async def test_a_faulty_migration_is_a_result_of_a_rehearsal(self, database):
        before = snapshot(database.parent)
        done = rehearse(database, migrations=[*MIGRATIONS, BETTER, FAULTY], clock=FakeClock(), progress=quiet)
        assert [step.name for step in done.steps] == ["better"]
        assert done.failure is not None
        assert f"{NEXT + 1:04d} (faulty) failed: " in done.failure
        assert "nonsense" in done.failure
        assert "half" not in done.after
        assert snapshot(database.parent) == before

    async def test_a_migration_that_leaves_what_is_not_whole_is_found(self, database):
        start = "CREATE TABLE child (a TEXT); INSERT INTO child VALUES ('nobody'); PRAGMA writable_schema = ON;"
        for change, problem in (
            (
                "UPDATE sqlite_schema SET sql = 'CREATE TABLE child (a TEXT REFERENCES jobs (id))' WHERE name = 'child'",
                "child",
            ),
            (
                "INSERT INTO sqlite_schema VALUES ('index', 'ghost', 'jobs', 9999, 'CREATE INDEX ghost ON jobs (id)')",
                "ghost",
            ),
            ("UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'child'", "page"),
        ):
            careless = Migration(number=NEXT, name="careless", sql=f"{start} {change}")
            done = rehearse(database, migrations=[*MIGRATIONS, careless], clock=FakeClock(), progress=quiet)
            assert done.failure is not None
            assert problem in done.failure

    async def test_a_rehearsal_runs_beside_a_server_that_writes(self, tmp_path):
        path = tmp_path / "cronium.db"
        writer = start_writing(path, "w", 10**9)
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline()
            done = rehearse(path, migrations=[*MIGRATIONS, BETTER], clock=FakeClock(), progress=quiet)
        finally:
            end(writer)
        assert done.failure is None
        assert query(path, "SELECT name FROM sqlite_schema WHERE name = 'better'") == []

    async def test_migrating_makes_a_backup_first(self, database):
        done = migrate_file(database, migrations=[*MIGRATIONS, BETTER], clock=FakeClock(), progress=quiet)
        assert [step.name for step in done.steps] == ["better"]
        assert query(database, "SELECT a FROM better") == [(7,)]
        assert done.backup is not None
        assert inspect(done.backup, [*MIGRATIONS, BETTER]).pending == (f"{NEXT:04d}_better",)

    async def test_a_migration_that_fails_leaves_the_last_good_state_and_names_the_backup(self, database):
        with pytest.raises(ConflictError, match="before-migration") as failed:
            migrate_file(database, migrations=[*MIGRATIONS, BETTER, FAULTY], clock=FakeClock(), progress=quiet)
        assert failed.value.code == "migration_failed"
        assert query(database, "SELECT MAX(number) FROM migrations") == [(NEXT,)]
        assert query(database, "SELECT name FROM sqlite_schema WHERE name = 'half'") == []

    async def test_a_database_that_a_server_uses_is_not_migrated(self, database):
        with hold_lock(database), pytest.raises(ConflictError) as refused:
            migrate_file(database, migrations=[*MIGRATIONS, BETTER], clock=FakeClock(), progress=quiet)
        assert refused.value.code == "store_in_use"
        assert query(database, "SELECT MAX(number) FROM migrations") == [(NEXT - 1,)]

    async def test_a_database_that_is_not_there_is_not_made(self, tmp_path):
        for act in (rehearse, migrate_file):
            with pytest.raises(NotFoundError):
                act(tmp_path / "cronium.db", migrations=MIGRATIONS, clock=FakeClock(), progress=quiet)
        assert list(tmp_path.iterdir()) == []
