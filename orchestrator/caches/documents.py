"""What goes into a cache and comes back: JSON documents, texts, integers and spans of time. Pure."""

from __future__ import annotations

import math
import re
from datetime import timedelta

import orjson

from orchestrator.caches.errors import overflow, wrong_kind
from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

MICROSECOND = timedelta(microseconds=1)
MILLISECOND = timedelta(milliseconds=1)
INT64 = range(-(2**63), 2**63)
COUNTS = range(-(2**53) + 1, 2**53)  # what a Lua number, in which the other side adds up, holds exactly
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")


def pack(value: Json) -> bytes:
    """The value as a document. Raises `InvalidError` for what would not come back equal."""
    try:
        document = orjson.dumps(value, option=_OPTIONS)
    except TypeError as error:
        raise InvalidError(f"A value cannot be cached, because it is not JSON: {error}.") from error
    if b"null" in document:  # what orjson makes of NaN and infinities
        _refuse_not_finite(value)
    return document


def unpack(document: bytes, key: str) -> Json:
    """The inverse of `pack`. Raises `ConflictError` when somebody else wrote to `key` what is no document."""
    try:
        value: Json = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise wrong_kind(key) from error
    return value


def integer(document: bytes, key: str) -> int:
    """The integer of 64 bits that `document` is; `ConflictError` if it is something else."""
    if not _INTEGER.fullmatch(document) or int(document) not in INT64:
        raise wrong_kind(key)
    return int(document)


def addend(by: int, key: str, allowed: range = INT64) -> int:
    """`by`, if it fits at all."""
    if by not in allowed:
        raise overflow(key)
    return by


def text(value: str) -> str:
    """A key, field, name or channel, if it can be encoded; else `InvalidError`."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidError(f"{value!r} is not valid Unicode: it holds a lone surrogate.") from error
    return value


def milliseconds(length: timedelta) -> int:
    """A span in whole milliseconds, rounded up; 0 or less for one that is over before it begins."""
    return -(-(length // MICROSECOND) // 1000)


def span(milliseconds: int) -> timedelta:
    """The inverse of `milliseconds`, as far as a `timedelta` reaches."""
    return min(milliseconds, timedelta.max // MILLISECOND) * MILLISECOND


def lifetime(ttl: timedelta) -> int:
    """A `ttl` in milliseconds. Raises `InvalidError` unless it is longer than nothing."""
    if ttl <= timedelta():
        raise InvalidError(f"What is cached must be kept for longer than nothing, not for {ttl}.")
    return milliseconds(ttl)


def at_least_one(number: int, name: str) -> int:
    if number < 1:
        raise InvalidError(f"{name} must be at least 1, not {number}.")
    return number


def _refuse_not_finite(value: object) -> None:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, float) and not math.isfinite(part):
            raise InvalidError(f"A value cannot be cached: {part} is not a finite number; use null or a string.")
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
