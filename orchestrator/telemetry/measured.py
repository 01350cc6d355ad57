"""A store that is measured: another one, and how long it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Protocol

from orchestrator.contracts.store import Bell, Repositories, Store
from orchestrator.errors import UnavailableError


class Meter(Protocol):
    """Who counts."""

    def store_worked(self, operation: str, took: timedelta, error: str | None) -> None: ...


@dataclass(frozen=True, slots=True)
class MeasuredStore:
    """
    `Store`, told to `meter`: blocks of `begin` with their commit, of `read`, and `check`.

    A block's time is all of it, what its owner does between two statements included: so long a connection is taken.
    """

    store: Store
    meter: Meter

    @property
    def driver(self) -> str:
        return self.store.driver

    @property
    def bell(self) -> Bell:
        return self.store.bell

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Repositories]:
        with self._measured("begin"):
            async with self.store.begin() as repos:
                yield repos

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Repositories]:
        with self._measured("read"):
            async with self.store.read() as repos:
                yield repos

    async def check(self) -> None:
        with self._measured("check"):
            await self.store.check()

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        began = perf_counter()
        error: str | None = None
        try:
            yield
        except UnavailableError as unavailable:
            error = unavailable.code
            raise
        finally:
            self.meter.store_worked(operation, timedelta(seconds=perf_counter() - began), error)
