"""A secret: a value that is kept encrypted, given to the jobs that name it, and masked in what they print."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

GLOBAL_SCOPE = "global"
SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}|_[A-Za-z0-9_.-]{1,127}")
MAX_DESCRIPTION = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """All about a secret but its value. `scope` is `global` or an event's id; `version` grows with each new value."""

    scope: str
    name: str
    description: str | None
    version: int
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedValue:
    """
    One version of a value as it is stored: `sealed` under a key of its own, which is `wrapped` by the key `key_id`.

    Whoever opens it says scope, name and version again: they are sealed with it, so that no row can pass for another.
    """

    scope: str
    name: str
    version: int
    key_id: str
    wrapped: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Which version of which secret an attempt was given, and as which variable of its environment."""

    variable: str
    scope: str
    name: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSecret:
    """A secret as an attempt has it. Whatever prints it does not print the value."""

    variable: str
    name: str
    value: str = field(repr=False)
