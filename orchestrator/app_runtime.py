"""The runtime API on its Unix socket, in the process of the engine: taken over from a dead instance, served when called."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.jobs.runtime_session import RuntimeBackend

# A script that sends half of a call and stops must not keep the socket from whoever serves it next.
CALLS_END_WITHIN_SECONDS = 3.0


@asynccontextmanager
async def open_runtime_api(path: Path, backend: RuntimeBackend, *, lazily: bool) -> AsyncIterator[None]:
    """
    Serve the runtime API on the Unix socket `path`, taking it over from a dead instance.

    `lazily` the server is imported when the first script calls: until then the kernel holds the connection.
    """
    listener = _bind(path)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(_serve_runtime_api(listener, backend, lazily=lazily))
            try:
                yield
            finally:
                serving.cancel()
    finally:
        listener.close()
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - a name in a directory in memory


async def _serve_runtime_api(listener: socket.socket, backend: RuntimeBackend, *, lazily: bool) -> None:
    if lazily:
        await _connection(listener)
    web = await asyncio.to_thread(importlib.import_module, "aiohttp.web")
    runtime_api = await asyncio.to_thread(importlib.import_module, "runtime_api.app")
    runner = web.AppRunner(
        runtime_api.create_app(backend),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=CALLS_END_WITHIN_SECONDS,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _connection(listener: socket.socket) -> None:
    """Wait until somebody connects, without accepting."""
    loop = asyncio.get_running_loop()
    called = asyncio.Event()
    loop.add_reader(listener, called.set)
    try:
        await called.wait()
    finally:
        loop.remove_reader(listener)


def _bind(path: Path) -> socket.socket:
    """Listen on `path`. Open to every user that can reach it: its directory, and the token, say who may."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(1024)
    return listener
