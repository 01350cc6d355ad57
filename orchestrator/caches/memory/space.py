"""The keys of the cache in memory: what is kept, for how long, and what makes room."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from cachetools import TLRUCache

from orchestrator.caches.documents import text
from orchestrator.caches.errors import too_large, wrong_kind
from orchestrator.contracts.clock import Clock

Content: TypeAlias = bytes | dict[str, bytes] | deque[bytes]
"""A value's document; the documents in a hash; those in a list."""


@dataclass(frozen=True, slots=True)
class _Kept:
    content: Content
    size: int
    expires_at: float


class Space:
    """
    At most `max_items` values, fields and list elements. The keys that were used longest ago make room.

    Nothing here waits, so that whatever a role does between two awaits is one step to everybody else.
    """

    def __init__(self, clock: Clock, max_items: int) -> None:
        self._clock = clock
        self._max_items = max_items
        self._kept: TLRUCache[str, _Kept] = TLRUCache(
            max_items,
            ttu=lambda _key, kept, _now: kept.expires_at,
            timer=clock.monotonic,
            getsizeof=lambda kept: kept.size,
        )

    def document(self, key: str) -> bytes | None:
        """The value's document; `ConflictError` if another kind is kept there."""
        content = self.content(key)
        if content is None or isinstance(content, bytes):
            return content
        raise wrong_kind(key)

    def fields(self, key: str) -> dict[str, bytes] | None:
        """The hash itself, to be changed and put back; `ConflictError` if another kind is kept there."""
        content = self.content(key)
        if content is None or isinstance(content, dict):
            return content
        raise wrong_kind(key)

    def elements(self, key: str) -> deque[bytes] | None:
        """The list itself, to be changed and put back; `ConflictError` if another kind is kept there."""
        content = self.content(key)
        if content is None or isinstance(content, deque):
            return content
        raise wrong_kind(key)

    def content(self, key: str) -> Content | None:
        """Whatever is kept there. It counts as used."""
        kept = self._find(key)
        return kept.content if kept is not None else None

    def put(self, key: str, content: Content, *, lifetime: int) -> None:
        """Keep `content` for `lifetime` milliseconds; an empty hash or list, or no time, means to forget it."""
        self._put(key, content, self._clock.monotonic() + lifetime / 1000)

    def put_back(self, key: str, content: Content) -> None:
        """Keep a changed `content` for the time that the key had left."""
        kept = self._find(key)
        if kept is not None:
            self._put(key, content, kept.expires_at)

    def check_room(self, key: str, size: int) -> None:
        """Raises `LimitExceededError` if `size` items are more than all that may be kept. Ask before a change."""
        if size > self._max_items:
            raise too_large(key, size, self._max_items)

    def remaining(self, key: str) -> float | None:
        """For how many seconds it is kept; None when nothing is."""
        kept = self._find(key)
        return kept.expires_at - self._clock.monotonic() if kept is not None else None

    def remove(self, key: str) -> bool:
        """Forget it; whether there was anything."""
        try:
            del self._kept[key]
        except KeyError:  # never there, or its time is over
            return False
        return True

    @property
    def keys(self) -> list[str]:
        return list(self._kept)

    def clear(self) -> None:
        self._kept.clear()

    def _find(self, key: str) -> _Kept | None:
        try:
            return self._kept[text(key)]
        except KeyError:  # not `get`, which fails if the time is over between its two looks
            return None

    def _put(self, key: str, content: Content, expires_at: float) -> None:
        size = 1 if isinstance(content, bytes) else len(content)
        self.check_room(key, size)
        self.remove(key)
        if size:
            self._kept[key] = _Kept(content, size, expires_at)
