"""Progress of scripts: shown at once where it is rare, a few times a second where it is not; the last one wins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import AttemptOwner, Store
from orchestrator.errors import CroniumError, LeaseLostError, UnavailableError
from orchestrator.model.jobs import JobId
from orchestrator.model.json import Json

PAUSE_SECONDS = 0.25
MAX_REMEMBERED = 10_000

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class ProgressBoard:
    """
    Where scripts post their progress. `news` is called with the id of each job whose watchers have something to see.

    What is posted soon after another waits for `run`, unless it says 100 percent: that is likely a script's last word,
    and who ends right after it must find it stored. What waits is lost when the attempt or the server ends meanwhile.
    """

    store: Store
    clock: Clock
    news: Callable[[JobId], None] = lambda _job_id: None
    waiting: dict[tuple[JobId, int], Json] = field(default_factory=dict)
    written: dict[tuple[JobId, int], float] = field(default_factory=dict)
    posted: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, owner: AttemptOwner, value: Json) -> None:
        """Take a progress. Raises what writing it raises, where it is written at once."""
        name = (owner.job.id, owner.attempt)
        last = self.written.get(name)
        if last is not None and self.clock.monotonic() - last < PAUSE_SECONDS and not _is_complete(value):
            self.waiting[name] = value
            self.posted.set()
            return
        self.waiting.pop(name, None)
        await self._write(name, value)

    async def run(self) -> None:
        """Write what waits, a few times a second, until cancelled."""
        while True:
            await self.posted.wait()
            await asyncio.sleep(PAUSE_SECONDS)
            self.posted.clear()
            await self.write_waiting()

    async def write_waiting(self) -> None:
        """Write what waits. What the store does not take now waits on."""
        for name in list(self.waiting):
            value = self.waiting.pop(name)
            try:
                await self._write(name, value)
            except LeaseLostError:
                continue  # the attempt is over: nobody is interested
            except UnavailableError as error:
                self.waiting.setdefault(name, value)
                self.posted.set()
                log.debug("progress is not stored yet", extra={"job_id": name[0], "error": str(error)})
            except CroniumError as error:  # a loop edge: what one script says must not end the others' progress
                log.warning("progress cannot be stored", extra={"job_id": name[0], "error": str(error)})

    async def _write(self, name: tuple[JobId, int], value: Json) -> None:
        job_id, attempt = name
        self.written[name] = self.clock.monotonic()
        if len(self.written) > MAX_REMEMBERED:
            self.written.pop(next(iter(self.written)))
        async with self.store.begin() as repos:
            await repos.jobs.set_progress(job_id, attempt, value)
        self.news(job_id)


def _is_complete(value: Json) -> bool:
    return isinstance(value, dict) and value.get("percent") == 100
