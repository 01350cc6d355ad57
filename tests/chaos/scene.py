"""Where something is killed: the servers, what they depend on, and how to find out afterwards what became of everything."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

from tests.chaos import leftovers
from tests.chaos.check import Missed, Score, Told, check_all
from tests.chaos.clients import Ledger, persistent
from tests.chaos.mix import MARK
from tests.chaos.witness import Run, read_events, read_records, watched_daemon
from tests.e2e.conftest import IMAGES
from tests.e2e.serving import FINAL, Serving, eventually

DRAIN_SECONDS = 300.0
LEFT_OVER_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """`mark` is in the environment of everything that the servers start; `place` holds all files of the run."""

    place: Path
    servers: Sequence[Serving]
    store: str
    executor: str
    mark: str

    @property
    def witness(self) -> Path | None:
        """The file that scripts write; those in containers are seen by the events of the daemon."""
        return self.place / "witness" if self.executor == "process" else None

    def runs(self) -> list[Run]:
        if self.executor == "process":
            return read_records(self.place / "witness")
        ours = {leftovers.installation(server.data_dir) for server in self.servers}
        return read_events(self.place / "events", ours)


@contextlib.contextmanager
def place_for_a_run(*, keep: bool = False) -> Iterator[Path]:
    """A directory with a short name: sockets lie in it. Not in memory: what scripts and stores write is synced."""
    place = Path(mkdtemp(prefix="chaos-", dir="/tmp"))
    try:
        yield place
    finally:
        if keep:
            print(f"files: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def open_scene(
    place: Path, *, store: str, executor: str, names: Sequence[str] = ("one",), env: Mapping[str, str] | None = None
) -> Iterator[Scene]:
    """The servers, not started; those that run in the end are stopped."""
    mark = secrets.token_hex(8)
    (place / "run").mkdir(mode=0o700)
    common = {
        **IMAGES,
        MARK: mark,
        "XDG_RUNTIME_DIR": str(place / "run"),
        "CRONIUM_RATE_LIMIT_ENABLED": "false",
        "CRONIUM_GRACE_SECONDS": "1",
        "CRONIUM_OUTBOUND_ALLOW": "127.0.0.1",  # the receiver of webhooks is here
        "CRONIUM_DEFAULT_EXECUTOR": executor,
        "CRONIUM_DOCKER_JOBS": "6",
        **(env or {}),
    }
    with contextlib.ExitStack() as stack:
        servers = [_server(place / name, common) for name in names]
        for server in servers:
            stack.callback(server.close)
        if executor == "docker":
            stack.enter_context(watched_daemon(place / "events"))
        yield Scene(place=place, servers=servers, store=store, executor=executor, mark=mark)


def _server(place: Path, env: Mapping[str, str]) -> Serving:
    (place / "data").mkdir(mode=0o700, parents=True)
    return Serving(place / "data", env=dict(env))


class Beside(Protocol):
    """What went on beside the clients' jobs, and has promises of its own."""

    def pause(self, ledger: Ledger) -> None:
        """Make no more jobs, and put those that were made into the ledger."""
        ...

    def wait_until_told(self) -> None: ...

    def missed(self) -> list[Missed]: ...

    def check(self, score: Score, told: Mapping[str, Told], missed: list[Missed]) -> None: ...


def examine(scene: Scene, ledger: Ledger, beside: Beside | None = None) -> tuple[Score, list[Run]]:
    """Wait until all is over, stop the servers, and say what was lost, doubled, wrong or left over."""
    if beside is not None:
        beside.pause(ledger)
    _wait_until_final(scene.servers, ledger)
    if beside is not None:
        beside.wait_until_told()
    told = _all_told(scene.servers)
    left = _left_over(scene)
    runs = scene.runs()
    score = check_all(ledger.submitted, told, runs)
    if beside is not None:
        beside.check(score, told, beside.missed())
    score.problems = ledger.problems + score.problems
    for problem in left:
        score.left_over += 1
        score.problems.append(f"left over: {problem}")
    _stop(scene, score)
    return score, runs


def _wait_until_final(servers: Sequence[Serving], ledger: Ledger) -> None:
    """What is not final for minutes is found by the check."""
    left = {job.job_id for job in ledger.submitted}

    def done() -> bool:
        for job_id in list(left):  # one by one: a list by status may miss what changes from one to another meanwhile
            if persistent(servers, "GET", f"/api/v3/jobs/{job_id}")["status"] in FINAL:
                left.remove(job_id)
        return not left

    with contextlib.suppress(AssertionError):
        eventually(done, "all jobs to end", within=DRAIN_SECONDS)


def _all_told(servers: Sequence[Serving]) -> dict[str, Told]:
    """Every job that the product lists, with its lines and its journal."""
    jobs: list[dict[str, Any]] = []
    after = ""
    while True:
        page = persistent(servers, "GET", f"/api/v3/jobs?limit=200{after}")
        jobs += page["items"]
        if page["next_cursor"] is None:
            break
        after = f"&cursor={page['next_cursor']}"
    server = servers[0]
    return {
        job["id"]: Told(
            job=server.job(job["id"]),
            lines=server.lines(job["id"]),
            journal=persistent([server], "GET", f"/api/v3/jobs/{job['id']}/journal")["entries"],
        )
        for job in jobs
    }


def _left_over(scene: Scene) -> list[str]:
    """What is still there a while after the last job has ended, while the servers go on."""

    def look() -> list[str]:
        data_dirs = [server.data_dir for server in scene.servers]
        found = leftovers.processes(scene.mark, [server.process_id for server in scene.servers])
        found += [path for data_dir in data_dirs for path in leftovers.files(data_dir)]
        if scene.executor == "docker":
            found += [container for data_dir in data_dirs for container in leftovers.containers(data_dir)]
        return found

    with contextlib.suppress(AssertionError):
        eventually(lambda: not look(), "nothing to be left over", within=LEFT_OVER_SECONDS)
    return look()


def _stop(scene: Scene, score: Score) -> None:
    """An orderly end leaves no process at all, and a database without a fault."""
    for server in scene.servers:
        code = server.stop()
        if code != 0:
            score.problems.append(f"a server ended with exit code {code}: {server.log()[-500:]}")
    with contextlib.suppress(AssertionError):
        eventually(lambda: not leftovers.processes(scene.mark, []), "all processes to end", within=10)
    for problem in leftovers.processes(scene.mark, []):
        score.left_over += 1
        score.problems.append(f"left over after the end of the servers: {problem}")
    if scene.store == "sqlite":
        with contextlib.closing(sqlite3.connect(scene.servers[0].data_dir / "cronium.db")) as database:
            [answer] = database.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            score.problems.append(f"integrity_check: {answer}")
