"""Why a job is where it is: its journal, told in sentences. Pure, and made from the documents that the API answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.jobs.why_advice import advise
from orchestrator.jobs.why_images import with_image
from orchestrator.jobs.why_now import Others, stand
from orchestrator.jobs.why_packages import with_packages
from orchestrator.jobs.why_warm import with_warmth
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
    plain,
    read_entry,
    seconds_in,
    span,
    stopped,
    text_of,
    time_in,
    time_of,
    who_is,
    whose_places,
)
from orchestrator.model.jobs import JobStatus, TriggerKind
from orchestrator.model.journal import EntryKind

LATE = timedelta(seconds=2)  # a schedule that fires sooner than this is on time
SHOWN = 5  # of the ids in one sentence
NOW, ADVICE = "now", "advice"  # kinds of sentences that no entry of the journal stands behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """`kind` is that of the journal's entry, `now` or `advice`; `at` is None for what no moment belongs to."""

    kind: str
    text: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """An entry to be told, with the job it is about and the entries before it."""

    job: Document
    past: Past
    entry: Entry


def tell(job: Document, journal: Sequence[Document], *, now: datetime, others: Others | None = None) -> list[Sentence]:
    """
    Say what happened to a job in the order in which it did, then where it stands, then what can be done.

    `journal` is all of its entries. A kind of entry that is not known here is shown with its data. The texts hold what
    people and scripts wrote, unescaped.
    """
    entries: list[Entry] = []
    told: list[Sentence] = []
    for entry in map(read_entry, journal):
        teller = _TELLERS.get(entry.kind, _unknown)
        told.append(_sentence(entry.kind, teller(_Moment(job=job, past=entries, entry=entry)), entry.at))
        entries.append(entry)
    if not any(entry.kind == EntryKind.QUEUED for entry in entries):  # a step that never ran has no journal of its own
        told.insert(0, _sentence(EntryKind.QUEUED, _origin(job, None), time_in(job, "created_at")))
    standing = stand(job, entries, now=now, others=others)
    if standing is not None:
        told.append(_sentence(NOW, standing))
    elif latest(entries, _ENDS) is None:
        ended_at = time_in(job, "finished_at")
        told.append(_sentence(EntryKind.FINISHED, _ending(entries, job, ended_at), ended_at))
    advice = None if latest(entries, (EntryKind.REQUEUED,)) else advise(job)
    return [*told, _sentence(ADVICE, advice)] if advice else told


def _queued(moment: _Moment) -> str:
    if not any(earlier.kind == EntryKind.QUEUED for earlier in moment.past):
        return _origin(moment.job, moment.entry.by)
    why = text_of(moment.entry.data, "message") or "It waits for another attempt."
    return f"{who_is(moment.entry.by)} gave it back to the queue: {why}"


def _origin(job: Document, by: str | None) -> str:
    """Who wanted the job, and what for."""
    trigger, step, run = text_of(job, "trigger"), text_of(job, "step"), text_of(job, "run_id")
    executor = text_of(job, "executor")
    place = f", to run with the {executor} executor" if executor else ""
    if isinstance(priority := job.get("priority"), int) and priority:
        place += f" and with priority {priority}"
    who = "It was queued" if by is None else f"{who_is(by)} queued it"
    if step is not None and run is not None:
        return f"{who} as the step {step!r} of the run {run}{place}."
    what_for = _TRIGGERS.get(trigger or "", f" (trigger {trigger})" if trigger else "")
    return f"{who}{what_for}{_due(job)}{_event(job)}{place}."


def _due(job: Document) -> str:
    """The time a schedule fired for, and how much later it did."""
    due = time_in(job, "scheduled_at")
    if due is None:
        return ""
    late = between(due, time_in(job, "created_at")) or timedelta()
    text = f" at {due.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{text}, {span(late)} late" if late >= LATE else text


def _event(job: Document) -> str:
    event, name = text_of(job, "event_id"), text_of(job, "name")
    if event is None:
        return ""
    return f", for the event {event}" if name is None else f", for the event {name!r} ({event})"


_TRIGGERS: Mapping[str, str] = {
    TriggerKind.MANUAL: " by hand",
    TriggerKind.SCHEDULE: " because its schedule was due",
    TriggerKind.WEBHOOK: " because its webhook was called",
    TriggerKind.EVENT: " because another event's job ended",
    TriggerKind.WORKFLOW: " for a workflow",
    TriggerKind.API: " over the API",
}


def _held(moment: _Moment) -> str:
    """Why it could not be claimed, and because of whom."""
    data = moment.entry.data
    limit, jobs = data.get("limit"), data.get("under_way")
    count = many(limit, "job", "jobs") if isinstance(limit, int) else "so many jobs"
    text = f"It was held back: under {whose_places(text_of(data, 'key'))} no more than {count} may be under way"
    named = [job for job in jobs if isinstance(job, str)] if isinstance(jobs, list) else []
    if not named:
        return f"{text}, and others waited already."
    rest = len(named) - SHOWN
    shown = [*named[:SHOWN], *([f"{rest} more"] if rest > 0 else [])]
    return f"{text}, and {listed(shown)} {'was' if len(named) == 1 else 'were'}."


def _admitted(moment: _Moment) -> str:
    return f"It was admitted{_after(moment, (EntryKind.HELD,))}: there was a place for it."


def _replaced(moment: _Moment) -> str:
    new = text_of(moment.entry.data, "job_id")
    return f"{f'The job {new}' if new else 'A newer job'} of the same concurrency key takes its place: it is to end."


def _claimed(moment: _Moment) -> str:
    attempt, waited = _shown(moment.entry.data, "attempt"), _after(moment, WAITS)
    return f"{who_is(moment.entry.by)} claimed it for attempt {attempt}{waited and f'{waited} in the queue'}."


def _adopted(moment: _Moment) -> str:
    who, before = who_is(moment.entry.by), latest(moment.past, SUPERVISES)
    if before is None:
        return f"{who} took it over."
    if before.by == moment.entry.by:
        return f"{who} took it up again: nobody there supervised it any more."
    silence = between(before.at, moment.entry.at)
    heard = f", whose last entry here was {span(silence)} earlier," if silence is not None else ""
    return f"{who} took it over: {lower_first(who_is(before.by))}{heard} had died, was stopped or lost the store."


def _started(moment: _Moment) -> str:
    took = between(time_of(latest(moment.past, (EntryKind.CLAIMED,))), moment.entry.at)
    return (
        f"Its script was started{with_image(moment.entry.data)}{with_packages(moment.entry.data)}{with_warmth(moment.entry.data)}"
        + (f"; setting it up took {span(took)}." if took is not None else ".")
    )


def _retrying(moment: _Moment) -> str:
    """Which attempt failed after what time and why, and when the next one follows."""
    data = moment.entry.data
    attempt, of, policy = data.get("attempt"), data.get("of"), data.get("policy")
    failed = f"Attempt {_shown(data, 'attempt')}" + (f" of {of}" if isinstance(of, int) else "")
    failed += f" failed{_after(moment, (EntryKind.STARTED,))}"
    why = _because(data)
    following = f"attempt {attempt + 1}" if isinstance(attempt, int) else "another attempt"
    delay = seconds_in(data, "delay_seconds")
    wait = f" after a delay of {span(delay)}" if delay is not None else ""
    rule = f" ({plain(policy)})" if policy else ""
    return f"{stopped(f'{failed}: {why}' if why else failed)} By its retry policy{rule} {following} follows{wait}."


def _requeued(moment: _Moment) -> str:
    """The job itself stays as it is: another one runs instead."""
    who, new = who_is(moment.entry.by), text_of(moment.entry.data, "job_id")
    if new is None:
        return f"{who} had it queued again.{_rest(moment.entry)}"
    return f"{who} had it queued again, as the job {new}; `cronium why {new}` goes on from there."


def _skipped(moment: _Moment) -> str:
    why = _because(moment.entry.data)
    return f"It was skipped: {why}" if why else f"It was skipped.{_rest(moment.entry)}"


def _cancel_requested(moment: _Moment) -> str:
    return f"{who_is(moment.entry.by)} asked for its end."


def _secrets_printed(moment: _Moment) -> str:
    names = moment.entry.data.get("secrets")
    named = listed([str(name) for name in names]) if isinstance(names, list) and names else "a secret"
    return f"Its script printed what the log must not show: {named}. The log has *** there."


def _finished(moment: _Moment) -> str:
    return _ending(moment.past, moment.entry.data, moment.entry.at)


def _unknown(moment: _Moment) -> str:
    return f"{moment.entry.kind}, by {lower_first(who_is(moment.entry.by))}.{_rest(moment.entry)}"


_SKIPPED = "skipped"
_TELLERS: Mapping[str, Callable[[_Moment], str]] = {
    EntryKind.QUEUED: _queued,
    EntryKind.HELD: _held,
    EntryKind.ADMITTED: _admitted,
    EntryKind.REPLACED: _replaced,
    EntryKind.CLAIMED: _claimed,
    EntryKind.ADOPTED: _adopted,
    EntryKind.STARTED: _started,
    EntryKind.RETRYING: _retrying,
    EntryKind.REQUEUED: _requeued,
    EntryKind.CANCEL_REQUESTED: _cancel_requested,
    EntryKind.SECRETS_PRINTED: _secrets_printed,
    EntryKind.FINISHED: _finished,
    _SKIPPED: _skipped,
}
_ENDS = (EntryKind.FINISHED, _SKIPPED)
_ENDINGS: Mapping[str, str] = {
    JobStatus.SUCCEEDED: "It succeeded",
    JobStatus.FAILED: "It failed",
    JobStatus.TIMED_OUT: "It timed out",
    JobStatus.CANCELLED: "It was cancelled",
    JobStatus.SKIPPED: "It was skipped",
}


def _ending(past: Past, data: Document, at: datetime | None) -> str:
    """How it ended and why; `data` is what the journal or the job itself says of the end."""
    status = text_of(data, "status") or "unknown"
    text = _ENDINGS.get(status, f"It ended ({status})")
    begun = latest(past, (EntryKind.STARTED, *WAITS))
    if begun is not None and begun.kind == EntryKind.STARTED:
        attempt, took = data.get("attempt"), between(begun.at, at)
        text += f" in attempt {attempt}," if isinstance(attempt, int) and attempt > 1 else ""
        text += f" {span(took)} after its script was started" if took is not None else " after its script was started"
    elif status == JobStatus.CANCELLED:
        text += " before its script was started"
    why = None if status == JobStatus.CANCELLED else _because(data)
    return f"{text}: {why.removeprefix('Skipped: ')}" if why else text


def _because(data: Document) -> str | None:
    """The reason in words where there are some."""
    reason = text_of(data, "reason")
    return text_of(data, "message") or (f"the reason is {reason}" if reason else None)


def _after(moment: _Moment, kinds: Sequence[str]) -> str:
    took = between(time_of(latest(moment.past, kinds)), moment.entry.at)
    return f" after {span(took)}" if took is not None else ""


def _sentence(kind: str, text: str, at: datetime | None = None) -> Sentence:
    return Sentence(kind=kind, text=stopped(text), at=at)


def _rest(entry: Entry) -> str:
    return f" {plain(dict(entry.data))}" if entry.data else ""


def _shown(data: Document, key: str) -> str:
    return plain(data[key]) if data.get(key) is not None else "?"
