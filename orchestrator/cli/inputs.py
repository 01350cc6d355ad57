"""The values of `--input`: `k=v`, `@file` or a JSON text, made into one JSON value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

FORMS = "use name=value, @file.json or a JSON text"


def parse_inputs(values: Sequence[str]) -> Json:
    """
    One value from all `--input` options; None without any.

    `k=v` sets a key: `v` is JSON if it parses as JSON, else text. `@file` is a file of JSON, anything else a JSON text.
    Objects and keys are merged from left to right, the last one wins; a value that is no object stands alone.
    Raises `InvalidError`.
    """
    parts = [_parse(value) for value in values]
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    merged: dict[str, Json] = {}
    for value, part in zip(values, parts, strict=True):
        if not isinstance(part, dict):
            raise InvalidError(f"--input {_short(value)} is not an object: it cannot be joined with another --input.")
        merged.update(part)
    return merged


def _parse(value: str) -> Json:
    if value.startswith("@"):
        return _read(value[1:])
    try:
        return load_json(value)
    except ValueError as error:
        key, sign, text = value.partition("=")
        if not sign or not key or key[0] in '{["':
            raise InvalidError(f"--input {_short(value)} is not understood ({error}): {FORMS}.") from error
    return {key: _value(text)}


def _value(text: str) -> Json:
    try:
        return load_json(text)
    except ValueError:
        return text


def _read(name: str) -> Json:
    try:
        return load_json(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError(f"--input @{name} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidError(f"--input @{name} is not JSON: {error}.") from error


def load_json(text: str) -> Json:
    """Parse strict JSON (no NaN, no Infinity). Raises `ValueError` saying where it is wrong."""
    try:
        value: Json = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _short(value: str) -> str:
    shown = value if len(value) <= 60 else value[:57] + "..."
    return repr(shown)
