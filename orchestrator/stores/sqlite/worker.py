"""Threads for blocking calls, a fixed number of them, and how to wait for such a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from orchestrator.stores.settle import settle
from orchestrator.stores.sqlite.errors import store_unavailable

ParamsP = ParamSpec("ParamsP")
ResultT = TypeVar("ResultT")


class Worker:
    """Runs calls on its threads, in the order in which they are submitted. Made by `open_worker`."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._open = True

    def submit(
        self, call: Callable[ParamsP, ResultT], *args: ParamsP.args, **kwargs: ParamsP.kwargs
    ) -> asyncio.Future[ResultT]:
        """Start the call; after the worker was closed, a future that has failed with `UnavailableError`."""
        loop = asyncio.get_running_loop()
        if self._open:
            return asyncio.wrap_future(self._threads.submit(call, *args, **kwargs), loop=loop)
        closed: asyncio.Future[ResultT] = loop.create_future()
        closed.set_exception(store_unavailable("The store was closed."))
        return closed

    async def close(self, last: Callable[[], None]) -> None:
        """Run `last` when all that was submitted has run, then take no more calls."""
        final = self.submit(last)
        self._open = False
        interrupted = await settle(final)
        self._threads.shutdown()
        final.result()
        if interrupted:
            raise asyncio.CancelledError


@asynccontextmanager
async def open_worker(name: str, *, threads: int, close: Callable[[], None]) -> AsyncIterator[Worker]:
    """A worker; at the end `close` runs on its thread, after everything else."""
    worker = Worker(ThreadPoolExecutor(threads, thread_name_prefix=name))
    try:
        yield worker
    finally:
        await worker.close(close)


async def finished(call: asyncio.Future[ResultT]) -> ResultT:
    """The result of a call; when we are cancelled, only after it has ended."""
    if await settle(call):
        raise asyncio.CancelledError
    return call.result()
