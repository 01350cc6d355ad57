"""
Torture: kill Cronium and what it depends on at random while clients keep it busy, then look for what was lost.

    python -m tests.chaos.run --seed 1 --kills 200 --seconds 300 --store sqlite --executor process

The seed decides which jobs there are and what is killed in which order after how long; what a kill hits is decided by
the machine. Exit 1 unless nothing was lost, doubled, wrong or left over.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shutil
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.chaos import leftovers
from tests.chaos.check import Score, Told, check_all
from tests.chaos.clients import Client, Ledger, persistent
from tests.chaos.faults import Tormentor, draw_faults
from tests.chaos.mix import MARK
from tests.chaos.report import Options, Report
from tests.chaos.witness import Run, read_events, read_records, watched_daemon
from tests.e2e.conftest import IMAGES
from tests.e2e.serving import FINAL, Serving, eventually
from tests.servers import running_postgres, running_redis

CLIENTS = 3
DRAIN_SECONDS = 300.0
PACE_SECONDS = {"process": 0.4, "docker": 1.2}  # between two jobs of one client, in the mean
ALONE = {"server 1": 1}
TOGETHER = {"server 1": 5, "server 2": 5, "all servers": 2, "postgres": 4, "cache": 2}


def torture(options: Options) -> Report:
    """Do all of it."""
    # A short name: sockets lie in it. Not in memory: what scripts and stores write is synced.
    place = Path(mkdtemp(prefix="chaos-", dir="/tmp"))
    try:
        with _servers(options, place) as (tormentor, run):
            return _torture(options, place, tormentor, run)
    finally:
        if options.keep:
            print(f"files: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _servers(options: Options, place: Path) -> Iterator[tuple[Tormentor, str]]:
    """The servers, started, and what they depend on; and the mark of everything that they start."""
    run = secrets.token_hex(8)
    (place / "run").mkdir(mode=0o700)
    env = {
        **IMAGES,
        MARK: run,
        "XDG_RUNTIME_DIR": str(place / "run"),
        "CRONIUM_RATE_LIMIT_ENABLED": "false",
        "CRONIUM_GRACE_SECONDS": "1",
        "CRONIUM_DEFAULT_EXECUTOR": options.executor,
        "CRONIUM_DOCKER_JOBS": "6",
    }
    with contextlib.ExitStack() as stack:
        tormentor = Tormentor(servers=())
        names = ["one"]
        if options.store == "postgres":
            tormentor.postgres = stack.enter_context(running_postgres())
            tormentor.redis = stack.enter_context(running_redis())
            database = tormentor.postgres.url(tormentor.postgres.create_database())
            env |= {"CRONIUM_MODE": "distributed", "DATABASE_URL": database, "VALKEY_URL": tormentor.redis.url}
            names.append("two")
        tormentor.servers = [_server(place / name, env) for name in names]
        for server in tormentor.servers:
            stack.callback(server.close)
            if server is not tormentor.servers[0]:
                shutil.copy(tormentor.servers[0].data_dir / "admin.token", server.data_dir)
            server.start()
        yield tormentor, run


def _server(place: Path, env: dict[str, str]) -> Serving:
    (place / "data").mkdir(mode=0o700, parents=True)
    return Serving(place / "data", env=dict(env))


def _torture(options: Options, place: Path, tormentor: Tormentor, run: str) -> Report:
    began = time.monotonic()
    ledger = Ledger()
    witness = place / "witness"
    with contextlib.ExitStack() as stack:
        if options.executor == "docker":
            stack.enter_context(watched_daemon(place / "events"))
        targets = TOGETHER if options.store == "postgres" else ALONE
        with _busy(options, tormentor, ledger, run, witness):
            tormentor.torment(draw_faults(options.seed, options.kills, options.seconds, targets))
            (place / "faults.log").write_text("\n".join(tormentor.told) + "\n")
        _drain(tormentor.servers, ledger)
        told = _all_told(tormentor.servers)
        left = _left_over(options, tormentor, run)
        runs = _runs(options, place, tormentor)
    score = check_all(ledger.submitted, told, runs)
    score.problems = ledger.problems + score.problems
    if not ledger.submitted:
        score.problems.append("no job was submitted: nothing was tested")
    for problem in left:
        score.left_over += 1
        score.problems.append(f"left over: {problem}")
    _stop(options, tormentor, run, score)
    return Report(
        options=options,
        score=score,
        ledger=ledger,
        tormentor=tormentor,
        seconds=time.monotonic() - began,
        tombstones=sum(leftovers.tombstones(server.data_dir) for server in tormentor.servers),
        starts=len(runs),
        kinds=Counter(job.work.kind for job in ledger.submitted),
    )


@contextlib.contextmanager
def _busy(options: Options, tormentor: Tormentor, ledger: Ledger, run: str, witness: Path) -> Iterator[None]:
    """Clients at work; in the end they have cancelled all that they were to cancel."""
    stop = threading.Event()
    clients = [
        Client(
            number=number,
            seed=options.seed,
            servers=tormentor.servers,
            ledger=ledger,
            executor=options.executor,
            run=run,
            witness=witness if options.executor == "process" else None,
            pace=PACE_SECONDS[options.executor],
            stop=stop,
            keys=number % 2 == 1,
        )
        for number in range(CLIENTS)
    ]
    threads = [threading.Thread(target=client.work, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(DRAIN_SECONDS)


def _drain(servers: Sequence[Serving], ledger: Ledger) -> None:
    """Wait until every job is final; what is not for minutes is found by the check."""
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


def _left_over(options: Options, tormentor: Tormentor, run: str) -> list[str]:
    """What is still there a while after the last job has ended, while the servers go on."""

    def look() -> list[str]:
        data_dirs = [server.data_dir for server in tormentor.servers]
        found = leftovers.processes(run, [server.process_id for server in tormentor.servers])
        found += [path for data_dir in data_dirs for path in leftovers.files(data_dir)]
        if options.executor == "docker":
            found += [container for data_dir in data_dirs for container in leftovers.containers(data_dir)]
        return found

    with contextlib.suppress(AssertionError):
        eventually(lambda: not look(), "nothing to be left over", within=20)
    return look()


def _runs(options: Options, place: Path, tormentor: Tormentor) -> list[Run]:
    if options.executor == "process":
        return read_records(place / "witness")
    ours = {leftovers.installation(server.data_dir) for server in tormentor.servers}
    return read_events(place / "events", ours)


def _stop(options: Options, tormentor: Tormentor, run: str, score: Score) -> None:
    """An orderly end leaves no process at all, and a database without a fault."""
    for server in tormentor.servers:
        code = server.stop()
        if code != 0:
            score.problems.append(f"a server ended with exit code {code}: {server.log()[-500:]}")
    with contextlib.suppress(AssertionError):
        eventually(lambda: not leftovers.processes(run, []), "all processes to end", within=10)
    for problem in leftovers.processes(run, []):
        score.left_over += 1
        score.problems.append(f"left over after the end of the servers: {problem}")
    if options.store == "sqlite":
        with contextlib.closing(sqlite3.connect(tormentor.servers[0].data_dir / "cronium.db")) as database:
            [answer] = database.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            score.problems.append(f"integrity_check: {answer}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, help="how long to go on; kills are spread over it (default 1.5 each)")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--executor", choices=("process", "docker"), default="process")
    parser.add_argument("--keep", action="store_true", help="leave the files of the run where they are")
    found = parser.parse_args()
    options = Options(
        seed=found.seed,
        kills=found.kills,
        seconds=found.seconds or 1.5 * found.kills,
        store=found.store,
        executor=found.executor,
        keep=found.keep,
    )
    print(f"chaos {options}", flush=True)
    report = torture(options)
    print(report, flush=True)
    sys.exit(not report.score.clean)


if __name__ == "__main__":
    main()
