"""M28: whatever two clients do with locks, and however time passes, nobody holds what another holds."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.caches.memory import MemoryCache
from orchestrator.caches.valkey import open_valkey_cache
from orchestrator.contracts.cache import Lock, Locks
from tests.fakes import FakeClock

NAMES = st.sampled_from(["a", "b"])
CLIENTS = st.sampled_from([0, 1])
SECONDS = st.integers(1, 5)


class LockMachine(RuleBasedStateMachine):
    """Two clients of one cache, next to a model of who holds what until when."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        cache = MemoryCache(self.clock)
        self.clients: list[Locks] = [cache.locks, cache.locks]
        self.held: dict[str, tuple[Lock, float]] = {}
        self.taken: list[Lock] = []

    def call(self, awaitable):
        return asyncio.run(awaitable)

    def expected(self, lock: Lock) -> bool:
        holder, until = self.held.get(lock.name, (None, 0.0))
        return holder == lock and self.clock.monotonic() < until

    @rule(client=CLIENTS, name=NAMES, seconds=SECONDS)
    def acquire(self, client, name, seconds):
        lock = self.call(self.clients[client].acquire(name, ttl=timedelta(seconds=seconds)))
        free = name not in self.held or self.clock.monotonic() >= self.held[name][1]
        assert (lock is not None) is free
        if lock is not None:
            self.held[name] = lock, self.clock.monotonic() + seconds
            self.taken.append(lock)

    @precondition(lambda self: self.taken)
    @rule(client=CLIENTS, data=st.data())
    def release(self, client, data):
        lock = data.draw(st.sampled_from(self.taken))
        assert self.call(self.clients[client].release(lock)) is self.expected(lock)
        if self.held.get(lock.name, (None,))[0] == lock:
            del self.held[lock.name]

    @precondition(lambda self: self.taken)
    @rule(client=CLIENTS, data=st.data(), seconds=SECONDS)
    def extend(self, client, data, seconds):
        lock = data.draw(st.sampled_from(self.taken))
        expected = self.expected(lock)
        assert self.call(self.clients[client].extend(lock, ttl=timedelta(seconds=seconds))) is expected
        if expected:
            self.held[lock.name] = lock, self.clock.monotonic() + seconds

    @rule(seconds=st.integers(1, 4))
    def pass_time(self, seconds):
        self.clock.advance(timedelta(seconds=seconds))

    @invariant()
    def holders_are_who_the_model_says(self):
        for lock in self.taken:
            assert self.call(self.clients[0].holds(lock)) is self.expected(lock)
        for name in ("a", "b"):
            holders = [lock for lock in self.taken if lock.name == name and self.call(self.clients[1].holds(lock))]
            assert len(holders) <= 1


LockMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLocksInMemory = LockMachine.TestCase


@pytest.mark.distributed
class TestLocksOnServer:
    """The same machine against a real server, where time passes by letting what should be over expire at once."""

    def test_locks_on_a_server(self, redis):
        machine = _machine_on(redis.url)
        machine.TestCase.settings = settings(
            max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        )
        case = machine.TestCase()
        case.runTest()
        assert case.settings.max_examples == 15


def _machine_on(url: str) -> type[LockMachine]:
    class ServerLockMachine(LockMachine):
        """Seconds of the model are kept by the server as hours; what the model lets pass is expired by hand."""

        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.prefix = f"machine {secrets.token_hex(6)}:"
            self.opened = [open_valkey_cache(url, prefix=self.prefix) for _ in range(2)]
            self.caches = [self.call(opened.__aenter__()) for opened in self.opened]
            self.clients = [_Hours(cache.locks) for cache in self.caches]

        def call(self, awaitable):
            return self.runner.run(awaitable)

        def pass_time(self, seconds):
            self.clock.advance(timedelta(seconds=seconds))
            for name, (_, until) in self.held.items():
                if self.clock.monotonic() >= until:
                    self.call(self.caches[0]._server.command("PEXPIRE", f"{self.prefix}lock:{name}", 0))

        pass_time = rule(seconds=st.integers(1, 4))(pass_time)

        def teardown(self):
            for opened in self.opened:
                self.call(opened.__aexit__(None, None, None))
            self.runner.close()

    return ServerLockMachine


class _Hours:
    """Locks for which a second is an hour, so that none is over before the model says so."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self.release = locks.release
        self.holds = locks.holds

    async def acquire(self, name: str, *, ttl: timedelta) -> Lock | None:
        return await self._locks.acquire(name, ttl=ttl * 3600)

    async def extend(self, lock: Lock, *, ttl: timedelta) -> bool:
        return await self._locks.extend(lock, ttl=ttl * 3600)
