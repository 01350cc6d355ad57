"""A variable: a typed JSON value shared by scripts; and the rules for its key, its scope and its size."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.json import Json

GLOBAL_SCOPE = "global"
EVENT_SCOPE = "event"
MAX_KEY_CHARS = 255
MAX_VALUE_BYTES = 1024 * 1024
MAX_DESCRIPTION_CHARS = 1000
MAX_VARIABLES = 10_000  # of one scope
RESERVED_PREFIXES = ("cronium.", "cronium_")  # in any case: `CRONIUM_` begins the names of a job's environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """
    `version` grows by one with each write. It starts at 1, in a scope where others were deleted above all of theirs:
    a key that is written, deleted and written again never has the same version twice.

    `updated_by` names the job or the token that wrote it last.
    """

    scope: str
    key: str
    value: Json
    version: int
    updated_at: datetime
    description: str | None = None
    updated_by: str | None = None


def event_scope(event_id: str) -> str:
    """The scope of the variables of an event."""
    return f"{EVENT_SCOPE}:{event_id}"


def fault_of_key(key: str) -> str | None:
    """What keeps `key` from being a variable's key, as the end of a sentence; None for a good one."""
    if not 1 <= len(key) <= MAX_KEY_CHARS:
        return f"must have 1 to {MAX_KEY_CHARS} characters"
    if not key.isprintable():
        return "must hold printable characters only"
    return None


def is_reserved(key: str) -> bool:
    return key.casefold().startswith(RESERVED_PREFIXES)
