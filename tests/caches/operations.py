"""Every operation of a cache, for tests that try all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from orchestrator.contracts.cache import Cache, Lock
from orchestrator.model.json import Json

TTL = timedelta(minutes=1)
LOCK = Lock(name="n", token="t")


async def _subscribe(cache: Cache) -> None:
    async with cache.bus.subscribe("c"):
        pass


async def _serve(cache: Cache) -> None:
    async def handler(body: Json) -> Json:
        return body

    async with cache.requests.serve("s", handler):
        pass


OPERATIONS: dict[str, Callable[[Cache], Awaitable[Any]]] = {
    "get": lambda cache: cache.get("value"),
    "get_many": lambda cache: cache.get_many(["value", "b"]),
    "set": lambda cache: cache.set("value", 1, ttl=TTL),
    "set_if_absent": lambda cache: cache.set_if_absent("value", 1, ttl=TTL),
    "delete": lambda cache: cache.delete("value"),
    "check": lambda cache: cache.check(),
    "counters.increment": lambda cache: cache.counters.increment("counter", ttl=TTL),
    "counters.value": lambda cache: cache.counters.value("counter"),
    "hashes.set": lambda cache: cache.hashes.set("hash", {"f": 1}, ttl=TTL),
    "hashes.get": lambda cache: cache.hashes.get("hash", "f"),
    "hashes.all": lambda cache: cache.hashes.all("hash"),
    "hashes.delete": lambda cache: cache.hashes.delete("hash", "f"),
    "hashes.increment": lambda cache: cache.hashes.increment("hash", "f", ttl=TTL),
    "lists.append": lambda cache: cache.lists.append("list", 1, ttl=TTL),
    "lists.prepend": lambda cache: cache.lists.prepend("list", 1, ttl=TTL),
    "lists.range": lambda cache: cache.lists.range("list"),
    "lists.length": lambda cache: cache.lists.length("list"),
    "lists.trim": lambda cache: cache.lists.trim("list", 0, 1),
    "lists.pop_first": lambda cache: cache.lists.pop_first("list"),
    "lists.pop_last": lambda cache: cache.lists.pop_last("list"),
    "lists.append_trimmed": lambda cache: cache.lists.append_trimmed(
        "list", 1, max_length=1, counts_key="counts", counts={"n": 1}, ttl=TTL
    ),
    "lists.read_trimmed": lambda cache: cache.lists.read_trimmed("list", "counts"),
    "keys.page": lambda cache: cache.keys.page(),
    "keys.remaining": lambda cache: cache.keys.remaining("value"),
    "keys.expire": lambda cache: cache.keys.expire("value", TTL),
    "keys.delete": lambda cache: cache.keys.delete("value"),
    "locks.acquire": lambda cache: cache.locks.acquire("n", ttl=TTL),
    "locks.wait": lambda cache: cache.locks.wait("m", ttl=TTL, within=timedelta()),
    "locks.release": lambda cache: cache.locks.release(LOCK),
    "locks.extend": lambda cache: cache.locks.extend(LOCK, ttl=TTL),
    "locks.holds": lambda cache: cache.locks.holds(LOCK),
    "bus.publish": lambda cache: cache.bus.publish("c", 1),
    "bus.subscribe": _subscribe,
    "requests.serve": _serve,
    "requests.call": lambda cache: cache.requests.call("r", 1, within=TTL),
}
