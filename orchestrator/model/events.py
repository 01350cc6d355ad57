"""An event: a saved definition of what to run, when, and with what policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.model.jobs import EventId
from orchestrator.model.specs import JobSpec


class EventStatus(StrEnum):
    """Whether an event's schedule fires. A paused event can still be run by hand, an archived one cannot."""

    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an event fires: by a 5-field cron expression in UTC, or at a fixed interval. Exactly one of the two."""

    cron: str | None = None
    every: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    A saved definition. Names are unique among events that are not archived.

    `executions` counts the jobs the event has made; once they are `max_executions` (None: unlimited) it makes no more.
    `next_fire_at` is the time its schedule fires next: None while it is not active, or has none. `anchor` is the time
    from which an interval counts. `failure_webhook` is told when a job of the event has failed for good.
    """

    id: EventId
    name: str
    status: EventStatus
    spec: JobSpec
    queue: str
    created_at: datetime
    updated_at: datetime
    anchor: datetime
    description: str | None = None
    schedule: Schedule | None = None
    max_executions: int | None = None
    failure_webhook: str | None = None
    executions: int = 0
    next_fire_at: datetime | None = None
