"""Forgets what scripts were answered once their attempt is over: nobody repeats those calls any more."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from orchestrator.contracts.store import Store
from orchestrator.errors import UnavailableError

EVERY_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeUpkeep:
    """Looks once a minute, also for what another server left."""

    store: Store
    every_seconds: float = EVERY_SECONDS

    async def run(self) -> None:
        """Forget, again and again, until cancelled."""
        while True:
            await asyncio.sleep(self.every_seconds)
            try:
                await self.forget()
            except UnavailableError as error:
                log.warning("answers to scripts are not forgotten yet", extra={"error": str(error)})

    async def forget(self) -> int:
        """How many answers were forgotten."""
        async with self.store.begin() as repos:
            return await repos.variables.forget_answers()
