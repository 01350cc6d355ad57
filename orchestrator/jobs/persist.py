"""Write what must not be lost, however long the store is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from orchestrator.errors import UnavailableError

ResultT = TypeVar("ResultT")
FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 5.0

log = logging.getLogger(__name__)


async def persist(write: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Call `write` until the store takes it. Only `UnavailableError` is waited out; others go to the caller."""
    delay = FIRST_DELAY_SECONDS
    while True:
        try:
            return await write()
        except UnavailableError as error:
            log.warning("the store does not take a write, trying again", extra={"error": str(error)})
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_DELAY_SECONDS)
