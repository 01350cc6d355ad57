"""An executor whose every start finds a container that waits, for tests that hold warm starts to what cold ones keep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.contracts.executor import UNHEARD, Availability, Executor, Placement, Process, ProcessSpec, Setup
from orchestrator.contracts.observer import SilentObserver
from orchestrator.errors import StartFailedError
from orchestrator.executors.docker.executor import DockerExecutor
from orchestrator.executors.docker.warm import WarmStarts
from orchestrator.executors.docker.warm_maker import Profile, profile_of
from orchestrator.executors.docker.warm_pool import WarmPool
from orchestrator.model.json import Json
from orchestrator.model.specs import ExecutorKind
from tests.executors.docker.engine_for_tests import open_executor


class Tally(SilentObserver):
    """Counts what the pool tells, and wakes who waits for it."""

    def __init__(self) -> None:
        self.hits = self.misses = self.waiting = self.wasted = 0
        self.news = asyncio.Condition()

    def warm_asked(self, *, hit: bool) -> None:
        self.hits, self.misses = self.hits + hit, self.misses + (not hit)

    def warm_waiting(self, count: int) -> None:
        self.waiting = count

    def warm_wasted(self) -> None:
        self.wasted += 1


class Noting:
    """A `Setup` that keeps the facts."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}

    def say(self, text: str) -> None:
        pass

    def record(self, fact: str, value: Json) -> None:
        self.facts[fact] = value


def open_pool(state: Path, tally: Tally | None = None, **changes: Any):
    """An executor with two containers that wait at most."""
    chosen = {"warm_containers": 2, "warm_directory": state / "warm", "observer": tally or Tally(), **changes}
    return open_executor(state, **chosen)


async def warmed(executor: Executor, spec: ProcessSpec, count: int = 1) -> None:
    """Ask for containers for `spec` as jobs would, and wait until so many are there."""
    pool = pool_of(executor)
    profile = await profile_for(executor, spec)
    for _ in range(count):
        pool._demand.ask(profile, pool._now())
    pool._news.set()
    async with asyncio.timeout(60):
        while len(pool._idle.get(profile, ())) < count and profile not in pool._unfit:
            await asyncio.sleep(0.01)  # polling with a deadline


async def profile_for(executor: Executor, spec: ProcessSpec) -> Profile:
    assert isinstance(executor, DockerExecutor)
    return profile_of(spec, executor._settings, await executor._sources(spec))


def starts_of(executor: Executor) -> WarmStarts:
    assert isinstance(executor, DockerExecutor)
    return executor._warm


def pool_of(executor: Executor) -> WarmPool:
    assert isinstance(executor, DockerExecutor)
    return executor._warm.pool


class AlwaysWarm:
    """Before each start it waits until there is a container for it; a start that was cold all the same is counted."""

    def __init__(self, executor: Executor, tally: Tally) -> None:
        self._executor, self.tally = executor, tally

    @property
    def kind(self) -> ExecutorKind:
        return self._executor.kind

    def placement(self, directory: Path) -> Placement:
        return self._executor.placement(directory)

    async def start(self, spec: ProcessSpec, setup: Setup = UNHEARD) -> Process:
        if spec.image is not None and starts_of(self._executor).serves(spec):
            try:
                await warmed(self._executor, spec)
            except StartFailedError:
                pass  # such as a network that is refused: the start says so
        return await self._executor.start(spec, setup)

    async def attach(self, name: str) -> Process | None:
        return await self._executor.attach(name)

    async def sweep(self, keep: frozenset[str]) -> list[str]:
        return await self._executor.sweep(keep)

    async def check(self) -> Availability:
        return await self._executor.check()


@asynccontextmanager
async def open_always_warm(state: Path, **changes: Any) -> AsyncIterator[AlwaysWarm]:
    tally = Tally()
    async with open_pool(state, tally, **changes) as executor:
        yield AlwaysWarm(executor, tally)
