"""Ties containers to the life of this process."""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.executors.docker.settings import Endpoint

log = logging.getLogger(__name__)

GUARD = Path(__file__).with_name("guard.py")
CLOSE_SECONDS = 30.0


class Tie:
    """What is tied is removed when this process ends, even by KILL. The guard is started with the first `hold`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._guard: Process | None = None
        self._turn = asyncio.Lock()

    async def hold(self, container: str) -> None:
        """Call it before the container is started."""
        async with self._turn:
            if self._guard is None:
                self._guard = await self._start()
        self._tell(f"+{container}\n")

    def release(self, container: str) -> None:
        """The container is removed."""
        if self._guard is not None:
            self._tell(f"-{container}\n")

    async def close(self) -> None:
        """Remove what is still tied."""
        if self._guard is None or self._guard.stdin is None:
            return
        self._guard.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._guard.wait()
        except TimeoutError:
            log.warning("containers are still being removed", extra={"process_id": self._guard.pid})

    async def _start(self) -> Process:
        kind, address = self._endpoint.address
        return await asyncio.create_subprocess_exec(
            # A session of its own: Ctrl-C in the terminal is for the orchestrator.
            *(sys.executable, "-I", "-S", str(GUARD), kind, address),
            stdin=PIPE,
            start_new_session=True,
        )

    def _tell(self, line: str) -> None:
        """A pipe takes 64 KiB at once and a line is 66 bytes: what is written here is there even if we die now."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(line.encode("ascii"))


@asynccontextmanager
async def open_tie(endpoint: Endpoint) -> AsyncIterator[Tie]:
    tie = Tie(endpoint)
    try:
        yield tie
    finally:
        await tie.close()
