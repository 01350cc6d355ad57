"""Tokens of people and programs that call the API (a script's token belongs to its attempt and is not here)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Scope(StrEnum):
    """What a token may do: `admin` may all, `write` includes `run` and `read`, `run` includes `read`."""

    READ = "read"
    RUN = "run"
    WRITE = "write"
    ADMIN = "admin"

    def allows(self, needed: Scope) -> bool:
        order = list(Scope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as stored: the value itself is known only to its owner, `digest` is its SHA-256."""

    id: str
    name: str
    scope: Scope
    digest: bytes
    created_at: datetime
    revoked_at: datetime | None = None
