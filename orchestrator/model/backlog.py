"""The backlog: what of a queue waits and runs now. What metrics are made of that nobody can count by himself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.model.specs import ExecutorKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """
    The queued jobs of one executor: those that are `due`, and since when the oldest of them is; those that are due
    `later`, for another attempt; those that are `held` by their concurrency key.
    """

    due: int = 0
    oldest_due_at: datetime | None = None
    later: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What an outbox lane has still to deliver: how much, and when the first of it is or was due."""

    pending: int = 0
    first_due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """
    A queue as all servers on one store see it.

    `lanes` are `inside` (what the engine does itself) and `outside` (what it tells others' servers); `next_fire_at`
    is the time of the schedule that fires first; it is over while a schedule waits to be fired.
    """

    seen_at: datetime
    waiting: Mapping[ExecutorKind, Waiting] = field(default_factory=dict)
    running: Mapping[ExecutorKind, int] = field(default_factory=dict)
    lanes: Mapping[str, Lane] = field(default_factory=dict)
    next_fire_at: datetime | None = None


def age_seconds(since: datetime | None, now: datetime) -> float:
    """How long ago something was; 0 for what is to come, or is not."""
    return 0.0 if since is None else max(timedelta(), now - since).total_seconds()
