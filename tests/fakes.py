"""Fakes that tests of several packages use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that moves only when told to; wall-clock and monotonic time move together."""

    def __init__(self, now: datetime = NEW_YEAR) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, by: timedelta) -> None:
        """Move on; `by` is not negative."""
        if by < timedelta():
            raise ValueError(f"time does not go back: {by}")
        self._now += by
        self._monotonic += by.total_seconds()
