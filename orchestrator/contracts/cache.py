"""
The seam to the cache, in roles. Checked by tests/suites/cache_suite.py and its neighbours `cache_*`.

What holds for every role:

- A cache may forget anything at any time, locks excepted. It is never the truth: what must not be lost is in the store.
- Keys, fields, names and channels are any text; `InvalidError` for lone surrogates. Values are JSON and come back
  equal; `InvalidError` for what is not JSON, NaN and infinities among it.
- A `ttl` is counted from now in milliseconds, a part of one counting as a whole. It must be longer than nothing
  (`InvalidError`), but for `set` and `expire`, where it then means "forget".
- Keys are shared by the roles. A counter is a value that is an integer. Using a key for what it does not hold, such as
  the length of a hash, is a `ConflictError` (`cache_type`).
- A cache that does not answer, or refuses to, is an `UnavailableError` (`cache_unavailable`); a change that was under
  way then may have happened or not. A full one is a `LimitExceededError` (`cache_full`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeAlias

from orchestrator.model.json import Json

DEFAULT_BUFFER = 1_000
DEFAULT_PAGE = 100
Handler: TypeAlias = Callable[[Json], Awaitable[Json]]


def literally(text: str) -> str:
    """The pattern that matches `text` and nothing else."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The newest values of a list, and the counts about all of them that there ever were."""

    values: list[Json]
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some keys, and where the next page begins; no `next_cursor` on the last."""

    keys: tuple[str, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock that was taken. Whoever has the `token` may free and extend it."""

    name: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something published. With a `gap`, others before it were lost: the buffer was full, or a connection broke."""

    channel: str
    body: Json
    gap: bool = False


class KeyValue(Protocol):
    """Values under keys."""

    async def get(self, key: str) -> Json:
        """The value, or None when it was never set, has expired or was evicted."""
        ...

    async def get_many(self, keys: Sequence[str]) -> list[Json]:
        """The values in the order of `keys`, at one moment; None for what is missing or not a value."""
        ...

    async def set(self, key: str, value: Json, *, ttl: timedelta) -> None:
        """Keep `value` for `ttl`, replacing what was there, whatever it was."""
        ...

    async def set_if_absent(self, key: str, value: Json, *, ttl: timedelta) -> bool:
        """Keep `value` if nothing is there; whether it was kept. Of several callers at once one is told True."""
        ...

    async def delete(self, *keys: str) -> int:
        """Forget what is there, whatever it is; how many of the keys there were."""
        ...


class Counters(Protocol):
    """Integers of 64 bits, signed."""

    async def increment(self, key: str, by: int = 1, *, ttl: timedelta) -> int:
        """
        Add `by`, which may be negative; the sum. A counter starts at 0 and is kept for `ttl` after it was made: what is
        added later does not prolong it. Raises `LimitExceededError` (`cache_overflow`) for what does not fit.
        """
        ...

    async def value(self, key: str) -> int:
        """The sum; 0 when nothing is there."""
        ...


class Hashes(Protocol):
    """Values under fields under keys. Each write counts the time of the whole hash anew; one without fields is gone."""

    async def set(self, key: str, fields: Mapping[str, Json], *, ttl: timedelta) -> int:
        """Keep all of `fields` at once, beside those that are there; how many of them are new."""
        ...

    async def get(self, key: str, field: str) -> Json:
        """The value of the field; None when there is none."""
        ...

    async def all(self, key: str) -> dict[str, Json]:
        """Every field, at one moment; empty when nothing is there."""
        ...

    async def delete(self, key: str, *fields: str) -> int:
        """Forget fields; how many of them there were. Does not prolong."""
        ...

    async def increment(self, key: str, field: str, by: int = 1, *, ttl: timedelta) -> int:
        """Add to the integer in the field, which starts at 0; the sum. Refused like `Counters.increment`."""
        ...


class Lists(Protocol):
    """
    Values in order under keys. Each addition counts the time of the whole list anew; an empty list is gone.

    Positions count from 0, or from -1 backwards; ranges include both ends and are cut to what is there.
    """

    async def append(self, key: str, *values: Json, ttl: timedelta) -> int:
        """Add at the end, in order; the length."""
        ...

    async def prepend(self, key: str, *values: Json, ttl: timedelta) -> int:
        """Add at the beginning, one after the other, so that the last of `values` comes first; the length."""
        ...

    async def range(self, key: str, start: int = 0, stop: int = -1) -> list[Json]:
        """The values from `start` to `stop`."""
        ...

    async def length(self, key: str) -> int:
        """How many there are; 0 when nothing is there."""
        ...

    async def trim(self, key: str, start: int, stop: int) -> None:
        """Forget all values but those from `start` to `stop`. Does not prolong."""
        ...

    async def pop_first(self, key: str) -> Json:
        """Take the first value out; None when there is none."""
        ...

    async def pop_last(self, key: str) -> Json:
        """Take the last value out; None when there is none."""
        ...

    async def append_trimmed(
        self, key: str, value: Json, *, max_length: int, counts_key: str, counts: Mapping[str, int], ttl: timedelta
    ) -> int:
        """
        As one step that nobody sees half done: add at the end of `key`, drop the oldest beyond `max_length`, add each
        of `counts` to the field of that name in the hash `counts_key`, and keep both for `ttl` from now. The length.

        Refused as a whole: `LimitExceededError` (`cache_overflow`) when a count would reach 2^53 either way.
        """
        ...

    async def read_trimmed(self, key: str, counts_key: str) -> Tail:
        """What `append_trimmed` keeps, list and counts of the same moment."""
        ...


class Keys(Protocol):
    """
    The keys of all roles but locks.

    In a pattern `*` is any run of characters, `?` one, `[abc]` or `[a-c]` one of these, `[^abc]` one other, and a
    backslash takes the next character as it is. `InvalidError` for an unfinished one. `literally` escapes.
    """

    async def page(self, pattern: str = "*", *, cursor: str | None = None, limit: int = DEFAULT_PAGE) -> Page:
        """
        About `limit` keys that match, from the beginning or from where another page ended.

        The pages together hold every key that was there all the time, whatever else is written meanwhile; one may come
        twice, and a page may be empty though more follow. `InvalidError` for a cursor that no page gave.
        """
        ...

    async def remaining(self, key: str) -> timedelta | None:
        """How long it will still be kept; None when nothing is there."""
        ...

    async def expire(self, key: str, ttl: timedelta) -> bool:
        """Keep it for `ttl` from now instead; False when nothing is there."""
        ...

    async def delete(self, *keys: str) -> int:
        """Forget what is there, whatever it is; how many of the keys there were."""
        ...


class Locks(Protocol):
    """
    One holder per name at a time, until it lets go or its time is over. Names are no keys: nothing else meets them.

    Whoever works longer than `ttl` extends the lock, and stops when told False: then it is lost, and may be another's.
    """

    async def acquire(self, name: str, *, ttl: timedelta) -> Lock | None:
        """The lock, or None at once when somebody holds it."""
        ...

    async def wait(self, name: str, *, ttl: timedelta, within: timedelta) -> Lock | None:
        """The lock, or None when it was not free `within` that time. Who waits longest is not first."""
        ...

    async def release(self, lock: Lock) -> bool:
        """Let go; False when it was lost, and then nobody else's lock is touched."""
        ...

    async def extend(self, lock: Lock, *, ttl: timedelta) -> bool:
        """Hold on for `ttl` from now; False when it was lost."""
        ...

    async def holds(self, lock: Lock) -> bool:
        """False when it was lost or let go."""
        ...


class Subscription(Protocol):
    """What was published since subscribing. Iteration ends when it is closed, even if something is left."""

    @property
    def dropped(self) -> int:
        """How many messages were dropped because the buffer was full."""
        ...

    def close(self) -> None:
        """Nothing more is delivered. Closing again does nothing."""
        ...

    def __aiter__(self) -> Subscription: ...

    async def __anext__(self) -> Message: ...


class Bus(Protocol):
    """
    Messages to whoever listens now, in this process and in those that share the cache. At most once, and kept nowhere.

    What one publisher sends, awaiting each, arrives in order. Subscribers never slow a publisher: each has a buffer,
    and when it is full the oldest message in it is dropped, counted in `dropped`, and the next one delivered has a
    `gap`. A connection that breaks is made again; what was published meanwhile is lost and the next message has a `gap`.
    """

    async def publish(self, channel: str, body: Json) -> bool:
        """False when certainly nobody listens. True says that somebody may have got it."""
        ...

    def subscribe(self, *patterns: str, buffer: int = DEFAULT_BUFFER) -> AbstractAsyncContextManager[Subscription]:
        """
        Listen to the channels that match one of `patterns` (as in `Keys`) while the block is open. What is published
        after the block was entered arrives, once even if several match. `InvalidError` without a pattern or a buffer.
        """
        ...


class Requests(Protocol):
    """Questions to whoever serves a name, in this process or in another one that shares the cache."""

    def serve(self, name: str, handler: Handler) -> AbstractAsyncContextManager[None]:
        """
        Answer requests for `name` while the block is open, several at the same time. Where more than one serves a name
        each runs, and the first answer counts. A handler is cancelled when its caller gives up.
        """
        ...

    async def call(self, name: str, body: Json, *, within: timedelta) -> Json:
        """
        What the handler answers.

        An error of ours comes back as it was raised there; any other as `CroniumError` (`request_failed`), and is
        logged where it happened. `NotFoundError` (`request_no_handler`) when nobody takes the request: at once if
        nobody listens, else after the time given by `within`. `UnavailableError` (`request_timeout`) when one took it and did not
        answer in time.
        """
        ...


class Cache(KeyValue, Protocol):
    """All roles. Values are its own methods, the others are attributes; ask for the narrowest that will do."""

    @property
    def driver(self) -> str:
        """Which kind it is, for labels: `memory` or `valkey`."""
        ...

    @property
    def degraded(self) -> bool:
        """Whether something less stands in for it now."""
        ...

    @property
    def counters(self) -> Counters: ...

    @property
    def hashes(self) -> Hashes: ...

    @property
    def lists(self) -> Lists: ...

    @property
    def keys(self) -> Keys: ...

    @property
    def locks(self) -> Locks: ...

    @property
    def bus(self) -> Bus: ...

    @property
    def requests(self) -> Requests: ...

    async def check(self) -> None:
        """Raises `UnavailableError` unless it can be read, written and, while somebody subscribes, listened to."""
        ...
