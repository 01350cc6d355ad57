"""What an executor tells while it starts a job, kept for a look."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from orchestrator.model.json import Json


@dataclass
class Told:
    """What a job's log and its journal would hold."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Json] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, text: str) -> None:
        self.lines.append(text)
        self.heard.set()

    def record(self, fact: str, value: Json) -> None:
        self.facts[fact] = value

    async def until(self, piece: str) -> None:
        """Wait for a line with `piece` in it."""
        async with asyncio.timeout(60):
            while not any(piece in line for line in self.lines):
                self.heard.clear()
                await self.heard.wait()
