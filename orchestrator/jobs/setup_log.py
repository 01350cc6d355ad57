"""What an executor tells while it sets a job up: lines of the job's log, stored as they come, and facts for its journal."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from orchestrator.jobs.logs import LogWriter
from orchestrator.model.json import Json


class SetupLog:
    """
    A `Setup`, as a block: what was said in it is stored when it is left, also by an error; cancelled, what is stored is.

    Raises on leaving what storing raised, such as `LeaseLostError`, also where the block itself has failed.
    """

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._storing: asyncio.Task[None] | None = None
        self.facts: dict[str, Json] = {}

    def say(self, text: str) -> None:
        self._writer.note(text)
        if self._storing is None:
            self._storing = asyncio.ensure_future(self._writer.flush_forever())

    def record(self, fact: str, value: Json) -> None:
        self.facts[fact] = value

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._storing is None:
            return
        storing, self._storing = self._storing, None
        if isinstance(error, asyncio.CancelledError):
            await _break_off(storing)
            return
        try:
            await self._writer.stop(storing)
        except asyncio.CancelledError:
            await _break_off(storing)
            raise


async def _break_off(storing: asyncio.Task[None]) -> None:
    storing.cancel()
    await asyncio.wait({storing})
