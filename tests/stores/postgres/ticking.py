"""Postgres with a clock that tests move."""

from __future__ import annotations

from orchestrator.contracts.clock import Clock
from orchestrator.stores.codec import micros
from orchestrator.stores.postgres.store import APPEND


class Ticking:
    """The dialect of Postgres, with another clock than the server's."""

    for_update = "FOR UPDATE"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    append_to_journal = APPEND

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @property
    def now(self) -> str:
        return f"CAST({micros(self._clock.now())} AS BIGINT)"
