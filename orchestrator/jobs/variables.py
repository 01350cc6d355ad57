"""Variables: what may be written, on which condition, and how numbers are added. Each runs in its caller's transaction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import orjson

from orchestrator.contracts.store import Repositories
from orchestrator.errors import ConflictError, InvalidError, LimitExceededError, NotFoundError
from orchestrator.model.json import Json
from orchestrator.model.variables import (
    MAX_DESCRIPTION_CHARS,
    MAX_VALUE_BYTES,
    Variable,
    fault_of_key,
    is_reserved,
)

Number: TypeAlias = "int | float"
LOWEST, HIGHEST = -(2**63), 2**64 - 1  # the whole numbers that the store keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """When a write is carried out: if the variable has this version, and with None if there is no such variable."""

    version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A write was not carried out: the variable has another version (None: there is none)."""

    version: int | None

    def sentence(self, key: str) -> str:
        """What to tell whoever wanted to write."""
        if self.version is None:
            return f"There is no variable {key!r} to change; write it with If-None-Match: * to make one."
        return f"The variable {key!r} has version {self.version} by now; read it again, then write."


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who writes, and when."""

    by: str
    at: datetime


def check_key(key: str) -> None:
    """Raises `InvalidError` (`key_invalid`) for what cannot be a key."""
    fault = fault_of_key(key)
    if fault is not None:
        raise InvalidError(f"The key {key[:80]!r} cannot be used: a key {fault}.", code="key_invalid")


def check_writable(key: str) -> None:
    """As `check_key`; raises `InvalidError` (`key_reserved`) also for keys that are Cronium's own."""
    check_key(key)
    if is_reserved(key):
        raise InvalidError(
            f"The key {key!r} is reserved: keys that begin with `cronium.` or `CRONIUM_` are Cronium's own. Choose "
            "another one.",
            code="key_reserved",
        )


async def write(
    repos: Repositories,
    scope: str,
    key: str,
    value: Json,
    writer: Writer,
    *,
    description: str | None = None,
    condition: Condition | None = None,
) -> Variable | Mismatch:
    """
    Write a variable.

    Raises `InvalidError` (`key_invalid`, `key_reserved`), `LimitExceededError` (`too_large`), `ConflictError`
    (`too_many_variables`).
    """
    check_writable(key)
    _check_size(key, value)
    if description is not None and len(description) > MAX_DESCRIPTION_CHARS:
        raise InvalidError(f"The description of {key!r} is longer than {MAX_DESCRIPTION_CHARS} characters.")
    mismatch = await _mismatch(repos, scope, key, condition)
    if mismatch is not None:
        return mismatch
    return await repos.variables.set(scope, key, value, at=writer.at, by=writer.by, description=description)


async def add(
    repos: Repositories, scope: str, key: str, by: Number, writer: Writer, *, condition: Condition | None = None
) -> Variable | Mismatch:
    """
    Add to a number, which starts at 0. Whole numbers are added exactly, and the sum is as large as the store keeps.

    Raises `ConflictError` (`not_a_number`, `number_too_large`), and what `write` raises.
    """
    check_writable(key)
    found = await repos.variables.lock(scope, key)
    mismatch = _compared(found, condition)
    if mismatch is not None:
        return mismatch
    total = _sum(key, 0 if found is None else found.value, by)
    return await repos.variables.set(scope, key, total, at=writer.at, by=writer.by)


async def remove(
    repos: Repositories, scope: str, key: str, *, condition: Condition | None = None
) -> Variable | Mismatch:
    """Remove a variable and return what it was. Raises `NotFoundError` (`variable_not_found`), and of `write` what can be."""
    check_writable(key)
    if condition is None:
        gone = await repos.variables.delete(scope, key)
    elif condition.version is not None:
        gone = await repos.variables.delete(scope, key, version=condition.version)
    else:
        gone = None  # a variable that must not be there cannot be removed
    if gone is not None:
        return gone
    found = await repos.variables.get(scope, key)
    if found is None and (condition is None or condition.version is None):
        raise missing(key)
    return Mismatch(version=None if found is None else found.version)


def missing(key: str) -> NotFoundError:
    return NotFoundError(f"There is no variable {key!r}.", code="variable_not_found")


async def _mismatch(repos: Repositories, scope: str, key: str, condition: Condition | None) -> Mismatch | None:
    if condition is None:
        return None
    return _compared(await repos.variables.lock(scope, key), condition)


def _compared(found: Variable | None, condition: Condition | None) -> Mismatch | None:
    version = None if found is None else found.version
    return None if condition is None or condition.version == version else Mismatch(version=version)


def _sum(key: str, value: Json, by: Number) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConflictError(
            f"The variable {key!r} holds no number and cannot be incremented; set it to one first.", code="not_a_number"
        )
    try:
        total = value + by
    except OverflowError:  # a whole number that no fraction can be added to
        total = math.inf
    if not math.isfinite(total) or (isinstance(total, int) and not LOWEST <= total <= HIGHEST):
        raise ConflictError(
            f"The sum does not fit: the variable {key!r} would leave {LOWEST} to {HIGHEST}; set it anew.",
            code="number_too_large",
        )
    return total


def _check_size(key: str, value: Json) -> None:
    try:
        size = len(orjson.dumps(value))
    except orjson.JSONEncodeError as error:
        raise InvalidError(f"The value of {key!r} cannot be kept as JSON: {error}.") from error
    if size > MAX_VALUE_BYTES:
        raise LimitExceededError(
            f"The value of {key!r} has {size} bytes as JSON, more than {MAX_VALUE_BYTES} (1 MiB). Keep large data in an "
            "artifact ($CRONIUM_ARTIFACTS) or an object store and pass on where it is.",
            code="too_large",
        )
