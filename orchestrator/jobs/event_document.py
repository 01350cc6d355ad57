"""Read an event as people write it: a job specification, and when to run it, how often, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

from orchestrator.errors import InvalidError
from orchestrator.jobs.faults import Reading, kind_of
from orchestrator.jobs.quantities import parse_duration
from orchestrator.jobs.schedule import parse_cron
from orchestrator.jobs.spec_document import EVENT_KEYS, read_spec
from orchestrator.jobs.spec_values import read_text
from orchestrator.model.events import Schedule
from orchestrator.model.json import Json
from orchestrator.model.specs import JobSpec, Language, Script

ValueT = TypeVar("ValueT")

NO_SPEC = JobSpec(script=Script(language=Language.SHELL))
SHORTEST = timedelta(seconds=1)
MAX_DESCRIPTION = 10_000
MAX_URL = 2000
EXECUTIONS = range(1, 2**31)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWish:
    """An event as somebody wants it. Its spec has a name."""

    name: str
    spec: JobSpec
    description: str | None = None
    schedule: Schedule | None = None
    max_executions: int | None = None
    failure_webhook: str | None = None


def parse_event(document: Json) -> EventWish:
    """
    Read an event. Raises `InvalidError` with every fault.

    `schedule` is a cron expression in UTC, or `{cron: ...}`, or `{every: 15m}`; `notify` is `{failure: {webhook: URL}}`.
    """
    reading = Reading(of_event=True)
    wish = _read(document, reading)
    if wish is None or reading.problems:
        faults = tuple(problem.fault() for problem in reading.problems)
        raise InvalidError(f"The event has {len(faults)} fault{'s' if len(faults) > 1 else ''}.", faults=faults)
    return wish


def _read(document: Json, reading: Reading) -> EventWish | None:
    if not isinstance(document, dict):
        reading.wrong(f"Must be a mapping such as {{name: ..., bash: ...}}, not {kind_of(document)}.")
        return None
    spec = read_spec({key: value for key, value in document.items() if key not in EVENT_KEYS}, reading)
    if "name" not in document:
        reading.wrong("An event needs a `name`: that is how it is found.")
    elif spec is not None and (spec.name or "").startswith("evt_"):
        reading.at("name").wrong("Must not begin with `evt_`: that is how ids begin.")
    wish = EventWish(
        name="" if spec is None else spec.name or "",
        spec=spec or NO_SPEC,
        description=_value(document, "description", reading, _description),
        schedule=_value(document, "schedule", reading, _schedule),
        max_executions=_value(document, "max_executions", reading, _executions),
        failure_webhook=_value(document, "notify", reading, _failure_webhook),
    )
    return None if spec is None else wish


def _value(
    document: Mapping[str, Json], key: str, reading: Reading, read: Callable[[Json, Reading], ValueT | None]
) -> ValueT | None:
    return read(document[key], reading.at(key)) if key in document else None


def _description(value: Json, reading: Reading) -> str | None:
    text = read_text(value, reading)
    if text is not None and len(text) > MAX_DESCRIPTION:
        reading.wrong(f"Must be at most {MAX_DESCRIPTION} characters.")
    return text


def _executions(value: Json, reading: Reading) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value in EXECUTIONS:
        return value
    reading.wrong("Must be a whole number from 1 on: how many jobs the event makes before it stops.")
    return None


def _schedule(value: Json, reading: Reading) -> Schedule | None:
    if isinstance(value, str):
        return _cron(value, reading)
    if not isinstance(value, dict) or len(value) != 1 or not set(value) <= {"cron", "every"}:
        reading.wrong("Must be a cron expression such as `30 2 * * *` (UTC), `{cron: ...}` or `{every: 15m}`.")
        return None
    if "cron" in value:
        return _cron(value["cron"], reading.at("cron"))
    return _every(value["every"], reading.at("every"))


def _cron(value: Json, reading: Reading) -> Schedule | None:
    if not isinstance(value, str):
        reading.wrong(f"Must be a cron expression such as `30 2 * * *`, not {kind_of(value)}.")
        return None
    try:
        return Schedule(cron=parse_cron(value))
    except InvalidError as error:
        reading.wrong(error.message)
        return None


def _every(value: Json, reading: Reading) -> Schedule | None:
    try:
        every = parse_duration(value)
    except InvalidError as error:
        reading.wrong(error.message)
        return None
    if every < SHORTEST:
        reading.wrong("Must be 1 s or longer.")
    return Schedule(every=every)


def _failure_webhook(value: Json, reading: Reading) -> str | None:
    """`{failure: {webhook: URL}}`."""
    for key in ("failure", "webhook"):
        if not isinstance(value, dict) or set(value) != {key}:
            reading.wrong("Must be `{failure: {webhook: URL}}`: who is told when a job has failed for good.")
            return None
        value, reading = value[key], reading.at(key)
    if isinstance(value, str) and len(value) <= MAX_URL and _is_url(value):
        return value
    reading.wrong("Must be an address such as `https://example.org/hook`, without a user and without a fragment.")
    return None


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        named = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and " " not in text
    return bool(named) and plain and parts.scheme in ("http", "https") and not (parts.fragment or "@" in parts.netloc)
