"""Where a job that has not ended stands: what it waits for, or who supervises it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.jobs.why_words import (
    SUPERVISES,
    WAITS,
    Document,
    Entry,
    Past,
    between,
    latest,
    listed,
    lower_first,
    many,
    seconds_in,
    span,
    text_of,
    time_in,
    time_of,
    who_is,
    whose_places,
)
from orchestrator.model.jobs import JobStatus
from orchestrator.model.journal import EntryKind

MANY_HOLDERS = 5
IDLE = timedelta(seconds=30)  # a free slot is filled within seconds: who waits longer with nobody ahead waits in vain


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Jobs as the server lists them, newest first; not `whole` where there are more than were asked for."""

    queued: Sequence[Document]
    running: Sequence[Document]
    whole: bool = True


def stand(job: Document, entries: Past, *, now: datetime, others: Others | None) -> str | None:
    """Where it stands, in a sentence or two; None for a job that has ended. Without `others`, not behind whom it waits."""
    match text_of(job, "status"):
        case JobStatus.QUEUED if job.get("held") is True:
            return _held(job, entries, now, others)
        case JobStatus.QUEUED:
            return _waiting(job, entries, now, others)
        case JobStatus.RUNNING:
            return _working(job, entries, now)
        case _:
            return None


def _held(job: Document, entries: Past, now: datetime, others: Others | None) -> str:
    """Who has the places under its concurrency key, and who waits for one before it."""
    since = time_of(latest(entries, (EntryKind.HELD,))) or time_in(job, "created_at")
    places = whose_places(text_of(job, "concurrency_key"))
    text = f"It has been waiting for a place under {places} for {_so_far(since, now)}."
    if others is None:
        return text
    alike = [other for other in (*others.running, *others.queued) if _is_alike(job, other)]
    holders = [other for other in alike if other.get("held") is not True]
    ahead = _count_ahead(job, [other for other in alike if other.get("held") is True])
    before = f" {many(ahead, 'job waits', 'jobs wait')} for one before it." if ahead else ""
    if holders:
        return f"{text} {_holding(holders, now)}.{before} It goes on by itself when there is a place."
    if others.whole:
        return f"{text}{before} No job has one any more: it goes on within seconds, if a server runs."
    return f"{text}{before}"


def _is_alike(job: Document, other: Document) -> bool:
    key = text_of(job, "concurrency_key")
    return key is not None and text_of(other, "concurrency_key") == key


def _holding(holders: Sequence[Document], now: datetime) -> str:
    """The oldest first: it is the one to look at."""
    oldest = sorted(holders, key=lambda holder: text_of(holder, "created_at") or "")
    named = [_holder(holder, now) for holder in oldest[:MANY_HOLDERS]]
    more = len(oldest) - len(named)
    named += [many(more, "more", "more")] if more else []
    return f"{listed(named)} {'has it' if len(oldest) == 1 else 'have them'}"


def _holder(holder: Document, now: datetime) -> str:
    since = time_in(holder, "started_at") or time_in(holder, "created_at")
    name, status = text_of(holder, "name"), text_of(holder, "status")
    return f"{text_of(holder, 'id')} ({f'{name}, ' if name else ''}{status} for {_so_far(since, now)})"


def _waiting(job: Document, entries: Past, now: datetime, others: Others | None) -> str:
    last = latest(entries, WAITS)
    due = _due(last)
    if due is not None and due > now:
        return f"It waits for its next attempt, due in {span(due - now)}."
    waits = between(due or time_of(last) or time_in(job, "created_at"), now) or timedelta()
    text = f"It has been waiting for a slot for {span(waits)}."
    return f"{text} {_line_up(job, others, waits)}" if others is not None else text


def _due(entry: Entry | None) -> datetime | None:
    """When the attempt is due that an entry announces."""
    if entry is None or entry.kind != EntryKind.RETRYING:
        return None
    delay = seconds_in(entry.data, "delay_seconds")
    return entry.at + delay if delay is not None and entry.at is not None else time_in(entry.data, "next_at")


def _line_up(job: Document, others: Others, waits: timedelta) -> str:
    """Who is served before it. Those that wait for a retry are queued too, and let it pass: hence `at most`."""
    executor = text_of(job, "executor")
    rivals = [other for other in others.queued if text_of(other, "executor") == executor and not other.get("held")]
    ahead = _count_ahead(job, rivals)
    running = sum(text_of(other, "executor") == executor for other in others.running)
    busy = f"{many(running, 'job runs', 'jobs run')} with the {executor} executor"
    if not others.whole:
        return f"Of the newest {len(others.queued)} queued jobs {many(ahead, 'comes', 'come')} before it, and {busy}."
    if ahead:
        return f"At most {many(ahead, 'queued job comes', 'queued jobs come')} before it, and {busy}."
    if running:
        return f"No queued job comes before it, and {busy}: it starts when a slot is free."
    if waits < IDLE:
        return "No queued job comes before it."
    return (
        f"No queued job comes before it and none runs with the {executor} executor: perhaps no server that runs has "
        "slots for it. `cronium doctor` on the server's machine says which executors are in use."
    )


def _count_ahead(job: Document, queued: Sequence[Document]) -> int:
    """Higher priority first, then the older: the list is newest first."""

    def rank(place: int, other: Document) -> tuple[int, str, int]:
        priority = other.get("priority")
        return -(priority if isinstance(priority, int) else 0), text_of(other, "created_at") or "", -place

    own = next((place for place, other in enumerate(queued) if other.get("id") == job.get("id")), 0)
    mine = rank(own, job)
    return sum(other.get("id") != job.get("id") and rank(place, other) < mine for place, other in enumerate(queued))


def _working(job: Document, entries: Past, now: datetime) -> str:
    keeper = latest(entries, SUPERVISES)
    if keeper is None:
        return "A server has just claimed it."
    where = f", supervised by {lower_first(who_is(keeper.by))}"
    begun = time_in(job, "started_at")
    if begun is None:
        at = time_of(latest(entries, (EntryKind.CLAIMED,))) or keeper.at
        text = f"It has been in preparation for {_so_far(at, now)}{where}: files, image, start."
    else:
        text = f"Its script has been running for {_so_far(begun, now)}{where}."
    asked = time_in(job, "cancel_requested_at")
    if asked is None:
        return text
    return (
        f"{text} Its end was asked for {_so_far(asked, now)} ago: the script is told to end, and is killed after a "
        "grace period. If that server is gone, the one that takes over ends it."
    )


def _so_far(begin: datetime | None, now: datetime) -> str:
    return span(between(begin, now) or timedelta())
