"""`Lists` in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import islice

from orchestrator.caches.documents import COUNTS, addend, at_least_one, integer, lifetime, pack, text, unpack
from orchestrator.caches.memory.space import Space
from orchestrator.contracts.cache import Tail
from orchestrator.errors import InvalidError
from orchestrator.model.json import Json


class MemoryLists:
    """`Lists`: each a queue of documents with two ends."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def append(self, key: str, *values: Json, ttl: timedelta) -> int:
        documents, present = [pack(value) for value in values], self._elements(key)
        return self._add(key, present, documents, present.extend, lifetime(ttl))

    async def prepend(self, key: str, *values: Json, ttl: timedelta) -> int:
        documents, present = [pack(value) for value in values], self._elements(key)
        return self._add(key, present, documents, present.extendleft, lifetime(ttl))

    async def range(self, key: str, start: int = 0, stop: int = -1) -> list[Json]:
        present = self._elements(key)
        first, end = _bounds(start, stop, len(present))
        return [unpack(document, key) for document in islice(present, first, end)]

    async def length(self, key: str) -> int:
        return len(self._elements(key))

    async def trim(self, key: str, start: int, stop: int) -> None:
        present = self._elements(key)
        first, end = _bounds(start, stop, len(present))
        self._space.put_back(key, deque(islice(present, first, end)))

    async def pop_first(self, key: str) -> Json:
        present = self._elements(key)
        return self._popped(key, present, present.popleft) if present else None

    async def pop_last(self, key: str) -> Json:
        present = self._elements(key)
        return self._popped(key, present, present.pop) if present else None

    async def append_trimmed(
        self, key: str, value: Json, *, max_length: int, counts_key: str, counts: Mapping[str, int], ttl: timedelta
    ) -> int:
        at_least_one(max_length, "The length to trim to")
        if key == counts_key:
            raise InvalidError(f"The list and its counts cannot both be kept at {key!r}: use two keys.")
        document, kept_for, present = pack(value), lifetime(ttl), self._elements(key)
        length = min(len(present) + 1, max_length)
        sums = self._sums(counts_key, counts)
        self._space.check_room(key, length + len(sums))  # together, or the one would make room for the other
        present.append(document)
        while len(present) > max_length:
            present.popleft()
        self._space.put(key, present, lifetime=kept_for)
        self._space.put(counts_key, sums, lifetime=kept_for)
        return length

    async def read_trimmed(self, key: str, counts_key: str) -> Tail:
        values = [unpack(document, key) for document in self._elements(key)]
        kept = self._space.fields(counts_key) or {}
        return Tail(values=values, counts={field: integer(document, counts_key) for field, document in kept.items()})

    def _elements(self, key: str) -> deque[bytes]:
        return self._space.elements(key) or deque()

    def _add(
        self, key: str, present: deque[bytes], documents: list[bytes], add: Callable[[list[bytes]], None], kept_for: int
    ) -> int:
        if documents:
            self._space.check_room(key, len(present) + len(documents))
            add(documents)
            self._space.put(key, present, lifetime=kept_for)
        return len(present)

    def _popped(self, key: str, present: deque[bytes], pop: Callable[[], bytes]) -> Json:
        document = pop()
        self._space.put_back(key, present)
        return unpack(document, key)

    def _sums(self, key: str, counts: Mapping[str, int]) -> dict[str, bytes]:
        """The counts as they will be; nothing is changed yet."""
        sums = dict(self._space.fields(key) or {})
        for field, by in counts.items():
            start = integer(sums.get(text(field), b"0"), key)
            sums[field] = b"%d" % addend(start + addend(by, key, COUNTS), key, COUNTS)
        return sums


def _bounds(start: int, stop: int, length: int) -> tuple[int, int]:
    """First position and the one after the last, for positions that may count from the end."""
    first = max(start + length, 0) if start < 0 else min(start, length)
    end = stop + length + 1 if stop < 0 else min(stop + 1, length)
    return first, max(end, first)
