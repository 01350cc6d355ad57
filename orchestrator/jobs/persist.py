"""Write what must not be lost, however long the store is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.errors import UnavailableError

ResultT = TypeVar("ResultT")
FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 5.0
SAY_AGAIN_SECONDS = 60.0

log = logging.getLogger(__name__)


async def persist(write: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Call `write` until the store takes it. Only `UnavailableError` is waited out; others go to the caller."""
    delay = FIRST_DELAY_SECONDS
    outage = Outage("the store does not take a write, trying again")
    while True:
        try:
            result = await write()
        except UnavailableError as error:
            outage.refused(error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_DELAY_SECONDS)
        else:
            outage.over()
            return result


@dataclass(slots=True)
class Outage:
    """
    What is logged of an outage: `message` when it begins and every minute, with the error, and one line when it is over.

    A disk that stays full for a night would otherwise be filled with what is said about it as soon as there is room.
    """

    message: str
    _since: float | None = None
    _said: float = 0.0
    _refused: int = 0

    def refused(self, error: UnavailableError) -> None:
        """The store said no, once more."""
        now = asyncio.get_running_loop().time()
        self._refused += 1
        if self._since is None:
            self._since = now
        elif now - self._said < SAY_AGAIN_SECONDS:
            return
        self._said = now
        log.warning(self.message, extra={"error": str(error), "refused": self._refused})

    def over(self) -> None:
        """It works again, or has worked all the time."""
        if self._since is None:
            return
        seconds = round(asyncio.get_running_loop().time() - self._since, 1)
        log.info("the store works again", extra={"seconds": seconds, "refused": self._refused})
        self._since, self._refused = None, 0
