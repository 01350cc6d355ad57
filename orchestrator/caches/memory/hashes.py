"""`Hashes` in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from orchestrator.caches.documents import addend, integer, lifetime, pack, text, unpack
from orchestrator.caches.memory.space import Space
from orchestrator.model.json import Json


class MemoryHashes:
    """`Hashes`: each a dictionary of documents."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def set(self, key: str, fields: Mapping[str, Json], *, ttl: timedelta) -> int:
        added = {text(field): pack(value) for field, value in fields.items()}
        kept_for = lifetime(ttl)
        present = self._space.fields(key) or {}
        new = len(added.keys() - present.keys())
        self._space.check_room(key, len(present) + new)
        if added:
            present.update(added)
            self._space.put(key, present, lifetime=kept_for)
        return new

    async def get(self, key: str, field: str) -> Json:
        document = (self._space.fields(key) or {}).get(text(field))
        return unpack(document, key) if document is not None else None

    async def all(self, key: str) -> dict[str, Json]:
        return {field: unpack(document, key) for field, document in (self._space.fields(key) or {}).items()}

    async def delete(self, key: str, *fields: str) -> int:
        present = self._space.fields(key) or {}
        gone = {text(field) for field in fields} & present.keys()
        for field in gone:
            del present[field]
        self._space.put_back(key, present)
        return len(gone)

    async def increment(self, key: str, field: str, by: int = 1, *, ttl: timedelta) -> int:
        kept_for = lifetime(ttl)
        present = self._space.fields(key) or {}
        total = addend(integer(present.get(text(field), b"0"), key) + addend(by, key), key)
        self._space.check_room(key, len(present) + (field not in present))
        present[field] = b"%d" % total
        self._space.put(key, present, lifetime=kept_for)
        return total
