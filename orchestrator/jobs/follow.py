"""What follows: deliver the outbox, at least once. Each handler is made idempotent by unique keys of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.observer import Observer, SilentObserver
from orchestrator.contracts.store import OutboxItem, Store
from orchestrator.crash import crash_point
from orchestrator.errors import CroniumError, DeniedError, UnavailableError
from orchestrator.jobs.persist import Outage

BATCH = 100
MAX_DELAY = timedelta(minutes=5)
MAX_DOUBLINGS = 9

log = logging.getLogger(__name__)

Handler = Callable[[OutboxItem], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """
    How items are delivered to others' servers: some at once, each by one follower alone for as long as `lease`, each
    try bounded by `timeout`, and after `tries` no more. One that is denied is not tried again.
    """

    lease: timedelta = timedelta(seconds=60)
    timeout: timedelta = timedelta(seconds=15)
    at_once: int = 32
    tries: int = 12


@dataclass(slots=True, kw_only=True)
class Follower:
    """
    Hands due outbox items of one queue to the handler of their kind.

    Those that stay in here are handed over one by one, and by any follower that finds them: their handlers do nothing
    the second time. With `outside` the items go to others.
    """

    store: Store
    clock: Clock
    handlers: dict[str, Handler]
    queue: str
    outside: Outside | None = None
    observer: Observer = field(default_factory=SilentObserver)
    poll_every: timedelta = timedelta(seconds=2)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Look at the outbox now."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        outage = Outage("the store is away: nothing is delivered")
        while True:
            self._woken.clear()
            try:
                while await self._deliver_due():
                    pass
            except UnavailableError as error:
                outage.refused(error)
            else:
                outage.over()
            await self._wait()

    async def _deliver_due(self) -> bool:
        """Deliver one batch; whether there was anything."""
        if self.outside is not None:
            return await self._deliver_outside(self.outside)
        async with self.store.read() as repos:
            items = await repos.outbox.due(self.queue, at=self.clock.now(), limit=BATCH)
        for item in items:
            await self._deliver(item)
        return bool(items)

    async def _deliver_outside(self, outside: Outside) -> bool:
        async with self.store.begin() as repos:
            items = await repos.outbox.take(self.queue, at=self.clock.now(), lease=outside.lease, limit=outside.at_once)
        away: list[UnavailableError] = []
        async with asyncio.TaskGroup() as tasks:
            for item in items:
                tasks.create_task(self._deliver_or_note(item, away))
        if away:
            raise away[0]  # as it is: a group of them would end the follower, and with it the server
        return bool(items)

    async def _deliver_or_note(self, item: OutboxItem, away: list[UnavailableError]) -> None:
        """The store went away meanwhile: the item is due again when its lease is over."""
        try:
            await self._deliver(item)
        except UnavailableError as error:
            away.append(error)

    async def _deliver(self, item: OutboxItem) -> None:
        crash_point("follow.before")
        try:
            async with asyncio.timeout(None if self.outside is None else self.outside.timeout.total_seconds()):
                await self.handlers[item.kind](item)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other items are delivered
            await self._failed(item, error)
            return
        crash_point("follow.handled")
        async with self.store.begin() as repos:
            await repos.outbox.delivered(item.id, at=self.clock.now())
        crash_point("follow.committed")

    async def _failed(self, item: OutboxItem, error: Exception) -> None:
        why = str(error) or type(error).__name__
        now = self.clock.now()
        denied = isinstance(error, DeniedError)  # by our own settings: trying again changes nothing
        if self.outside is not None and (denied or item.tries + 1 >= self.outside.tries):
            log.error("an outbox item is given up", extra={"item": item.key, "tries": item.tries + 1, "error": why})
            async with self.store.begin() as repos:
                await repos.outbox.give_up(item.id, at=now, error=why)
            self.observer.follow_up_failed("outside", given_up=True)
            return
        if isinstance(error, CroniumError | TimeoutError):
            log.warning("an outbox item failed", extra={"item": item.key, "tries": item.tries + 1, "error": why})
        else:
            log.error("an outbox item failed", extra={"item": item.key, "tries": item.tries + 1}, exc_info=error)
        again = now + min(MAX_DELAY, timedelta(seconds=2 ** min(item.tries, MAX_DOUBLINGS)))
        async with self.store.begin() as repos:
            await repos.outbox.retry(item.id, at=again, error=why)
        self.observer.follow_up_failed("inside" if self.outside is None else "outside", given_up=False)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self.poll_every.total_seconds()):
                await self._woken.wait()
        except TimeoutError:
            return
