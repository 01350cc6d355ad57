"""A variable: a typed JSON value shared by scripts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.json import Json

GLOBAL_SCOPE = "global"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """`version` grows by one with each write and starts at 1."""

    scope: str
    key: str
    value: Json
    version: int
    updated_at: datetime
