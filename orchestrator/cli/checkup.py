"""What `cronium doctor` looks at: executors, interpreters, server, directories, SDKs; nothing is changed or started."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import tempfile
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from orchestrator.cli.address import data_directory, find_server
from orchestrator.cli.client import Client
from orchestrator.config import PostgresDatabase, ServerSettings, SqliteDatabase, load_settings
from orchestrator.config.urls import DATABASE_FILE
from orchestrator.contracts.executor import Availability
from orchestrator.errors import CroniumError, InvalidError, UnavailableError
from orchestrator.executors.docker import DockerSettings, open_docker_executor
from orchestrator.executors.docker.hardening import Held, engine_findings
from orchestrator.executors.docker.leftovers import Leftover, leftovers_at, remove_at
from orchestrator.executors.process import ProcessSettings, open_process_executor
from orchestrator.jobs.artifact_places import remove
from orchestrator.model.specs import ExecutorKind
from orchestrator.places import KEY_FILE, find_interpreter, instance_of, make_private, sdk_directory
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.lock import hold_lock
from orchestrator.telemetry.clock import SystemClock

VERSION_SECONDS = 10.0
SERVER_SECONDS = 5.0
BACKEND_SECONDS = 3.0
INTERPRETERS = {"python3": "Python", "node": "Node", "bash": "Bash"}
PATIENCE = timedelta(seconds=BACKEND_SECONDS)
SDK_PARTS = ("python", "js", "bash")


class State(StrEnum):
    """`ok` can be used; `no` cannot, and need not; `bad` cannot, or not safely, and should."""

    OK = "ok"
    NO = "no"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at, and in a sentence how it is and what to do."""

    name: str
    state: State
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """
    All that was looked at. `executor` is the default one in force, None when the settings are not valid; it and the
    backends that were asked for work, or `works` is false.
    """

    executor: ExecutorKind | None
    why: str
    works: bool
    checks: Sequence[Check]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unneeded:
    """What a server left behind: on the engine, and directories of attempts."""

    on_engine: Sequence[Leftover]
    directories: Sequence[Path]
    endpoint: str | None

    def remove(self, wanted: frozenset[str]) -> frozenset[str]:
        """Remove those of the names; return the names of those that are gone."""
        gone = asyncio.run(remove_at(self.endpoint, [left for left in self.on_engine if left.name in wanted]))
        for directory in self.directories:
            if str(directory) in wanted:
                with suppress(OSError):  # it is named among those that are still there
                    remove(directory)
        removed = {str(directory) for directory in self.directories if not os.path.lexists(directory)}
        return frozenset({*(left.name for left in gone), *(removed & wanted)})


def examine() -> Checkup:
    """Look at everything; the default executor works when it says so itself."""
    try:
        settings = load_settings({})
    except InvalidError as error:
        faults = "; ".join(f"{fault.path}: {fault.message}" for fault in error.faults)
        return Checkup(
            executor=None,
            why=f"{error.message} {faults}",
            works=False,
            checks=list(_surroundings(data_directory(os.environ))),
        )
    executors = [_of(availability) for availability in asyncio.run(_executors(settings))]
    engine = asyncio.run(_engine(settings)) if executors[-1].state is State.OK else []
    works = any(check.name == settings.executor and check.state is State.OK for check in executors)
    checks = [
        replace(check, state=State.BAD) if check.name == settings.executor and not works else check
        for check in executors
    ]
    backends = asyncio.run(_backends(settings))
    works = works and all(check.state is State.OK for check in backends)
    checks += [*engine, *backends, *_surroundings(settings.data_dir)]
    return Checkup(executor=settings.executor, why=_why(settings), works=works, checks=checks)


def _why(settings: ServerSettings) -> str:
    if settings.default_executor is not None:
        said = settings.origin("default_executor")
        return f"{said} says so; `cronium run` always uses process unless --image is given"
    if settings.is_loopback:
        return f"the server listens on {settings.host} only; CRONIUM_DEFAULT_EXECUTOR changes it"
    return f"the server listens on {settings.host}, where others reach it; CRONIUM_DEFAULT_EXECUTOR changes it"


async def _executors(settings: ServerSettings) -> list[Availability]:
    """Ask the executors themselves; each answers within five seconds."""
    with tempfile.TemporaryDirectory(prefix="cronium-doctor-") as scratch:
        process = ProcessSettings(
            spool=make_private(Path(scratch) / "spool"),  # it writes beside its spool, too
            sdk=sdk_directory(),
            runtime_socket=Path(scratch) / "api.sock",
            inherit={},
            workdir=None,
        )
        async with open_process_executor(process) as executor:
            found = [await executor.check()]
        docker = DockerSettings(
            endpoint=settings.docker_endpoint, installation="doctor", socket_directory=Path(scratch)
        )
        try:
            async with open_docker_executor(docker) as executor:
                found.append(await executor.check())
        except InvalidError as error:
            found.append(Availability(kind=ExecutorKind.DOCKER, available=False, detail=error.message))
    return found


async def _engine(settings: ServerSettings) -> list[Check]:
    """What the Docker engine enforces for jobs. `bad` is what a usual engine does and this one does not."""
    states = {Held.YES: State.OK, Held.NO: State.NO, Held.RISKY: State.BAD}
    try:
        findings = await engine_findings(settings.docker_endpoint)
    except (UnavailableError, InvalidError) as error:
        return [Check(name="engine", state=State.BAD, detail=error.message)]
    return [Check(name=found.name, state=states[found.held], detail=found.detail) for found in findings]


@contextmanager
def find_unneeded(settings: ServerSettings) -> Iterator[Unneeded]:
    """
    What the server of these settings left behind and nobody needs. While the block is open no server can start there.

    Raises `ConflictError` (`store_in_use`) while one runs: it may need anything; `UnavailableError` where the database
    or the engine does not answer: then nobody can say what is needed.
    """
    key = settings.data_dir / KEY_FILE
    if not key.exists():
        raise InvalidError(f"{settings.data_dir} is not the data directory of a server: set CRONIUM_DATA_DIR.")
    with hold_lock(settings.data_dir / DATABASE_FILE):
        keep = asyncio.run(_processes(settings))
        endpoint, installation = settings.docker_endpoint, instance_of(key.read_bytes())
        yield Unneeded(
            on_engine=asyncio.run(leftovers_at(endpoint, installation, keep)),
            directories=[
                entry
                for entry in sorted((settings.data_dir / "attempts").glob("*"))
                if entry.name.partition(".")[0] not in keep
            ],
            endpoint=endpoint,
        )


async def _processes(settings: ServerSettings) -> frozenset[str]:
    """The names of the processes whose jobs are not ended: they run, or their results are still to be collected."""
    match settings.database:
        case SqliteDatabase(path=path):
            if path is None or not path.exists():
                return frozenset()
            opening = open_sqlite_store(path, clock=SystemClock(), exclusive=path != settings.data_dir / DATABASE_FILE)
        case PostgresDatabase(url=url):
            from orchestrator.stores.postgres import open_postgres_store

            opening = open_postgres_store(url.reveal(), clock=SystemClock(), patience=PATIENCE, pool_size=1)
        case never:
            assert_never(never)
    async with opening as store, store.read() as repos:
        return await repos.jobs.processes()


async def _backends(settings: ServerSettings) -> list[Check]:
    """The servers that the settings ask for; those in this process need no look."""
    checks = []
    if isinstance(settings.database, PostgresDatabase):
        url = settings.database.url
        checks.append(await _backend("store", str(url), _reach_postgres(url.reveal())))
    if settings.valkey_url is not None:
        from orchestrator.caches.valkey import open_valkey_cache

        opening = open_valkey_cache(settings.valkey_url.reveal())
        checks.append(await _backend("cache", str(settings.valkey_url), _open_and_close(opening)))
    return checks


async def _backend(name: str, where: str, attempt: Awaitable[None]) -> Check:
    try:
        await attempt
    except (UnavailableError, InvalidError) as error:
        return Check(name=name, state=State.BAD, detail=error.message)
    return Check(name=name, state=State.OK, detail=f"{where} answers")


async def _reach_postgres(url: str) -> None:
    from orchestrator.stores.postgres.connect import Address, wait_for

    await wait_for(Address.parse(url), timedelta(seconds=BACKEND_SECONDS))


async def _open_and_close(opening: AbstractAsyncContextManager[object]) -> None:
    async with opening:
        pass


def _of(availability: Availability) -> Check:
    version = f"version {availability.version}: " if availability.version else ""
    state = State.OK if availability.available else State.NO
    return Check(name=availability.kind, state=state, detail=f"{version}{availability.detail}")


def _surroundings(data_dir: Path) -> Iterator[Check]:
    for name, language in INTERPRETERS.items():
        yield _interpreter(name, language)
    yield _server()
    yield _data_directory(data_dir)
    yield _sdks()


def _interpreter(name: str, language: str) -> Check:
    path = find_interpreter(name, os.environ.get("PATH", os.defpath))
    if path is None:
        detail = f"not found on PATH: {language} scripts cannot run here, only in images that have it"
        return Check(name=name, state=State.NO, detail=detail)
    try:
        answer = subprocess.run(  # noqa: S603 - the interpreter that scripts would be started with
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=VERSION_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Check(name=name, state=State.BAD, detail=f"{path} does not answer --version: {error}")
    version = (answer.stdout.strip() or answer.stderr.strip()).partition("\n")[0]
    return Check(name=name, state=State.OK, detail=f"{version} ({path})")


def _server() -> Check:
    try:
        address = find_server(os.environ)
        Client(address=address, timeout_seconds=SERVER_SECONDS).get("/jobs", {"limit": 1})
    except CroniumError as error:
        state = State.NO if error.code == "server_not_found" else State.BAD
        return Check(name="server", state=state, detail=error.message)
    return Check(name="server", state=State.OK, detail=f"{address.url} answers (found by {address.source})")


def _data_directory(directory: Path) -> Check:
    try:
        found = directory.stat()
    except FileNotFoundError:
        detail = f"{directory} is not there yet: `cronium serve` makes it"
        return Check(name="data", state=State.NO, detail=detail)
    except OSError as error:
        return Check(name="data", state=State.BAD, detail=f"{directory} cannot be used: {error.strerror}")
    mode = stat.S_IMODE(found.st_mode)
    where = f"{directory} (mode {mode:04o})"
    if not stat.S_ISDIR(found.st_mode):
        return Check(name="data", state=State.BAD, detail=f"{directory} is no directory: set CRONIUM_DATA_DIR")
    if found.st_uid != os.geteuid():
        detail = f"{where} belongs to another account: set CRONIUM_DATA_DIR, or use that account"
        return Check(name="data", state=State.BAD, detail=detail)
    if mode & 0o077:
        return Check(name="data", state=State.BAD, detail=f"{where} is open to other accounts: chmod 700 {directory}")
    return Check(name="data", state=State.OK, detail=where)


def _sdks() -> Check:
    directory = sdk_directory()
    missing = [part for part in SDK_PARTS if not (directory / part).is_dir() or not any((directory / part).iterdir())]
    if missing:
        detail = f"{directory} has nothing for {', '.join(missing)}: install Cronium again"
        return Check(name="sdk", state=State.BAD, detail=detail)
    return Check(name="sdk", state=State.OK, detail=f"{', '.join(SDK_PARTS)} in {directory}")
