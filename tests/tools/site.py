"""A real HTTP server that would have been reached: it takes down what came and answers as the test says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from orchestrator.model.outbound import Address, parse_outbound_rules
from orchestrator.tools.guard import Guard
from orchestrator.tools.lookup import unresolved
from orchestrator.tools.outbound import Outbound


@dataclass(frozen=True, slots=True)
class Visit:
    """One request that arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Site:
    """`answer` makes the response to each request; without it 200 and `hello`."""

    host: str
    port: int = 0
    scheme: str = "http"
    visits: list[Visit] = field(default_factory=list)
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def redirects(self, status: int, location: str) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": location})

        self.answer = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.visits.append(Visit(request.method, request.path_qs, headers, await request.read()))
        return web.Response(text="hello") if self.answer is None else await self.answer(request)


@asynccontextmanager
async def open_site(
    host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    """A site on an address of the loopback; several can have the same port."""
    site = Site(host, scheme="http" if tls is None else "https")
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", site.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        site.port = runner.addresses[0][1]
        yield site
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class FakeLookup:
    """A `Lookup`: of each name the answers in turn, and the last one for ever; it knows no other names."""

    answers: Mapping[str, list[list[Address]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        if host not in self.answers:
            raise unresolved(host)
        turns = self.answers[host]
        return turns[min(self.asked.count(host), len(turns)) - 1]


def way_out(
    allow: str = "", deny: str = "", *, lookup: FakeLookup | None = None, tls: ssl.SSLContext | None = None
) -> Outbound:
    """A way out under these settings, that knows the names of `lookup` alone; no address is this machine's own."""
    guard = Guard(
        allow=parse_outbound_rules(allow) if allow else (),
        deny=parse_outbound_rules(deny) if deny else (),
        is_own=lambda address: False,
    )
    return Outbound(guard=guard, lookup=lookup or FakeLookup(), tls=tls)
