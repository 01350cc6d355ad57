"""The pieces of what `cronium why` says: a journal entry as the API answers it, and words for who and how long."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.model.journal import EntryKind
from orchestrator.model.json import Json

Document = Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A journal entry; `at` is None where its time cannot be read."""

    kind: str
    by: str
    data: Document
    at: datetime | None


Past = Sequence[Entry]
SUPERVISES = (EntryKind.CLAIMED, EntryKind.ADOPTED, EntryKind.STARTED)
WAITS = (EntryKind.QUEUED, EntryKind.ADMITTED, EntryKind.RETRYING)  # what a wait for a slot begins with


def read_entry(document: Document) -> Entry:
    data = document.get("data")
    return Entry(
        kind=text_of(document, "kind") or "unknown",
        by=text_of(document, "by") or "somebody",
        data=data if isinstance(data, dict) else {},
        at=time_in(document, "ts"),
    )


def who_is(by: str) -> str:
    """Who wrote an entry, to begin a sentence with: a server is `instance:host:pid:random`."""
    kind, _, name = by.partition(":")
    if kind in _CALLERS and name:  # first: people choose names, and may choose one that looks like a server's
        return f"{_CALLERS[kind]} {name!r}"
    parts = by.split(":")
    if len(parts) == 4 and parts[2].isdigit():
        return f"The server on {parts[1]} (process {parts[2]})"
    return "Cronium" if by in ("engine", "schedule") else repr(by)


_CONCURRENCY_KEY = re.compile(r".*?/(?P<kind>key|event):(?P<name>.*)", re.DOTALL)
_CALLERS = {"token": "The token", "cli": "The user"}


def whose_places(key: str | None) -> str:
    """What a concurrency key (`queue/key:deploy`, `queue/event:evt_1`) stands for: the key people chose, or the event."""
    found = _CONCURRENCY_KEY.fullmatch(key or "")
    if found is None:
        return "its concurrency key"
    return "its event" if found["kind"] == "event" else f"the concurrency key {found['name']!r}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def many(count: int, one: str, more: str) -> str:
    return f"1 {one}" if count == 1 else f"{count or 'no'} {more}"


def lower_first(who: str) -> str:
    return f"the {who[4:]}" if who.startswith("The ") else who


def span(length: timedelta) -> str:
    """A length of time in two units at most: `340 ms`, `12.3 s`, `4 min 5 s`, `2 h 7 min`, `3 d 4 h`."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, part, rest in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {rest}"
    return f"{whole} s"


def between(begin: datetime | None, end: datetime | None) -> timedelta | None:
    """Never negative: two machines' clocks may differ."""
    return None if begin is None or end is None else max(timedelta(), end - begin)


def latest(entries: Past, kinds: Sequence[str]) -> Entry | None:
    return next((entry for entry in reversed(entries) if entry.kind in kinds), None)


def time_of(entry: Entry | None) -> datetime | None:
    return None if entry is None else entry.at


def stopped(text: str) -> str:
    return text if not text or text[-1] in ".!?" else f"{text}."


def plain(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def text_of(document: Document, key: str) -> str | None:
    value = document.get(key)
    return value if isinstance(value, str) else None


def time_in(document: Document, key: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text_of(document, key) or "")
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def seconds_in(document: Document, key: str) -> timedelta | None:
    value = document.get(key)
    try:
        return timedelta(seconds=value) if isinstance(value, int | float) else None
    except (OverflowError, ValueError):
        return None
