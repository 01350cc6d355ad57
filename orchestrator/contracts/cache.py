"""The seam to the cache, in roles. Checked by tests/suites/cache_suite.py. More roles come with their first caller."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from orchestrator.model.json import Json


class KeyValue(Protocol):
    """Values that may be forgotten at any time. Never the truth: what must not be lost is in the store."""

    async def get(self, key: str) -> Json:
        """The value, or None when it was never set, has expired or was evicted."""
        ...

    async def set(self, key: str, value: Json, *, ttl: timedelta) -> None:
        """Keep `value` for `ttl`, counted from now, replacing what was there."""
        ...

    async def delete(self, key: str) -> None:
        """Forget the value; does nothing when there is none."""
        ...
