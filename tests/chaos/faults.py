"""What is killed, when and for how long: drawn from the seed, then done to real servers."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle

from orchestrator.crash import VARIABLE
from tests.e2e.serving import Serving
from tests.servers import Postgres, Redis

READY_SECONDS = 60.0
POINT_SECONDS = 8.0  # how long a server may take to come to its crash point: leases are renewed after five
POINT_SHARE = 0.4  # of the faults of servers
SELDOM = ("adopt.", "sweep.", "renew.", "release.", "retry.", "cancel.", "signal.")  # passed about once in a short life


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """
    After `gap` seconds kill `target`, leave it dead for `down` seconds, start it; `patient`: wait until it is ready.

    With a `point` a server of it is started so that it dies there, and then once more.
    """

    gap: float
    target: str
    down: float
    patient: bool
    point: str | None = None

    @property
    def kills(self) -> int:
        return 1 if self.point is None else 2


def draw_faults(
    seed: int, kills: int, seconds: float, targets: dict[str, int], points: Sequence[str] = ()
) -> list[Fault]:
    """
    Faults with as many kills as are asked for, spread over `seconds`; targets by weight.

    Every one of `points`, where servers are to die, has its turn before one comes again.
    """
    dice = random.Random(f"{seed} faults")
    mean = seconds / max(1, kills)
    # Drawn apart: a new point changes nothing else of a seed's run.
    turns = cycle(random.Random(f"{seed} points").sample(points, len(points)))
    faults: list[Fault] = []
    while (left := kills - sum(fault.kills for fault in faults)) > 0:
        target = dice.choices(list(targets), weights=list(targets.values()))[0]
        at_point, times = dice.random() < POINT_SHARE, dice.choice((1, 1, 2, 3))
        point = next(turns) if at_point and points and "server" in target and left > 1 else None
        fault = Fault(
            gap=dice.uniform(0, 2 * mean) if dice.random() < 0.8 else dice.uniform(0, 0.1),
            target=target,
            down=dice.choice((0.0, 0.0, dice.uniform(0, 1.5))),
            patient=dice.random() < 0.8,  # else the next one may hit a server that is just starting
            point=None if point is None else f"{point}:{1 if point.startswith(SELDOM) else times}",
        )
        faults.append(fault)
    return faults


@dataclass(slots=True, kw_only=True)
class Tormentor:
    """Does the faults, one after the other."""

    servers: Sequence[Serving]
    postgres: Postgres | None = None
    redis: Redis | None = None
    done: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)  # where servers died
    passed_by: Counter[str] = field(default_factory=Counter)  # where they were to die, and did not come in time
    refused_starts: int = 0
    restart_seconds: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def torment(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            time.sleep(fault.gap)
            self._do(fault)
        for server in self.servers:
            self.wait_ready(server)

    def _do(self, fault: Fault) -> None:
        self.done[fault.target] += 1
        self.told.append(f"{datetime.now(UTC):%H:%M:%S.%f} {fault}")
        if fault.target == "postgres":
            assert self.postgres is not None
            self.postgres.stop(signal.SIGQUIT)
            time.sleep(fault.down)
            return self.postgres.start()
        if fault.target == "cache":
            assert self.redis is not None
            self.redis.stop(signal.SIGKILL)
            time.sleep(fault.down)
            return self.redis.start()
        hit = list(self.servers) if fault.target == "all servers" else [self.servers[int(fault.target.split()[1]) - 1]]
        for server in hit:
            server.kill()
        time.sleep(fault.down)
        if fault.point is not None:
            self._die_at_point(hit[0], fault)
        for server in hit:
            server.spawn()
        if fault.patient:
            for server in hit:
                self.restart_seconds.append(self.wait_ready(server))
        return None

    def _die_at_point(self, server: Serving, fault: Fault) -> None:
        """Start a server that dies at the point; one that does not come there in time is killed where it is."""
        assert fault.point is not None
        name = fault.point.partition(":")[0]
        server.env[VARIABLE] = fault.point
        server.spawn()
        del server.env[VARIABLE]
        assert server.process is not None
        try:
            code = server.process.wait(POINT_SECONDS)
        except subprocess.TimeoutExpired:
            self.passed_by[name] += 1
            server.kill()
        else:
            # A start that is refused is no death: its backend may be away, or was killed a moment ago.
            (self.points if code == -signal.SIGKILL else self.passed_by)[name] += 1
        self.done[fault.target] += 1

    def wait_ready(self, server: Serving) -> float:
        """How long it took. A server that ended because its backend was away is started again, as its keeper would."""
        began = time.monotonic()
        while time.monotonic() < began + READY_SECONDS:
            assert server.process is not None
            if server.process.poll() is not None:
                assert self.postgres is not None, f"the server ended by itself:\n{server.log()}"
                self.refused_starts += 1
                server.spawn()
            try:
                if server._is_ready():
                    return time.monotonic() - began
            except (AssertionError, ValueError):
                continue
            time.sleep(0.02)
        raise AssertionError(f"not ready in {READY_SECONDS:g} s:\n{server.log()}")
