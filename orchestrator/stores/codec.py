"""
Values to what a database keeps - text, integers, JSON documents - and back, without loss. Pure.

What cannot come back equal is refused with `InvalidError`: lone surrogates, NaN and infinities, integers outside
-2^63 .. 2^64-1, values nested deeper than 250 levels, and anything that is not JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from orchestrator.errors import InvalidError
from orchestrator.model.json import Json
from orchestrator.model.logs import Cursor, Position
from orchestrator.model.specs import Backoff, ExecutorKind, JobSpec, Language, Limits, PullPolicy, RetryPolicy, Script

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MAX_DEPTH = 250
_PASSTHROUGH = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_CURSOR = re.compile(r"n([0-9]{1,18})", re.ASCII)


def micros(at: datetime) -> int:
    """An aware time as microseconds since 1970 UTC, exactly."""
    return (at - EPOCH) // MICROSECOND


def moment(microseconds: int) -> datetime:
    """The inverse of `micros`, in UTC."""
    return EPOCH + timedelta(microseconds=microseconds)


def micros_or_none(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def moment_or_none(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else moment(microseconds)


def span(length: timedelta) -> int:
    """A duration in microseconds."""
    return length // MICROSECOND


def pack_text(text: str) -> str:
    r"""
    Text without NUL, which not every database keeps: a NUL becomes `\0`, a backslash is doubled.

    Raises `InvalidError` for lone surrogates.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidError(f"A text is not valid Unicode: it holds a lone surrogate ({error}).") from error
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def unpack_text(packed: str) -> str:
    """The inverse of `pack_text`."""
    if "\\" not in packed:
        return packed
    return "\\".join(part.replace("\\0", "\0") for part in packed.split("\\\\"))


def pack_or_none(text: str | None) -> str | None:
    return None if text is None else pack_text(text)


def unpack_or_none(packed: str | None) -> str | None:
    return None if packed is None else unpack_text(packed)


def to_json(value: Json | Mapping[str, Json]) -> str:
    """A JSON document, with object keys in order. Raises `InvalidError` for what would not come back equal."""
    plain = dict(value) if isinstance(value, Mapping) else value
    try:
        document = orjson.dumps(plain, option=_PASSTHROUGH)
    except TypeError as error:
        raise InvalidError(
            f"A value cannot be kept as JSON: {error}. Integers must lie between -2^63 and 2^64-1, text must be valid "
            f"Unicode without lone surrogates, and nesting must not be deeper than {MAX_DEPTH} levels."
        ) from error
    if b"null" in document:  # what orjson makes of NaN and infinities
        _refuse_not_finite(plain)
    return document.decode()


def from_json(document: str) -> Json:
    """The inverse of `to_json`."""
    value: Json = orjson.loads(document)
    return value


def object_from_json(document: str) -> dict[str, Json]:
    """The inverse of `to_json` where an object was stored."""
    value: dict[str, Json] = orjson.loads(document)
    return value


def _refuse_not_finite(value: object) -> None:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, float) and not math.isfinite(part):
            raise InvalidError(f"A value cannot be kept as JSON: {part} is not a finite number; use null or a string.")
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)


def job_document(spec: JobSpec, input_: Json) -> str:
    """What a job runs and its input, as one document."""
    return to_json({"spec": _spec_fields(spec), "input": input_})


def parse_job_document(document: str) -> tuple[JobSpec, Json]:
    """The inverse of `job_document`."""
    fields = orjson.loads(document)
    return _parse_spec(fields["spec"]), fields["input"]


def _spec_fields(spec: JobSpec) -> dict[str, Json]:
    script, limits = spec.script, spec.limits
    return {
        "script": {
            "language": script.language.value,
            "text": script.text,
            "file": script.file,
            "module": script.module,
        },
        "name": spec.name,
        "executor": None if spec.executor is None else spec.executor.value,
        "image": spec.image,
        "pull": spec.pull.value,
        "network": spec.network,
        "args": list(spec.args),
        "workdir": spec.workdir,
        "input": spec.input,
        "env": dict(spec.env),
        "timeout_us": span(spec.timeout),
        "setup_timeout_us": None if spec.setup_timeout is None else span(spec.setup_timeout),
        "queue_timeout_us": None if spec.queue_timeout is None else span(spec.queue_timeout),
        "retry": _retry_fields(spec.retry),
        "priority": spec.priority,
        "limits": {"memory_bytes": limits.memory_bytes, "pids": limits.pids, "cpus": limits.cpus},
    }


def _retry_fields(policy: RetryPolicy) -> dict[str, Json]:
    return {
        "attempts": policy.attempts,
        "backoff": policy.backoff.value,
        "delay_us": span(policy.delay),
        "max_delay_us": span(policy.max_delay),
        "jitter": policy.jitter,
        "exit_codes": None if policy.exit_codes is None else [*sorted(policy.exit_codes)],
        "reasons": None if policy.reasons is None else [*sorted(policy.reasons)],
        "on_lost": policy.on_lost,
    }


def _parse_retry(fields: dict[str, Any]) -> RetryPolicy:
    return RetryPolicy(
        attempts=fields["attempts"],
        backoff=Backoff(fields["backoff"]),
        delay=timedelta(microseconds=fields["delay_us"]),
        max_delay=timedelta(microseconds=fields["max_delay_us"]),
        jitter=fields["jitter"],
        exit_codes=None if fields["exit_codes"] is None else frozenset(fields["exit_codes"]),
        reasons=None if fields["reasons"] is None else frozenset(fields["reasons"]),
        on_lost=fields["on_lost"],
    )


def _span_or_none(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)


def _parse_spec(fields: dict[str, Any]) -> JobSpec:
    script = fields["script"]
    return JobSpec(
        script=Script(
            language=Language(script["language"]), text=script["text"], file=script["file"], module=script["module"]
        ),
        name=fields["name"],
        executor=None if fields["executor"] is None else ExecutorKind(fields["executor"]),
        image=fields["image"],
        pull=PullPolicy(fields["pull"]),
        network=fields["network"],
        args=tuple(fields["args"]),
        workdir=fields["workdir"],
        input=fields["input"],
        env=fields["env"],
        timeout=timedelta(microseconds=fields["timeout_us"]),
        setup_timeout=_span_or_none(fields["setup_timeout_us"]),
        queue_timeout=_span_or_none(fields["queue_timeout_us"]),
        retry=_parse_retry(fields["retry"]),
        priority=fields["priority"],
        limits=Limits(**fields["limits"]),
    )


def cursor_document(cursor: Cursor) -> str:
    """A cursor as `[[bytes, newlines, tail], [...]]`: stdout, stderr."""
    return to_json([[part.bytes, part.newlines, part.tail] for part in (cursor.stdout, cursor.stderr)])


def parse_cursor(document: str | None) -> Cursor:
    """The inverse of `cursor_document`; the start where nothing was stored."""
    if document is None:
        return Cursor()
    stdout, stderr = (Position(bytes=part[0], newlines=part[1], tail=part[2]) for part in orjson.loads(document))
    return Cursor(stdout=stdout, stderr=stderr)


def page_cursor(number: int) -> str:
    """The cursor of the page that goes on below row `number`."""
    return f"n{number}"


def parse_page_cursor(cursor: str) -> int:
    """The inverse of `page_cursor`. Raises `InvalidError`."""
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidError(
            f"{cursor!r} is not a cursor of this list; pass on `next_cursor` as it came, or start without one.",
            code="cursor_invalid",
        )
    return int(match[1])
