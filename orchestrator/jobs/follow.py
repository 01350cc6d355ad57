"""What follows: deliver the outbox, at least once. Each handler is made idempotent by unique keys of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import OutboxItem, Store
from orchestrator.errors import UnavailableError
from orchestrator.model.json import Json

BATCH = 100
MAX_DELAY = timedelta(minutes=5)
MAX_DOUBLINGS = 9

log = logging.getLogger(__name__)

Handler = Callable[[Mapping[str, Json]], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Follower:
    """Hands due outbox items of one queue to the handler of their kind."""

    store: Store
    clock: Clock
    handlers: dict[str, Handler]
    queue: str
    poll_every: timedelta = timedelta(seconds=2)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Look at the outbox now."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._woken.clear()
            try:
                while await self._deliver_due():
                    pass
            except UnavailableError as error:
                log.warning("the store is away", extra={"error": str(error)})
            await self._wait()

    async def _deliver_due(self) -> bool:
        """Deliver one batch; whether there was anything."""
        async with self.store.read() as repos:
            items = await repos.outbox.due(self.queue, at=self.clock.now(), limit=BATCH)
        for item in items:
            await self._deliver(item)
        return bool(items)

    async def _deliver(self, item: OutboxItem) -> None:
        try:
            await self.handlers[item.kind](item.payload)
        except Exception as error:
            log.exception("an outbox item failed", extra={"item": item.key, "tries": item.tries})
            again = self.clock.now() + min(MAX_DELAY, timedelta(seconds=2 ** min(item.tries, MAX_DOUBLINGS)))
            async with self.store.begin() as repos:
                await repos.outbox.retry(item.id, at=again, error=str(error))
            return
        async with self.store.begin() as repos:
            await repos.outbox.delivered(item.id, at=self.clock.now())

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self.poll_every.total_seconds()):
                await self._woken.wait()
        except TimeoutError:
            return
