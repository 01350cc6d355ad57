"""Whom a bell wakes in this process, and a bell for a store that only this process works on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Listeners:
    """Those who want to hear what others ring."""

    heard: list[Callable[[str], None]] = field(default_factory=list)

    @contextmanager
    def listen(self, heard: Callable[[str], None]) -> Iterator[None]:
        self.heard.append(heard)
        try:
            yield
        finally:
            self.heard.remove(heard)

    def tell(self, topic: str) -> None:
        for heard in tuple(self.heard):
            heard(topic)


@dataclass(frozen=True, slots=True)
class SilentBell:
    """`Bell` where no other orchestrator works on the same jobs."""

    listeners: Listeners = field(default_factory=Listeners)

    def ring(self, topic: str) -> None:
        """Nobody else is there to hear it."""

    def listen(self, heard: Callable[[str], None]) -> AbstractContextManager[None]:
        return self.listeners.listen(heard)
