"""`cronium backup`, `restore` and `migrate` as people use them, and the page that explains them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pty
import re
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from orchestrator.cli.main import main
from orchestrator.stores.migrate import Migration, read_migrations
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.lock import hold_lock
from tests.cli.conftest import Cli
from tests.conftest import CRONIUM, ROOT
from tests.e2e.serving import Serving, eventually
from tests.fakes import NEW_YEAR, FakeClock

MIGRATIONS = read_migrations("orchestrator.stores.sqlite")
BETTER = Migration(number=len(MIGRATIONS) + 1, name="better", sql="CREATE TABLE better (a INTEGER) STRICT")
FAULTY = Migration(number=len(MIGRATIONS) + 2, name="faulty", sql="SELECT nonsense")
PAGE = ROOT / "docs" / "backup.md"


@pytest.fixture
def data_dir(lonely: Cli) -> Path:
    """Where the commands look when they are told nothing."""
    return lonely.home / ".local" / "share" / "cronium"


@pytest.fixture
async def database(data_dir: Path) -> Path:
    path = data_dir / "cronium.db"
    async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store, store.begin() as repos:
        await repos.variables.set("global", "found", "yes", at=NEW_YEAR)
    return path


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def tables(path: Path) -> list[str]:
    with closing(apsw.Connection(str(path))) as connection:
        return [str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]


def blocks(heading: str) -> list[str]:
    """The commands of a section of the page, block by block."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


async def run(script: str, cli: Cli) -> str:
    """Run commands of the page as they stand; their output."""
    env = {**cli.env, "PATH": f"{CRONIUM.parent}{os.pathsep}{cli.env['PATH']}"}
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    process = await asyncio.create_subprocess_exec("bash", "-euc", script, cwd=cli.home, env=env, **pipes)
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


class TestBackup:
    async def test_it_says_in_a_line_what_it_made(self, lonely, database):
        answer = await lonely("backup", "a.db")
        assert (answer.code, answer.err) == (0, "")
        assert re.fullmatch(r"a\.db: [0-9.]+ KiB, 0 jobs, checked, in \S+\n", answer.out)
        assert "a.db" in names(lonely.home)

    async def test_it_is_a_document_for_programs(self, lonely, database):
        answer = await lonely("backup", "--json", "a.db")
        document = json.loads(answer.out)
        assert answer.code == 0
        assert document["file"] == "a.db"
        assert document["size_bytes"] == (lonely.home / "a.db").stat().st_size
        assert document["rows"]["variables"] == 1
        assert (document["jobs"], document["pending"]) == (0, [])
        assert {"seconds", "made_at", "version", "migration"} < document.keys()

    async def test_an_existing_file_is_refused_unless_forced(self, lonely, database):
        (lonely.home / "a.db").write_text("precious")
        answer = await lonely("backup", "a.db")
        assert (answer.code, answer.out) == (1, "")
        assert "a.db exists" in answer.err
        assert "--force" in answer.err
        assert (lonely.home / "a.db").read_text() == "precious"
        assert (await lonely("backup", "--force", "a.db")).code == 0

    async def test_no_database_is_said_with_where_it_was_looked_for(self, lonely):
        answer = await lonely("backup", "--data-dir", "elsewhere", "a.db")
        assert answer.code == 1
        assert "elsewhere/cronium.db" in answer.err
        assert names(lonely.home) == []

    async def test_a_database_in_memory_has_nothing_to_back_up(self, lonely):
        lonely.env["DATABASE_URL"] = ":memory:"
        answer = await lonely("backup", "a.db")
        assert (answer.code, answer.out) == (2, "")
        assert "in memory" in answer.err

    def test_on_a_terminal_it_shows_how_far_it_is(self, lonely, database):
        ours, theirs = pty.openpty()
        pid = os.fork()
        if pid == 0:
            os.dup2(theirs, 2)
            os.chdir(lonely.home)
            os.execve(CRONIUM, ["cronium", "backup", "a.db"], {**lonely.env, "TERM": "xterm", "COLUMNS": "80"})
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:  # Linux says EIO when the other end is closed
            pass
        os.close(ours)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert b"copying" in shown


class TestRestore:
    async def test_verifying_says_what_there_is_and_changes_nothing(self, lonely, database):
        await lonely("backup", "a.db")
        before = names(lonely.home), names(database.parent)
        answer = await lonely("restore", "--verify", "a.db")
        assert (answer.code, answer.err) == (0, "")
        assert re.match(r"a\.db is whole: .*, 0 jobs, made \d{4}-\d\d-\d\d .* by Cronium ", answer.out)
        assert json.loads((await lonely("restore", "--verify", "--json", "a.db")).out)["rows"]["variables"] == 1
        assert (names(lonely.home), names(database.parent)) == before

    async def test_what_is_no_backup_is_refused(self, lonely, database):
        await lonely("backup", "a.db")
        content = (lonely.home / "a.db").read_bytes()
        (lonely.home / "a.db").write_bytes(content[: len(content) // 2])
        (lonely.home / "text").write_text("hello\n" * 100)
        for file, problem in (("a.db", "is damaged"), ("text", "not a backup"), (".", "no file"), ("b", "no file b")):
            for arguments in ((file, "--verify"), (file, "--force")):
                answer = await lonely("restore", *arguments)
                assert answer.code in (1, 2)
                assert problem in answer.err
                assert answer.out == ""
        assert "cronium.db.before-restore" not in " ".join(names(database.parent))

    async def test_it_puts_a_backup_in_place_and_keeps_what_was_there(self, lonely, database):
        await lonely("backup", "a.db")
        refused = await lonely("restore", "a.db")
        assert (refused.code, refused.out) == (1, "")
        assert "--force" in refused.err
        answer = await lonely("restore", "--force", "a.db")
        assert answer.code == 0
        assert f"{database} is restored: " in answer.out
        assert "before-restore-" in answer.out
        assert "admin.token" in answer.err

    async def test_a_token_that_the_backup_knows_is_nothing_to_talk_about(self, lonely, database):
        token = "crn_" + "a" * 43
        (database.parent / "admin.token").write_text(f"{token}\n")
        with closing(apsw.Connection(str(database))) as connection:
            digest = hashlib.sha256(token.encode()).digest()
            connection.execute("INSERT INTO tokens VALUES ('tok_1', 'admin', 'admin', ?, 0, NULL)", (digest,))
        await lonely("backup", "a.db")
        answer = await lonely("restore", "--force", "--json", "a.db")
        assert (answer.code, answer.err) == (0, "")
        document = json.loads(answer.out)
        assert document["admin_token_works"] is True
        assert Path(document["kept"]).exists()

    async def test_a_database_in_use_is_left_alone(self, lonely, database):
        await lonely("backup", "a.db")
        with hold_lock(database):
            answer = await lonely("restore", "--force", "a.db")
        assert answer.code == 1
        assert f"process {os.getpid()}" in answer.err


class TestMigrate:
    @pytest.fixture
    def newer(self, monkeypatch):
        """Make this process a version that knows one migration more."""
        monkeypatch.setattr("orchestrator.maintenance.read_migrations", lambda _: [*MIGRATIONS, BETTER])

    async def test_with_nothing_to_apply_it_says_so(self, lonely, database):
        for arguments in (("migrate",), ("migrate", "--rehearse")):
            answer = await lonely(*arguments)
            assert (answer.code, answer.err) == (0, "")
            assert "nothing to apply" in answer.out
        assert json.loads((await lonely("migrate", "--json")).out) == {"applied": [], "backup": None}
        assert [name for name in names(database.parent) if "before" in name or "partial" in name] == []

    def test_a_rehearsal_says_what_would_change_and_changes_nothing(self, database, newer, capsys):
        assert main(["migrate", "--rehearse", "--data-dir", str(database.parent)]) == 0
        said = capsys.readouterr().out
        assert re.search(rf"would apply {BETTER.number:04d}_better in ", said)
        assert re.search(r"^better +- +0$", said, re.MULTILINE)
        assert re.search(r"^variables +1 +1$", said, re.MULTILINE)
        assert "better" not in tables(database)

    def test_a_fault_in_a_rehearsal_is_said_and_is_a_failure(self, database, monkeypatch, capsys):
        monkeypatch.setattr("orchestrator.maintenance.read_migrations", lambda _: [*MIGRATIONS, BETTER, FAULTY])
        assert main(["migrate", "--rehearse", "--data-dir", str(database.parent)]) == 1
        assert "(faulty) failed: " in capsys.readouterr().err
        assert main(["migrate", "--rehearse", "--json", "--data-dir", str(database.parent)]) == 1
        document = json.loads(capsys.readouterr().out)
        assert (document["ok"], [step["name"] for step in document["applied"]]) == (False, ["better"])
        assert "nonsense" in document["failure"]
        assert document["rows"]["variables"] == [1, 1]
        assert "better" not in tables(database)

    def test_migrating_applies_after_a_backup(self, database, newer, capsys):
        assert main(["migrate", "--json", "--data-dir", str(database.parent)]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [step["name"] for step in document["applied"]] == ["better"]
        assert "better" in tables(database)
        assert "better" not in tables(Path(document["backup"]))
        assert main(["migrate", "--data-dir", str(database.parent)]) == 0
        assert "nothing to apply" in capsys.readouterr().out

    def test_a_backup_from_before_an_upgrade_says_what_will_be_applied(self, lonely, database, newer, capsys):
        file = lonely.home / "a.db"
        assert main(["backup", "--data-dir", str(database.parent), str(file)]) == 0
        assert main(["restore", "--verify", "--data-dir", str(database.parent), str(file)]) == 0
        assert f"the next start will apply {BETTER.number:04d}_better" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "tool"),
    [
        (("backup", "a.db"), "pg_dump --format=custom"),
        (("restore", "a.db"), "pg_restore"),
        (("restore", "--verify", "a.db"), "pg_restore --list"),
    ],
    ids=["backup", "restore", "verify"],
)
async def test_for_postgres_its_own_tools_are_named_and_no_password_is(lonely, arguments, tool):
    lonely.env["DATABASE_URL"] = "postgresql://cronium:s3cret@127.0.0.1:1/cronium"
    answer = await lonely(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert tool in answer.err
    assert "PGPASSFILE" in answer.err
    assert "docs/backup.md" in answer.err
    assert "s3cret" not in answer.err
    assert names(lonely.home) == []


async def test_what_the_page_says_of_sqlite_is_so(lonely, data_dir):
    """Every command of the page, in its order, around a server that runs, is lost, and goes on from the backup."""
    backup, restore = blocks("SQLite")
    rehearse, migrate = blocks("Upgrades")
    data_dir.mkdir(parents=True, mode=0o700)
    gate = lonely.home / "gate"
    os.mkfifo(gate)
    server = Serving(data_dir, env={**lonely.env, "CRONIUM_PROCESS_JOBS": "1"})
    server.start()
    try:
        done = server.submit(shell="echo kept")
        server.wait(done)
        running = server.submit(shell=f"read line < {gate}")
        waiting = server.submit(shell="echo again")
        eventually(lambda: server.job(running)["status"] == "running", "the job to run")
        assert "is whole: " in await run(backup, lonely)
        assert "nothing to apply" in await run(rehearse, lonely)
        later = server.submit(shell="echo forgotten")
        gate.write_text("go on\n")
        assert [server.wait(job)["status"] for job in (running, waiting, later)] == ["succeeded"] * 3
        server.stop()
        assert "3 jobs" in await run(restore, lonely)
        assert "nothing to apply" in await run(migrate, lonely)
        server.start()
        assert [server.wait(job)["status"] for job in (done, running, waiting)] == ["succeeded", "failed", "succeeded"]
        assert server.job(running)["reason"] == "lost"
        assert [server.text(job) for job in (done, waiting)] == [["kept"], ["again"]]
        assert server.call("GET", f"/api/v3/jobs/{later}")[0] == 404
    finally:
        server.kill()


@pytest.mark.distributed
async def test_what_the_page_says_of_postgres_is_so(lonely, postgres):
    where, dump, restore = blocks("Postgres")
    postgres.run("CREATE DATABASE cronium")
    postgres.run("CREATE TABLE kept AS SELECT 42 AS a", "cronium")
    (lonely.home / ".pgpass").write_text(f"127.0.0.1:{postgres.port}:*:postgres:unused\n")
    (lonely.home / ".pgpass").chmod(0o600)
    there = (
        where.replace("db.internal", "127.0.0.1")
        .replace("5432", str(postgres.port))
        .replace("PGUSER=cronium", "PGUSER=postgres")
    )
    try:
        await run(there + dump + restore, lonely)
        assert postgres.run("SELECT a FROM kept", "cronium_restored") == "42"
    finally:
        postgres.drop_database("cronium")
        postgres.drop_database("cronium_restored")
