"""What is killed, when and for how long: drawn from the seed, then done to real servers."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.e2e.serving import Serving
from tests.servers import Postgres, Redis

READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """After `gap` seconds kill `target`, leave it dead for `down` seconds, start it; `patient`: wait until it is ready."""

    gap: float
    target: str
    down: float
    patient: bool


def draw_faults(seed: int, kills: int, seconds: float, targets: dict[str, int]) -> list[Fault]:
    """As many faults as are asked for, `seconds` apart in the mean of all; targets by weight."""
    dice = random.Random(f"{seed} faults")
    mean = seconds / max(1, kills)
    return [
        Fault(
            gap=dice.uniform(0, 2 * mean) if dice.random() < 0.8 else dice.uniform(0, 0.1),
            target=dice.choices(list(targets), weights=list(targets.values()))[0],
            down=dice.choice((0.0, 0.0, dice.uniform(0, 1.5))),
            patient=dice.random() < 0.8,  # else the next one may hit a server that is just starting
        )
        for _ in range(kills)
    ]


@dataclass(slots=True, kw_only=True)
class Tormentor:
    """Does the faults, one after the other."""

    servers: Sequence[Serving]
    postgres: Postgres | None = None
    redis: Redis | None = None
    done: Counter[str] = field(default_factory=Counter)
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
        for server in hit:
            server.spawn()
        if fault.patient:
            for server in hit:
                self.restart_seconds.append(self.wait_ready(server))
        return None

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
