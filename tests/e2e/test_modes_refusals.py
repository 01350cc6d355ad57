"""A backend that was asked for and is not there ends `cronium serve`, which names the setting and starts nothing else."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CRONIUM
from tests.e2e.serving import Serving, environment, eventually
from tests.servers import Postgres, running_redis

PASSWORD = "s3cret-that-nobody-may-read"
START_SECONDS = 60  # beside the limit that is tested, which is shorter by far: a machine may be busy


@dataclass(slots=True)
class Start:
    """`cronium serve` where nothing was set before: a home, a directory to stand in, and data that are not there yet."""

    home: Path
    env: dict[str, str]

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    def refused(self) -> str:
        """Serve, which must fail by itself; what it said."""
        done = subprocess.run(
            [CRONIUM, "serve", "--port", "0", "--data-dir", self.data_dir],
            env=self.env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done.stderr

    def databases(self) -> list[str]:
        """The SQLite files that were made, wherever below the home."""
        return [path.name for path in self.home.rglob("*") if path.is_file() and _is_sqlite(path)]


def _is_sqlite(path: Path) -> bool:
    return path.suffix in (".db", ".db-wal") or path.read_bytes()[:15] == b"SQLite format 3"


@pytest.fixture
def start(tmp_path: Path) -> Start:
    (tmp_path / ".git").mkdir()  # nothing above is looked at for a cronium.yaml
    return Start(tmp_path, environment(HOME=str(tmp_path)))


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


SOON = {"CRONIUM_BACKEND_TIMEOUT_SECONDS": "0.5"}
SCHEMES = {"DATABASE_URL": "postgresql", "VALKEY_URL": "valkey"}


def url_of(name: str, port: int) -> str:
    return f"{SCHEMES[name]}://cronium:{PASSWORD}@127.0.0.1:{port}/0"


@pytest.mark.parametrize("name", SCHEMES)
def test_a_backend_where_nobody_listens_is_named_with_its_setting(start: Start, name: str):
    """M4: and with where the setting comes from."""
    start.env |= {name: url_of(name, 1)} | SOON

    said = start.refused()

    assert f"{name.lower()} (environment {name})" in said
    assert "did not answer within 0.5 s" in said


@pytest.mark.parametrize("name", SCHEMES)
def test_a_backend_that_takes_connections_and_says_nothing_is_named(start: Start, name: str, silent: int):
    """M4: it does not hold the start up for longer than one that is not there; the limit is a setting, and said."""
    start.env |= {name: url_of(name, silent)} | SOON

    said = start.refused()

    assert f"{name.lower()} (environment {name})" in said
    assert "did not answer within 0.5 s" in said


def test_a_backend_is_waited_for_five_seconds_where_nothing_else_is_set(start: Start, silent: int):
    """M4."""
    start.env["VALKEY_URL"] = url_of("VALKEY_URL", silent)

    assert "did not answer within 5 s" in start.refused()


def test_a_database_that_is_not_there_makes_no_file_in_its_place(start: Start):
    """M4: no silent fallback."""
    start.env |= {"DATABASE_URL": url_of("DATABASE_URL", 1)} | SOON

    start.refused()

    assert start.databases() == []


def test_a_cache_that_is_not_there_makes_no_database_either(start: Start):
    """M4: a start that fails leaves nothing that the next one would find."""
    start.env |= {"VALKEY_URL": url_of("VALKEY_URL", 1)} | SOON

    start.refused()

    assert start.databases() == []


@pytest.mark.parametrize("name", SCHEMES)
def test_a_setting_in_a_mounted_file_is_named_with_the_file(start: Start, name: str):
    """M4: as containers are given secrets."""
    file = start.home / "mounted"
    file.write_text(url_of(name, 1) + "\n")
    start.env |= {f"{name}_FILE": str(file)} | SOON

    assert f"{name.lower()} (environment {name}_FILE ({file}))" in start.refused()


@pytest.mark.parametrize("name", SCHEMES)
def test_a_setting_in_the_project_file_is_named_with_file_and_line(start: Start, name: str):
    """M4: in the file that is found from where the command is started."""
    file = start.home / "cronium.yaml"
    file.write_text(f"backend_timeout_seconds: 0.5\n{name.lower()}: {url_of(name, 1)}\n")

    assert f"{name.lower()} ({file}:2)" in start.refused()


@pytest.mark.distributed
def test_a_cache_that_wants_another_password_is_named(start: Start):
    """M4: the password that was tried is not said, and the one that was wanted is not either."""
    with running_redis(password="another") as redis:
        start.env["VALKEY_URL"] = url_of("VALKEY_URL", redis.port)

        said = start.refused()

    assert "valkey_url (environment VALKEY_URL)" in said
    assert "refuses the account or password" in said
    assert "another" not in said


@pytest.mark.distributed
def test_a_database_that_wants_another_password_is_named(start: Start, postgres: Postgres):
    """M4: waiting would not help, and the password that was tried is not said."""
    rules = postgres.directory / "data" / "pg_hba.conf"
    rules.write_text(f"host all cronium 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    postgres.run("CREATE ROLE cronium LOGIN PASSWORD 'another'; SELECT pg_reload_conf()")
    start.env["DATABASE_URL"] = f"postgresql://cronium:{PASSWORD}@127.0.0.1:{postgres.port}/postgres"

    said = start.refused()

    assert "database_url (environment DATABASE_URL)" in said
    assert "did not answer" not in said
    assert "another" not in said
    assert start.databases() == []


@pytest.mark.distributed
def test_a_database_that_does_not_exist_is_named(start: Start, postgres: Postgres):
    """M4: it is not made: who may make databases is for others to say."""
    start.env["DATABASE_URL"] = postgres.url("nobody_made_this")

    said = start.refused()

    assert "nobody_made_this" in said
    assert "database_url (environment DATABASE_URL)" in said
    assert start.databases() == []


@pytest.mark.distributed
def test_in_distributed_mode_a_cache_that_is_not_there_makes_no_file_in_its_place(start: Start, database: str):
    """M4: the database is there, and one of the two is not enough."""
    start.env |= {
        "CRONIUM_MODE": "distributed",
        "DATABASE_URL": database,
        "VALKEY_URL": url_of("VALKEY_URL", 1),
        "CRONIUM_BACKEND_TIMEOUT_SECONDS": "0.5",
    }

    assert "valkey_url (environment VALKEY_URL)" in start.refused()
    assert start.databases() == []


def test_a_start_that_waits_for_a_backend_can_be_ended(tmp_path: Path):
    """SIGTERM while Postgres says nothing: no waiting for it to give up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        env = {"DATABASE_URL": f"postgresql://me@127.0.0.1:{port}/x", "CRONIUM_BACKEND_TIMEOUT_SECONDS": "6"}
        server = Serving(tmp_path / "data", env=env)
        server.data_dir.mkdir(mode=0o700)
        server.spawn()
        try:
            eventually(lambda: "starting" in server.log(), "the start")
            silent.settimeout(30)
            waiting, _ = silent.accept()
            assert server.stop() == 0
            waiting.close()
        finally:
            server.close()
    assert "stopped before it was ready" in server.log()
    assert "Traceback" not in server.log()
