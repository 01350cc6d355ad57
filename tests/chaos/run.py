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
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.crash import POINTS
from tests.chaos import leftovers
from tests.chaos.clients import Client, Ledger
from tests.chaos.faults import Tormentor, draw_faults
from tests.chaos.points import OF_EVENTS
from tests.chaos.report import Options, Report
from tests.chaos.scene import DRAIN_SECONDS, Scene, examine, open_scene, place_for_a_run
from tests.chaos.ticking import ticking
from tests.e2e.serving import Serving
from tests.servers import running_postgres, running_redis

CLIENTS = 3
SECONDS_PER_KILL = 0.5
PACE_SECONDS = {"process": 0.4, "docker": 1.2}  # between two jobs of one client, in the mean
ALONE = {"server 1": 1}
TOGETHER = {"server 1": 5, "server 2": 5, "all servers": 2, "postgres": 4, "cache": 2}


def torture(options: Options) -> Report:
    """Do all of it."""
    with place_for_a_run(keep=options.keep) as place, _backends(options) as (tormentor, env):
        names = ("one", "two") if options.store == "postgres" else ("one",)
        with open_scene(place, store=options.store, executor=options.executor, names=names, env=env) as scene:
            tormentor.servers = scene.servers
            return _torture(options, scene, tormentor)


@contextlib.contextmanager
def _backends(options: Options) -> Iterator[tuple[Tormentor, dict[str, str]]]:
    """What the servers depend on, and what their environment says of it."""
    tormentor = Tormentor(servers=())
    if options.store == "sqlite":
        yield tormentor, {}
        return
    with running_postgres() as tormentor.postgres, running_redis() as tormentor.redis:
        database = tormentor.postgres.url(tormentor.postgres.create_database())
        yield tormentor, {"CRONIUM_MODE": "distributed", "DATABASE_URL": database, "VALKEY_URL": tormentor.redis.url}


def _torture(options: Options, scene: Scene, tormentor: Tormentor) -> Report:
    began = time.monotonic()
    ledger = Ledger()
    _start(scene.servers)
    targets = TOGETHER if options.store == "postgres" else ALONE
    with ticking(scene) as beside:
        points = POINTS if beside is not None else [point for point in POINTS if point not in OF_EVENTS]
        with _busy(options, scene, ledger):
            tormentor.torment(draw_faults(options.seed, options.kills, options.seconds, targets, tuple(points)))
            killing = time.monotonic() - began
            (scene.place / "faults.log").write_text("\n".join(tormentor.told) + "\n")
        score, runs = examine(scene, ledger, beside)
    if not ledger.submitted:
        score.problems.append("no job was submitted: nothing was tested")
    return Report(
        options=options,
        score=score,
        ledger=ledger,
        tormentor=tormentor,
        seconds=time.monotonic() - began,
        killing=killing,
        tombstones=sum(leftovers.tombstones(server.data_dir) for server in scene.servers),
        starts=len(runs),
        kinds=Counter(job.work.kind for job in ledger.submitted),
    )


def _start(servers: Sequence[Serving]) -> None:
    """One after the other: the first one makes the token."""
    for server in servers:
        if server is not servers[0]:
            shutil.copy(servers[0].data_dir / "admin.token", server.data_dir)
        server.start()


@contextlib.contextmanager
def _busy(options: Options, scene: Scene, ledger: Ledger) -> Iterator[None]:
    """Clients at work; in the end they have cancelled all that they were to cancel."""
    stop = threading.Event()
    clients = [
        Client(
            number=number,
            seed=options.seed,
            servers=scene.servers,
            ledger=ledger,
            executor=options.executor,
            run=scene.mark,
            witness=scene.witness,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--seconds",
        type=float,
        help="how long to go on; kills are spread over it (default 0.5 each, and what it takes to be ready again)",
    )
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--executor", choices=("process", "docker"), default="process")
    parser.add_argument("--keep", action="store_true", help="leave the files of the run where they are")
    found = parser.parse_args()
    options = Options(
        seed=found.seed,
        kills=found.kills,
        seconds=found.seconds or SECONDS_PER_KILL * found.kills,
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
