"""Real servers for tests: a throw-away Postgres cluster and a Redis or Valkey, from the binaries of this machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

START_SECONDS = 30.0
POSTGRES_PLACES = "/usr/lib/postgresql"
TEMPLATE = "cronium_template"
QUICK = ("-c", "fsync=off", "-c", "full_page_writes=off")
DURABLE = ("-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on")


class MissingServerError(Exception):
    """The binaries of a server are not on this machine; the message says which, and how to get them."""


def postgres_binaries() -> Path:
    """The directory with `initdb` and `postgres`, the newest version there is."""
    versions = sorted(Path(POSTGRES_PLACES).glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("postgres")
    if found is None:
        raise MissingServerError("no Postgres server on this machine (Debian: apt install postgresql)")
    return Path(found).resolve().parent


def redis_binary() -> str:
    """`valkey-server` or `redis-server`, whichever is there."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise MissingServerError("no Valkey or Redis server on this machine (Debian: apt install redis-server)")
    return found


def missing_servers() -> str | None:
    """Why tests marked `distributed` cannot run here; None when they can."""
    try:
        postgres_binaries()
        redis_binary()
    except MissingServerError as error:
        return str(error)
    return None


@dataclass
class Postgres:
    """A cluster of its own on a free port of loopback. Commits survive a crash of the server, not one of the machine."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    flags: tuple[str, ...] = QUICK

    def start(self) -> None:
        """Start, or start again, and wait until it answers."""
        command = [str(postgres_binaries() / "postgres"), "-D", str(self.directory / "data"), "-p", str(self.port)]
        command += ["-k", str(self.directory), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
        self.process = _spawn([*command, *self.flags], self.directory / "log", **_as_postgres())
        _wait_until(self._answers, self.process, self.directory / "log")

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it: SIGINT breaks connections off and closes in order, SIGQUIT is a crash. SIGSTOP freezes all of it."""
        if self.process is None:
            return
        if number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in (self.process.pid, *_children(self.process.pid)):
                os.kill(pid, number)
            return
        self.process.send_signal(number)
        self.process.wait(START_SECONDS)
        self.process = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, sql: str, database: str = "postgres") -> str:
        """Run SQL with psql; its unaligned output."""
        command = [str(postgres_binaries() / "psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", self.url(database)]
        done = subprocess.run([*command, "-c", sql], capture_output=True, text=True, timeout=START_SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def create_database(self, template: str = "template1") -> str:
        """A new database; its name."""
        name = f"test_{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _answers(self) -> bool:
        command = [str(postgres_binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, timeout=START_SECONDS).returncode == 0


@dataclass
class Redis:
    """A server of its own on a free port of loopback, which saves nothing."""

    directory: Path
    port: int
    password: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start, or start again (empty), and wait until it answers."""
        command = [redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self.directory)] + (["--requirepass", self.password] if self.password else [])
        self.process = _spawn(command, self.directory / "log")
        _wait_until(self._answers, self.process, self.directory / "log")

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it; SIGSTOP and SIGCONT freeze it and let it go on, for servers that do not answer."""
        if self.process is not None:
            self.process.send_signal(number)
            if number not in (signal.SIGSTOP, signal.SIGCONT):
                self.process.wait(START_SECONDS)
                self.process = None

    @property
    def url(self) -> str:
        account = f":{self.password}@" if self.password else ""
        return f"redis://{account}127.0.0.1:{self.port}/0"

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False


@contextlib.contextmanager
def running_postgres(*, flags: tuple[str, ...] = QUICK, place: str | None = None) -> Iterator[Postgres]:
    """Make a cluster in `place` (None: in memory if possible), start it, and remove it in the end."""
    with _directory(place) as directory:
        command = [str(postgres_binaries() / "initdb"), "-D", str(directory / "data"), "-U", "postgres", "-A", "trust"]
        command += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS * 2, **_as_postgres())
        server = Postgres(directory, free_port(), flags=flags)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


@contextlib.contextmanager
def running_redis(*, password: str | None = None) -> Iterator[Redis]:
    """Start a server, and remove it in the end."""
    with _directory() as directory:
        server = Redis(directory, free_port(), password)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGKILL)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _directory(place: str | None = None) -> Iterator[Path]:
    """A directory with a short name (a socket lies in it), of the account that runs Postgres; in memory if possible."""
    place = place or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    with TemporaryDirectory(prefix="cronium-test-", dir=place, ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0 and _postgres_account() is not None:
            shutil.chown(name, "postgres")
        yield Path(name)


def _as_postgres() -> dict[str, str]:
    """Postgres refuses to run as root: then the account that its package has made runs it."""
    if os.geteuid() != 0:
        return {}
    if _postgres_account() is None:
        raise MissingServerError("Postgres does not run as root, and there is no account `postgres` on this machine")
    return {"user": "postgres", "group": "postgres", "cwd": "/"}


def _postgres_account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _spawn(command: list[str], log: Path, **options: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)


def _wait_until(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        assert process.poll() is None, f"the server ended:\n{log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"the server does not answer:\n{log.read_text()[-2000:]}"
        time.sleep(0.02)
