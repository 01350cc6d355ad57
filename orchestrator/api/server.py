"""Serving the application on a TCP port."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from orchestrator.errors import ConflictError, DeniedError, InvalidError

SHUTDOWN_SECONDS = 10.0


@asynccontextmanager
async def open_api_server(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """
    Serve `app` while the block is open and yield the URL that reaches it from this machine; port 0 takes a free one.

    Leaving the block takes no more connections, closes WebSockets with 1012 and gives requests that run 10 s to end.
    Raises `ConflictError` when the port is taken, `DeniedError` or `InvalidError` when it cannot be had.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=SHUTDOWN_SECONDS,
        auto_decompress=False,  # a small body must not become a large one
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise _explained(error, host, port) from error
        yield _url(runner.addresses[0])
    finally:
        await runner.cleanup()


def _explained(error: OSError, host: str, port: int) -> ConflictError | DeniedError | InvalidError:
    if error.errno == errno.EADDRINUSE:
        return ConflictError(f"Port {port} of {host} is taken; choose another one with --port.", code="port_taken")
    if error.errno in (errno.EACCES, errno.EPERM):
        return DeniedError(
            f"Port {port} of {host} may not be opened by this account; choose one above 1023 with --port."
        )
    return InvalidError(f"{host}:{port} cannot be listened on: {error.strerror or error}; check --host and --port.")


def _url(address: tuple[str, int]) -> str:
    """A URL for a bound address: for one that means every interface, the loopback one."""
    host, port = address[0], address[1]
    ip = ipaddress.ip_address(host.partition("%")[0])
    if ip.is_unspecified:
        ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
    return f"http://[{ip}]:{port}" if ip.version == 6 else f"http://{ip}:{port}"
