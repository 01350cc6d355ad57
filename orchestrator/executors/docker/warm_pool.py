"""The containers that wait for a job: how many of which kind, made and removed by one task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.engine import Engine
from orchestrator.executors.docker.process import pauses
from orchestrator.executors.docker.settings import DockerSettings
from orchestrator.executors.docker.state import Summary
from orchestrator.executors.docker.warm_demand import WINDOW_SECONDS, Demand
from orchestrator.executors.docker.warm_maker import Maker, Profile, Slot, new_slot_id

ROUND_SECONDS = 30.0  # how often what nobody asks for any more is looked for
CLOSE_SECONDS = 10.0
UNFIT_SECONDS = 60.0  # before another try with an image that lacks a shell, or that is not here
DIED_SECONDS = 5.0  # before another one of a kind of which one died while it waited
QUIET_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0

ResultT = TypeVar("ResultT")

log = logging.getLogger(__name__)


class WarmPool:
    """
    What waits, by kind. Who takes a container out says what became of it: `put_back`, `give_away` or `discard`.

    One task makes what is missing and removes what is too much (`run`); none is made while a job is started.
    """

    def __init__(self, engine: Engine, settings: DockerSettings) -> None:
        self._settings = settings
        self._directory = settings.warm_directory or Path("/nonexistent")
        self.maker = Maker(engine, settings, self._directory)
        self._demand: Demand[Profile] = Demand()
        self._idle: dict[Profile, list[Slot]] = {}
        self._held: set[str] = set()  # slots that are ours to remove
        self._doomed: dict[str, str | None] = {}  # slots to be removed, with their containers' ids
        self._done: set[str] = set()  # slots whose containers are removed already
        self._late: dict[str, float] = {}  # slots whose container the engine may still come to make, and until when
        self._unfit: dict[Profile, float] = {}  # kinds that cannot wait, and until when that is believed
        self._starts = self._turns = self._told = 0
        self._calm, self._news = asyncio.Event(), asyncio.Event()
        self._calm.set()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """While a job is started none is made to wait."""
        self._starts += 1
        self._turns += 1
        self._calm.clear()
        try:
            yield
        finally:
            self._starts -= 1
            if not self._starts:
                self._calm.set()

    def ask(self, profile: Profile) -> bool:
        """A job of this kind is started: others may follow. Whether there is one for it, as far as is known."""
        self._demand.ask(profile, self._now())
        self._news.set()
        return bool(self._idle.get(profile))

    def pop(self, profile: Profile, image: str | None) -> Slot | None:
        """One that waits and is made of the image that the name stands for now."""
        slots = self._idle.get(profile, [])
        while slots:
            slot = slots.pop()
            self._count()
            if slot.image == image and slot.gate.is_waited_at:
                return slot
            self.waste(slot)
        return None

    def put_back(self, slot: Slot) -> None:
        """It waits on."""
        self._idle.setdefault(slot.profile, []).append(slot)
        self._count()

    def give_away(self, slot: Slot) -> None:
        """It is a job's, and goes with it."""
        self._held.discard(slot.id)

    def waste(self, slot: Slot) -> None:
        self._settings.observer.warm_wasted()
        self.discard(slot)

    def discard(self, slot: Slot) -> None:
        """It was given nothing, and never will be: its gate closes, and it ends."""
        slot.close()
        self._doomed[slot.id] = slot.container
        self._news.set()

    def forget(self, slot_id: str) -> None:
        """The container of a job is removed."""
        self._done.add(slot_id)
        self._news.set()

    def holds(self, found: Summary) -> bool:
        """Whether it is a container that waits, or is about to be removed."""
        return found.warm in self._held

    async def sweep(self, kept: set[str]) -> None:
        """Remove the files of slots that have no container; `kept` are the slots of those that there are."""
        for slot_id in await asyncio.to_thread(_names, self._directory):
            if slot_id not in kept | self._held:
                await asyncio.to_thread(_removed, slot_id, self.maker)

    async def run(self) -> None:
        """Make what is missing and remove what is too much, until cancelled."""
        every = pauses()
        while True:
            self._news.clear()
            try:
                await self._round()
            except (UnavailableError, OSError) as error:
                pause = next(every)
                log.info("warm containers later", extra={"error": str(error), "seconds": pause})
                await asyncio.sleep(pause)
            except Exception:
                log.exception("there are no warm containers any more; jobs are started cold")
                return
            else:
                every = pauses()
                with suppress(TimeoutError):
                    async with asyncio.timeout(DIED_SECONDS if self._unfit else ROUND_SECONDS):
                        await self._news.wait()

    async def close(self) -> None:
        """Remove what waits. What cannot be removed ends by itself, because its gate is closed, and is swept later."""
        for slot in [slot for slots in self._idle.values() for slot in slots]:
            self.discard(slot)
        self._idle.clear()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._clear()
        except (UnavailableError, OSError) as error:  # too slow, too
            log.info("warm containers are left for the sweep", extra={"error": str(error)})

    async def _round(self) -> None:
        await self._clear()
        while (profile := self._missing()) is not None:
            await self._quiet()
            # Not broken off: the engine would go on, and the container come after its removal.
            await finished(self._make(profile))
            await self._clear()

    async def _quiet(self) -> None:
        """
        Wait until no job was started for a moment, but not for ever: a script's first line comes before the container of
        the next.
        """
        turns = -1
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                while turns != self._turns:
                    await self._calm.wait()
                    turns = self._turns
                    await asyncio.sleep(QUIET_SECONDS)

    def _missing(self) -> Profile | None:
        """A kind of which more are to wait; of what is too much the oldest is thrown away."""
        now = self._now()
        self._unfit = {profile: until for profile, until in self._unfit.items() if until > now}
        shares = self._demand.shares(self._settings.warm_containers, now)
        for profile, slots in list(self._idle.items()):
            dead = [slot for slot in slots if not slot.gate.is_waited_at]
            slots[:] = [slot for slot in slots if slot not in dead]
            if dead:
                self._unfit[profile] = now + DIED_SECONDS
            surplus = max(0, len(slots) - shares.get(profile, 0))
            for slot in [*dead, *slots[:surplus]]:
                self.waste(slot)
            del slots[:surplus]
            if not slots:
                del self._idle[profile]
        self._count()
        return next(
            (
                profile
                for profile, share in shares.items()
                if share > len(self._idle.get(profile, ())) and profile not in self._unfit
            ),
            None,
        )

    async def _make(self, profile: Profile) -> None:
        slot_id = new_slot_id()
        self._held.add(slot_id)
        try:
            slot = await self.maker.make(slot_id, profile, self._news.set)
        except BaseException as error:
            self._doomed[slot_id] = None
            if not isinstance(error, StartFailedError):
                self._late[slot_id] = self._now() + WINDOW_SECONDS
                raise
            self._unfit[profile] = self._now() + UNFIT_SECONDS
            log.info("no warm containers", extra={"image": profile.spec.image, "error": error.message})
        else:
            self.put_back(slot)

    async def _clear(self) -> None:
        """Remove what is not needed any more."""
        for slot_id, container in list(self._doomed.items()):
            await self.maker.remove(slot_id, container)
            del self._doomed[slot_id]
            self._held.discard(slot_id)
        for slot_id, until in list(self._late.items()):
            await self.maker.remove(slot_id)
            if until < self._now():
                del self._late[slot_id]
        while self._done:
            await asyncio.to_thread(_removed, self._done.pop(), self.maker)

    def _count(self) -> None:
        """Only what is new is told: the pool of a server whose jobs were taken over has the same observer."""
        count = sum(map(len, self._idle.values()))
        if count != self._told:
            self._told = count
            self._settings.observer.warm_waiting(count)

    def _now(self) -> float:
        return self._settings.clock.monotonic()


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()] if directory.is_dir() else []


def _removed(slot_id: str, maker: Maker) -> None:
    try:
        maker.files(slot_id).remove()
    except OSError as error:
        log.warning("files of a warm container are left", extra={"slot": slot_id, "error": str(error)})


async def finished(work: Awaitable[ResultT]) -> ResultT:
    """Wait for what would go on without us also when cancelled, and be cancelled then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        if not task.cancel() and (error := task.exception()) is not None:
            log.info("failed, and nobody waits for it", extra={"error": str(error)})
        raise
