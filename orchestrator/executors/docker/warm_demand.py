"""Which kinds of containers are asked for, and how many of each are to wait. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

WINDOW_SECONDS = 600.0
REMEMBERED = 4096

ProfileP = TypeVar("ProfileP", bound=Hashable)


class Demand(Generic[ProfileP]):
    """What was asked for in the last ten minutes. Times are those of a monotonic clock."""

    def __init__(self) -> None:
        self._asked: deque[tuple[float, ProfileP]] = deque(maxlen=REMEMBERED)
        self._known: dict[ProfileP, ProfileP] = {}  # of equals only one is remembered

    def ask(self, profile: ProfileP, now: float) -> None:
        self._asked.append((now, self._known.setdefault(profile, profile)))

    def shares(self, limit: int, now: float) -> dict[ProfileP, int]:
        """
        How many of each are to wait, `limit` in all at most and never more of one than were asked for.

        One place after the other goes to the kind with the most asks for each that it has already; of two that are
        equal, to the one asked for last.
        """
        while self._asked and self._asked[0][0] <= now - WINDOW_SECONDS:
            self._asked.popleft()
        counts: dict[ProfileP, int] = {}
        last: dict[ProfileP, int] = {}
        for turn, (_, profile) in enumerate(self._asked):
            counts[profile] = counts.get(profile, 0) + 1
            last[profile] = turn
        self._known = {profile: profile for profile in counts}
        shares: dict[ProfileP, int] = {}
        for _ in range(min(limit, len(self._asked))):
            wanting = [profile for profile in counts if shares.get(profile, 0) < counts[profile]]
            best = max(wanting, key=lambda profile: (counts[profile] / (shares.get(profile, 0) + 1), last[profile]))
            shares[best] = shares.get(best, 0) + 1
        return shares
