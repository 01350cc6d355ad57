"""Postgres with a clock that tests move."""

from __future__ import annotations

from orchestrator.contracts.clock import Clock
from orchestrator.stores.codec import micros
from orchestrator.stores.postgres.store import APPEND


class Ticking:
    """The dialect of Postgres, with another clock than the server's."""

    append_to_journal = APPEND

    def __init__(self, clock: Clock, *, reads: bool = False) -> None:
        self._clock = clock
        self.for_update = "" if reads else "FOR UPDATE"
        self.skip_locked = "" if reads else "FOR UPDATE SKIP LOCKED"

    @property
    def now(self) -> str:
        return f"CAST({micros(self._clock.now())} AS BIGINT)"
