"""Where a job lives: an event loop, the store open in it, and the ways in which a transaction may end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Any, Protocol, Self, TypeVar

from orchestrator.contracts.store import Repositories, Store
from orchestrator.errors import CroniumError
from tests.suites.life_model import Model
from tests.suites.store_making import BoomError

ResultT = TypeVar("ResultT")
Verb = Callable[[Any], Awaitable[Any]]
PATIENCE_SECONDS = 30.0


class Ending(Enum):
    """How a transaction ends, just before its block would be left."""

    COMMITTED = "committed"
    RAISED = "raised"
    KILLED = "killed"


class Home(Protocol):
    """What outlives an orchestrator: a file, or a server."""

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        """Start an orchestrator's store on what is there."""
        ...

    async def kill(self, store: Store) -> None:
        """End the orchestrator as `kill -9` does: what is stored at this moment is what the next one finds."""
        ...


class Place:
    """An event loop for a whole test, and the store that is open in it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._runner = asyncio.Runner()
        self._closing = asyncio.Event()
        self._living: asyncio.Task[None] | None = None
        self.store: Store

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._close())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        return self._runner.run(_within_patience(work))

    async def reopen(self) -> None:
        """Close the store and open it again."""
        await self._close()
        await self._open()

    async def wipe(self) -> None:
        """Begin another life. The journal stays: no id is used twice."""
        async with self.store.begin() as repos:
            for table in ("jobs", "outbox"):
                await repos.jobs.connection.change(f"DELETE FROM {table}")  # type: ignore[attr-defined]

    async def transact(self, model: Model, verb: Verb, ending: Ending) -> tuple[Model, object] | None:
        """Do the same to the store and to a copy of the model. None: the transaction was not committed."""
        changed = model.copy()
        try:
            async with self.store.begin() as repos:
                told = await _answer(verb, repos)
                assert told == await _answer(verb, changed)
                if ending is Ending.KILLED:
                    await self._home.kill(self.store)
                if ending is not Ending.COMMITTED:
                    raise BoomError
        except BoomError:
            if ending is Ending.KILLED:
                await self.reopen()
            return None
        return changed, told

    async def kill(self) -> None:
        """Kill the orchestrator between two transactions, and start another."""
        await self._home.kill(self.store)
        await self.reopen()

    async def _open(self) -> None:
        """In a task of its own, which also closes it: a store may have tasks that belong to the one that opened it."""
        opened: asyncio.Future[Store] = asyncio.get_running_loop().create_future()
        self._closing.clear()
        self._living = asyncio.create_task(self._live(opened))
        await asyncio.wait((self._living, opened), return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            await self._living
        self.store = opened.result()

    async def _live(self, opened: asyncio.Future[Store]) -> None:
        async with self._home.open_store() as store:
            opened.set_result(store)
            await self._closing.wait()

    async def _close(self) -> None:
        assert self._living is not None
        self._closing.set()
        await self._living


async def _within_patience(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await work


async def _answer(verb: Verb, repos: Repositories | Model) -> object:
    """What the verb returns, or the kind of error that it is refused with."""
    try:
        return await verb(repos)
    except CroniumError as error:
        return type(error)
