"""Read the values of a job specification, each by the rules of its key; what is wrong is noted in the reading."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from orchestrator.errors import InvalidError
from orchestrator.jobs.faults import Reading, kind_of, near, shown
from orchestrator.jobs.quantities import parse_duration, parse_size
from orchestrator.model.json import Json
from orchestrator.model.specs import ExecutorKind, PullPolicy

ValueT = TypeVar("ValueT")
ChoiceT = TypeVar("ChoiceT", bound=StrEnum)

TEMPLATED_KEYS = frozenset({"env", "args", "input", "workdir", "image"})
LATER_EXECUTORS = frozenset({ExecutorKind.SSH})
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED_PREFIX = "CRONIUM_"
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")
NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")

MAX_NAME = 200
MAX_ARGUMENT_BYTES = 131071  # execve(2): MAX_ARG_STRLEN is 128 KiB with the final NUL, also for NAME=value
MAX_INPUT_DEPTH = 100
INTEGERS = range(-(2**63), 2**64)
MIN_MEMORY = 6 * 1024 * 1024  # Docker refuses less
MAX_PIDS = 4194304  # proc(5): PID_MAX_LIMIT
PRIORITIES = range(-1000, 1001)
TIMEOUTS = ("queue", "setup", "execution")


def read_text(value: Json, reading: Reading) -> str | None:
    """Text that a program can be given: not empty, no NUL, encodable."""
    if not isinstance(value, str):
        reading.wrong(f"Must be text, not {kind_of(value)}.")
    elif not value.strip():
        reading.wrong("Must not be empty.")
    elif _is_clean(value, reading):
        return value
    return None


def _is_clean(text: str, reading: Reading) -> bool:
    if "\0" in text:
        reading.wrong("Holds a NUL character, which cannot be passed to a program; remove it.")
    elif LONE_SURROGATE.search(text):
        reading.wrong("Holds half of a surrogate pair, which is not text; remove it.")
    else:
        return True
    return False


def read_name(value: Json, reading: Reading) -> str | None:
    text = read_text(value, reading)
    if text is None:
        return None
    if len(text) > MAX_NAME or CONTROL.search(text):
        reading.wrong(f"Must be one line of at most {MAX_NAME} characters.")
    elif reading.is_open(text):
        reading.wrong(f"Templates are filled in only in {', '.join(sorted(TEMPLATED_KEYS))}; write plain text.")
    return text


def _choice(value: Json, reading: Reading, choices: type[ChoiceT]) -> ChoiceT | None:
    known = [choice.value for choice in choices]
    if isinstance(value, str) and value in known:
        return choices(value)
    hint = near(value, known) if isinstance(value, str) else ""
    reading.wrong(f"Must be one of {', '.join(f'`{one}`' for one in known)}.{hint}")
    return None


def read_executor(value: Json, reading: Reading) -> ExecutorKind | None:
    kind = _choice(value, reading, ExecutorKind)
    if kind in LATER_EXECUTORS:
        reading.wrong(f"`{kind}` is not supported by this version yet; use `process` or `docker`.")
    return kind


def read_pull(value: Json, reading: Reading) -> PullPolicy | None:
    return _choice(value, reading, PullPolicy)


def read_image(value: Json, reading: Reading) -> str | None:
    if reading.is_open(value):
        return None
    if isinstance(value, str) and IMAGE.fullmatch(value):
        return value
    reading.wrong("Must be the name of an image such as `python:3.12-slim`.")
    return None


def read_network(value: Json, reading: Reading) -> str | None:
    if not isinstance(value, str) or not NETWORK.fullmatch(value):
        reading.wrong("Must be `none`, `bridge`, `internal` or the name of a Docker network.")
        return None
    if value == "host":
        reading.wrong("`host` would open the network of the host to the script; use `bridge` or a network of its own.")
    return value


def read_args(value: Json, reading: Reading) -> tuple[str, ...] | None:
    if reading.is_open(value):
        return None
    if not isinstance(value, list):
        reading.wrong(f'Must be a list of texts such as ["--day", "today"], not {kind_of(value)}.')
        return None
    return tuple(_argument(item, reading.at(index)) for index, item in enumerate(value))


def _argument(value: Json, reading: Reading, *, before: str = "") -> str:
    """A text, number or boolean as a program gets it; `before` is passed in the same piece."""
    if value is None or isinstance(value, list | dict):
        reading.wrong(f"Must be text, a number or a boolean, not {kind_of(value)}; pass other data as `input`.")
        return ""
    problem = _scalar_problem(value)
    if problem is not None:
        reading.wrong(problem)
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    if not reading.is_open(text) and _is_clean(text, reading) and len(before) + len(text.encode()) > MAX_ARGUMENT_BYTES:
        reading.wrong("Is longer than the 128 KiB that a program can be given this way; pass it as `input`.")
    return text


def read_workdir(value: Json, reading: Reading) -> str | None:
    if reading.is_open(value):
        return None
    text = read_text(value, reading)
    if text is not None and not text.startswith("/"):
        reading.wrong("Must be an absolute path such as `/srv/data`.")
    return text


def read_env(value: Json, reading: Reading) -> dict[str, str] | None:
    if reading.is_open(value):
        return None
    if not isinstance(value, dict):
        reading.wrong(f"Must be a mapping of names to texts, not {kind_of(value)}.")
        return None
    env = {}
    for name, item in value.items():
        at = reading.at(name)
        if not ENV_NAME.fullmatch(name):
            at.wrong(f"`{shown(name)}` is not a name for a variable: use letters, digits and `_`, no digit first.")
        elif name.startswith(RESERVED_PREFIX):
            at.wrong(f"Names that begin with `{RESERVED_PREFIX}` belong to Cronium; choose another.")
        else:
            env[name] = _argument(item, at, before=f"{name}=")
    return env


def read_input(value: Json, reading: Reading) -> Json:
    """Any JSON value that every reader of JSON understands alike. Walked without recursion: it comes from outside."""
    waiting: list[tuple[Json, tuple[str | int, ...]]] = [(value, ())]
    while waiting:
        item, path = waiting.pop()
        problem = None
        if isinstance(item, list | dict):
            problem = _collection_problem(item, len(path))
            if problem is None:
                pairs = enumerate(item) if isinstance(item, list) else item.items()
                waiting.extend((inner, (*path, key)) for key, inner in pairs)
        else:
            problem = _scalar_problem(item)
        if problem is not None:
            reading.at(*path).wrong(problem)
    return value


def _collection_problem(value: list[Json] | dict[str, Json], depth: int) -> str | None:
    if depth >= MAX_INPUT_DEPTH:
        return f"Is nested more than {MAX_INPUT_DEPTH} deep."
    if isinstance(value, dict) and any(LONE_SURROGATE.search(key) for key in value):
        return "Has a key with half of a surrogate pair, which is not text."
    return None


def _scalar_problem(value: bool | float | str | None) -> str | None:
    if isinstance(value, str) and LONE_SURROGATE.search(value):
        return "Holds half of a surrogate pair, which is not text; remove it."
    if isinstance(value, float) and not math.isfinite(value):
        return "Must be a finite number: JSON has no NaN and no infinity."
    if isinstance(value, int) and value not in INTEGERS:
        return "Does not fit in 64 bits; pass it as text."
    return None


def read_timeout(value: Json, reading: Reading) -> timedelta | None:
    return _quantity(value, reading, parse_duration)


def read_timeouts(value: Json, reading: Reading) -> dict[str, timedelta]:
    """One duration is that of an attempt; a mapping may also bound the wait and the setup."""
    if not isinstance(value, dict):
        one = read_timeout(value, reading)
        return {} if one is None else {"execution": one}
    found = {}
    for key, item in value.items():
        if key not in TIMEOUTS:
            reading.at(shown(key)).wrong(f"Unknown key `{shown(key)}`; the timeouts are {_listed(TIMEOUTS)}.")
        elif (length := read_timeout(item, reading.at(key))) is not None:
            found[key] = length
    return found


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def read_memory(value: Json, reading: Reading) -> int | None:
    size = _quantity(value, reading, parse_size)
    if size is not None and size < MIN_MEMORY:
        reading.wrong("Must be at least `6MB`.")
    return size


def _quantity(value: Json, reading: Reading, parse: Callable[[Json], ValueT]) -> ValueT | None:
    try:
        return parse(value)
    except InvalidError as error:
        reading.wrong(error.message)
        return None


def read_priority(value: Json, reading: Reading) -> int | None:
    return _integer(value, reading, PRIORITIES)


def read_pids(value: Json, reading: Reading) -> int | None:
    return _integer(value, reading, range(1, MAX_PIDS + 1))


def _integer(value: Json, reading: Reading, allowed: range) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value in allowed:
        return value
    reading.wrong(f"Must be a whole number from {allowed[0]} to {allowed[-1]}.")
    return None


def read_cpus(value: Json, reading: Reading) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.01 <= value <= 1024:
        return float(value)
    reading.wrong("Must be a number of cores from 0.01 to 1024; 0.5 is half a core.")
    return None
