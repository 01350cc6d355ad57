"""The filters and tests that expressions may use: plain functions on JSON values, none of which grows without bound."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from operator import itemgetter

from jinja2 import Undefined

from orchestrator.errors import InvalidError
from orchestrator.jobs.faults import kind_of
from orchestrator.model.json import Json
from orchestrator.workflows.bounds import check_length, is_number

MAX_DIGITS = 15  # of `round`: more decimals are not in a float


def _default(value: object, fallback: object = "", boolean: bool = False) -> object:
    """The fallback where the value is not there; with `boolean` also where it is null, false or empty."""
    missing = isinstance(value, Undefined) or (boolean and not value)
    return fallback if missing else value


def _length(value: Json) -> int:
    if not isinstance(value, str | list | dict):
        raise InvalidError(f"`length` needs text, a list or a mapping, not {kind_of(value)}")
    return len(value)


def _lower(value: Json) -> str:
    return _text(value, "lower").lower()


def _upper(value: Json) -> str:
    return _text(value, "upper").upper()


def _trim(value: Json) -> str:
    return _text(value, "trim").strip()


def _replace(value: Json, old: Json, new: Json) -> str:
    text, before, after = _text(value, "replace"), _text(old, "replace"), _text(new, "replace")
    check_length(len(text) + text.count(before) * len(after))
    return text.replace(before, after)


def _split(value: Json, separator: Json = None) -> list[str]:
    return _text(value, "split").split(None if separator is None else _text(separator, "split"))


def _join(value: Json, separator: Json = "") -> str:
    texts, between = [as_text(item) for item in _list(value, "join")], _text(separator, "join")
    check_length(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _first(value: Json) -> Json:
    return _filled(value, "first")[0]


def _last(value: Json) -> Json:
    return _filled(value, "last")[-1]


def _sort(value: Json, reverse: bool = False) -> list[Json]:
    return [item for _, item in sorted(_ranked(value, "sort"), key=itemgetter(0), reverse=bool(reverse))]


def _min(value: Json) -> Json:
    return min(_ranked(_filled(value, "min"), "min"), key=itemgetter(0))[1]


def _max(value: Json) -> Json:
    return max(_ranked(_filled(value, "max"), "max"), key=itemgetter(0))[1]


def _sum(value: Json) -> float:
    return sum(_number(item, "sum") for item in _list(value, "sum"))


def _unique(value: Json) -> list[Json]:
    seen: dict[str, Json] = {}
    for item in _list(value, "unique"):
        seen.setdefault(json.dumps(item, sort_keys=True), item)
    return list(seen.values())


def _reverse(value: Json) -> Json:
    return value[::-1] if isinstance(value, str) else _list(value, "reverse")[::-1]


def _keys(value: Json) -> list[Json]:
    return list(_mapping(value, "keys"))


def _values(value: Json) -> list[Json]:
    return list(_mapping(value, "values").values())


def _map(value: Json, attribute: Json) -> list[Json]:
    """The value of one key of each mapping in a list."""
    key = _text(attribute, "map")
    rows = [_mapping(item, "map") for item in _list(value, "map")]
    if any(key not in row for row in rows):
        raise InvalidError(f"`map` finds no `{key[:60]}` in one of the mappings")
    return [row[key] for row in rows]


def _abs(value: Json) -> float:
    return abs(_number(value, "abs"))


def _round(value: Json, digits: Json = 0) -> float:
    if not isinstance(digits, int) or not 0 <= digits <= MAX_DIGITS:
        raise InvalidError(f"`round` needs a number of digits from 0 to {MAX_DIGITS}")
    number = _number(value, "round")
    return round(number, digits) if digits else math.floor(number + 0.5)


def _int(value: Json) -> int:
    """Towards zero, from a number, a boolean or a text that is a number."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.lstrip("+-").isdecimal() else int(float(text))
    return int(value if isinstance(value, bool) else _number(value, "int"))


def _float(value: Json) -> float:
    return float(value if isinstance(value, str | bool) else _number(value, "float"))


def as_text(value: Json) -> str:
    """A value inside a text: texts as they are, all else as JSON. The caller has weighed it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _tojson(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _fromjson(value: Json) -> Json:
    parsed: Json = json.loads(_text(value, "fromjson"))
    return parsed


def _startswith(value: Json, prefix: Json) -> bool:
    return _text(value, "startswith").startswith(_text(prefix, "startswith"))


def _endswith(value: Json, suffix: Json) -> bool:
    return _text(value, "endswith").endswith(_text(suffix, "endswith"))


def _text(value: Json, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"`{name}` needs text, not {kind_of(value)}; `| string` converts")
    return value


def _number(value: Json, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidError(f"`{name}` needs a number, not {kind_of(value)}; `| int` and `| float` convert")
    return value


def _list(value: Json, name: str) -> list[Json]:
    if not isinstance(value, list):
        raise InvalidError(f"`{name}` needs a list, not {kind_of(value)}")
    return value


def _filled(value: Json, name: str) -> list[Json]:
    items = _list(value, name)
    if not items:
        raise InvalidError(f"`{name}` needs a list that is not empty")
    return items


def _mapping(value: Json, name: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise InvalidError(f"`{name}` needs a mapping, not {kind_of(value)}")
    return value


def _ranked(value: Json, name: str) -> list[tuple[tuple[float, str], Json]]:
    """The items of a list, each with what it is ordered by: all numbers or all texts."""
    items = _list(value, name)
    if all(is_number(item) for item in items):
        return [((item, ""), item) for item in items if is_number(item)]
    if all(isinstance(item, str) for item in items):
        return [((0, item), item) for item in items if isinstance(item, str)]
    raise InvalidError(f"`{name}` needs a list of numbers or a list of texts")


FILTERS: dict[str, Callable[..., object]] = {
    "abs": _abs,
    "default": _default,
    "endswith": _endswith,
    "first": _first,
    "float": _float,
    "fromjson": _fromjson,
    "int": _int,
    "join": _join,
    "keys": _keys,
    "last": _last,
    "length": _length,
    "lower": _lower,
    "map": _map,
    "max": _max,
    "min": _min,
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "sort": _sort,
    "split": _split,
    "startswith": _startswith,
    "string": as_text,
    "sum": _sum,
    "tojson": _tojson,
    "trim": _trim,
    "unique": _unique,
    "upper": _upper,
    "values": _values,
}

TESTS: dict[str, Callable[..., bool]] = {
    "boolean": lambda value: isinstance(value, bool),
    "defined": lambda value: not isinstance(value, Undefined),
    "list": lambda value: isinstance(value, list),
    "mapping": lambda value: isinstance(value, dict),
    "none": lambda value: value is None,
    "null": lambda value: value is None,
    "number": is_number,
    "string": lambda value: isinstance(value, str),
    "undefined": lambda value: isinstance(value, Undefined),
}
TAKE_UNDEFINED = frozenset({"default", "defined", "undefined"})
