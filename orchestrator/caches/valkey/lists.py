"""`Lists` on a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from orchestrator.caches.documents import COUNTS, addend, at_least_one, integer, lifetime, pack, text
from orchestrator.caches.valkey.names import Names
from orchestrator.caches.valkey.replies import documents, done, items, number, value, values
from orchestrator.caches.valkey.scripts import APPEND_TRIMMED, LIST_ADD, READ_TRIMMED
from orchestrator.caches.valkey.server import Server, Word
from orchestrator.contracts.cache import Tail
from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

FARTHEST = 2**62


class ValkeyLists:
    """`Lists`: those of the server, with documents in them."""

    def __init__(self, server: Server, names: Names) -> None:
        self._server = server
        self._names = names

    async def append(self, key: str, *values: Json, ttl: timedelta) -> int:
        return await self._add("RPUSH", key, [pack(value) for value in values], lifetime(ttl))

    async def prepend(self, key: str, *values: Json, ttl: timedelta) -> int:
        return await self._add("LPUSH", key, [pack(value) for value in values], lifetime(ttl))

    async def range(self, key: str, start: int = 0, stop: int = -1) -> list[Json]:
        words = ("LRANGE", self._names.key(key), _position(start), _position(stop))
        return values(await self._server.command(*words, about=key), key)

    async def length(self, key: str) -> int:
        return number(await self._server.command("LLEN", self._names.key(key), about=key))

    async def trim(self, key: str, start: int, stop: int) -> None:
        words = ("LTRIM", self._names.key(key), _position(start), _position(stop))
        done(await self._server.command(*words, about=key))

    async def pop_first(self, key: str) -> Json:
        return value(await self._server.command("LPOP", self._names.key(key), about=key), key)

    async def pop_last(self, key: str) -> Json:
        return value(await self._server.command("RPOP", self._names.key(key), about=key), key)

    async def append_trimmed(
        self, key: str, value: Json, *, max_length: int, counts_key: str, counts: Mapping[str, int], ttl: timedelta
    ) -> int:
        if key == counts_key:
            raise InvalidError(f"The list and its counts cannot both be kept at {key!r}: use two keys.")
        words: list[Word] = [pack(value), -min(at_least_one(max_length, "The length to trim to"), FARTHEST)]
        words.append(lifetime(ttl))
        for field, by in counts.items():
            words += [text(field), addend(by, counts_key, COUNTS)]
        names = [self._names.key(key), self._names.key(counts_key)]
        return number(await self._server.script(APPEND_TRIMMED, names, words, about=f"{key}, {counts_key}"))

    async def read_trimmed(self, key: str, counts_key: str) -> Tail:
        names = [self._names.key(key), self._names.key(counts_key)]
        reply = items(await self._server.script(READ_TRIMMED, names, [], about=f"{key}, {counts_key}"), 2)
        counts = {field: integer(document, counts_key) for field, document in documents(reply[1]).items()}
        return Tail(values=values(reply[0], key), counts=counts)

    async def _add(self, command: str, key: str, added: list[bytes], kept_for: int) -> int:
        if not added:
            return await self.length(key)
        return number(
            await self._server.script(LIST_ADD, [self._names.key(key)], [command, kept_for, *added], about=key)
        )


def _position(position: int) -> int:
    """A position that the server understands: no list is that long."""
    return max(-FARTHEST, min(position, FARTHEST))
