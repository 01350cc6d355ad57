"""Threads for blocking calls, a fixed number of them, and how to wait for such a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from orchestrator.stores.settle import settle
from orchestrator.stores.sqlite.errors import store_unavailable

ParamsP = ParamSpec("ParamsP")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class _Call:
    """Something to run on a thread, and the loop where its result is awaited."""

    work: Callable[[], Any]
    result: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Worker:
    """
    Runs calls on its threads, in the order in which they are submitted. Made by `open_worker`.

    A call costs two switches between threads and little else: an executor of the standard library takes twice as long.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads = [Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        self._open = True
        for thread in self._threads:
            thread.start()

    def submit(
        self, call: Callable[ParamsP, ResultT], *args: ParamsP.args, **kwargs: ParamsP.kwargs
    ) -> asyncio.Future[ResultT]:
        """Start the call; after the worker was closed, a future that has failed with `UnavailableError`."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[ResultT] = loop.create_future()
        if self._open:
            self._calls.put(_Call(partial(call, *args, **kwargs), result, loop))
        else:
            result.set_exception(store_unavailable("The store was closed."))
        return result

    async def close(self, last: Callable[[], None]) -> None:
        """Run `last` when all that was submitted has run, then take no more calls."""
        final = self.submit(last)
        self._open = False
        interrupted = await settle(final)
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()
        final.result()
        if interrupted:
            raise asyncio.CancelledError

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                deliver = partial(_succeed, call.result, call.work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
                deliver = partial(_fail, call.result, error)
            call.loop.call_soon_threadsafe(deliver)


def _succeed(future: asyncio.Future[ResultT], result: ResultT) -> None:
    if not future.done():  # nobody waits for it any more
        future.set_result(result)


def _fail(future: asyncio.Future[ResultT], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


@asynccontextmanager
async def open_worker(name: str, *, threads: int, close: Callable[[], None]) -> AsyncIterator[Worker]:
    """A worker; at the end `close` runs on its thread, after everything else."""
    worker = Worker(name, threads)
    try:
        yield worker
    finally:
        await worker.close(close)


async def finished(call: asyncio.Future[ResultT]) -> ResultT:
    """The result of a call; when we are cancelled, only after it has ended."""
    if await settle(call):
        raise asyncio.CancelledError
    return call.result()
