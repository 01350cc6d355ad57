"""Durations and sizes as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
MAX_DURATION = timedelta(days=366)
MAX_TEXT = 40

UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
MAX_BYTES = 2**53


def parse_duration(value: Json) -> timedelta:
    """
    A duration from a number of seconds or from text such as `90s`, `5m`, `2h`, `1d`, `1h30m`, `500ms`.

    Raises `InvalidError` for anything else, for zero and below, and beyond 366 days.
    """
    seconds = _seconds(value)
    if seconds is None:
        raise InvalidError("Must be a number of seconds or a duration such as `90s`, `5m`, `2h`, `1h30m`.")
    if not 0.001 <= seconds <= MAX_DURATION.total_seconds():
        raise InvalidError("Must be longer than 0 and at most 366 days.")
    return timedelta(seconds=seconds)


def _seconds(value: Json) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return None
    text = value.strip().lower()
    if NUMBER.fullmatch(text):
        return float(text)
    if not DURATION.fullmatch(text):
        return None
    return sum(float(count) * SECONDS[unit] for count, unit in DURATION_PART.findall(text))


def parse_size(value: Json) -> int:
    """
    A size in bytes from a number of bytes or from text such as `512MB`, `1GiB`, `64k`.

    Units are powers of 1024 with and without the `i`, as Docker reads them. Raises `InvalidError` for anything else.
    """
    size: float | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and len(value) <= MAX_TEXT:
        match = SIZE.fullmatch(value.strip())
        if match is not None:
            size = float(match[1]) * 1024 ** UNITS[match[2].lower()]
    if size is None or size > MAX_BYTES:
        raise InvalidError("Must be a number of bytes or a size such as `512MB` or `1GiB`.")
    return int(size)
