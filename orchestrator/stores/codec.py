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

import orjson

from orchestrator.errors import InvalidError
from orchestrator.model.json import Json
from orchestrator.model.logs import Cursor, Position

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
