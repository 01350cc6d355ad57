"""When a schedule fires. Pure: times in, times out, all of them UTC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice, takewhile

from cronsim import CronSim, CronSimError

from orchestrator.errors import InvalidError
from orchestrator.model.events import Schedule

FIELDS = 5
SHORTCUTS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
START = datetime(2000, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MOST_COUNTED = 1000


def parse_cron(text: str) -> str:
    """
    A cron expression of five fields (minute, hour, day of month, month, day of week) as it is, a shortcut expanded.

    Raises `InvalidError`, also for one that never fires such as `0 0 31 2 *`. See crontab(5).
    """
    expression = SHORTCUTS.get(text.strip().lower(), text.strip())
    fields = expression.split()
    if len(fields) != FIELDS:
        raise InvalidError(
            f"A cron expression has five fields (minute hour day-of-month month day-of-week), not {len(fields)}; "
            f"`30 2 * * *` is every day at 02:30 UTC. Shortcuts are {', '.join(SHORTCUTS)}."
        )
    try:
        next(CronSim(expression, START))
    except CronSimError as error:
        raise InvalidError(f"`{expression}` is not a cron expression: {str(error).lower()}.") from error
    except StopIteration as error:
        raise InvalidError(f"`{expression}` never fires.") from error
    return " ".join(fields)


def fire_times(schedule: Schedule, *, anchor: datetime, after: datetime) -> Iterator[datetime]:
    """The times a schedule fires for, those after `after`, in order; an interval counts from `anchor`."""
    if schedule.every is not None:
        first = max(1, (after - anchor) // schedule.every + 1)
        return (anchor + number * schedule.every for number in count(first))
    return iter(CronSim(schedule.cron or "", after.astimezone(UTC)))


def next_fire(schedule: Schedule, *, anchor: datetime, after: datetime) -> datetime | None:
    """The first time after `after`; None when there is none in the next fifty years."""
    return next(fire_times(schedule, anchor=anchor, after=after), None)


def latest_due(schedule: Schedule, *, anchor: datetime, due: datetime, now: datetime) -> tuple[datetime, int]:
    """
    Of the fire times from `due`, which has come, to `now`: the latest, and how many came before it.

    No more than `MOST_COUNTED` are counted.
    """
    passed = fire_times(schedule, anchor=anchor, after=due)
    missed = sum(1 for _ in islice(takewhile(lambda at: at <= now, passed), MOST_COUNTED))
    if missed == 0:
        return due, 0
    if schedule.every is not None:
        return anchor + ((now - anchor) // schedule.every) * schedule.every, missed
    # Backwards from the first whole second after now: strictly before that is now or earlier.
    until = now.astimezone(UTC).replace(microsecond=0) + SECOND
    return next(CronSim(schedule.cron or "", until, reverse=True)), missed
