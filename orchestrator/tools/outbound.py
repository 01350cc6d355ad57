"""The one way out: every request that Cronium itself makes to an address that somebody gave goes through here."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from orchestrator.errors import DeniedError, InvalidError, LimitExceededError, UnavailableError
from orchestrator.model.outbound import Address, OutboundRule
from orchestrator.tools.destination import REFUSED, Destination, parse_destination
from orchestrator.tools.guard import Guard
from orchestrator.tools.lookup import UNKNOWN, Lookup, open_lookup, unresolved
from orchestrator.tools.pinned import Pinned, literal_of, open_session
from orchestrator.tools.redirects import SEEN, Hop, next_hop

FAILED = "outbound_failed"
TOO_LARGE = "outbound_too_large"
MAX_BYTES = 1024 * 1024
MAX_REDIRECTS = 5
TIMEOUT_SECONDS = 30.0
CHUNK = 64 * 1024
# What says how a message is sent and to whom is ours to say.
OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "te", "trailer", "accept-encoding", "expect"}
    | {"connection", "keep-alive", "upgrade", "proxy-authorization", "proxy-connection"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    One request. `timeout_seconds` is for all of it: the look-up, redirects, the answer and what is made of it.

    `redirects` is how many are followed; with 0 a redirect is an answer like others. `downgrade` lets them lead from
    https to http. Of the answer's body at most `max_bytes` are read.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    redirects: int = MAX_REDIRECTS
    downgrade: bool = False
    timeout_seconds: float = TIMEOUT_SECONDS
    max_bytes: int = MAX_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. `headers` are by name in lower case; of one that came twice the values have a comma between them."""

    status: int
    headers: Mapping[str, str]
    destination: Destination
    max_bytes: int
    _response: aiohttp.ClientResponse

    async def chunks(self) -> AsyncIterator[bytes]:
        """
        The body as it comes, never decompressed: what was not asked for is refused, so that none can grow in here.

        Raises `LimitExceededError` behind `max_bytes`, `UnavailableError` where it breaks off.
        """
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise UnavailableError(f"{self.destination} answered compressed, which was not asked for.", code=FAILED)
        left = self.max_bytes
        try:
            async for chunk in self._response.content.iter_chunked(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise LimitExceededError(
                        f"The answer of {self.destination} has more than {self.max_bytes} bytes.", code=TOO_LARGE
                    )
                yield chunk
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failed(self.destination, error) from None

    async def read(self) -> bytes:
        """All of the body; raises as `chunks` does."""
        return b"".join([chunk async for chunk in self.chunks()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """
    Sends requests, each on a connection of its own to an address that the guard has seen.

    Keeps no connections, no cookies and no look-ups; reads no ~/.netrc. Certificates are checked against the name in
    the URL.
    """

    guard: Guard
    lookup: Lookup
    tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def call(self, request: Request) -> AsyncIterator[Answer]:
        """
        Send `request` and yield the answer, whatever its status, while the block is open.

        Raises `DeniedError` (`outbound_refused`) for where nothing may be sent to, at once and at each redirect;
        `InvalidError` for headers that cannot be sent; `UnavailableError` (`outbound_failed`, `outbound_unresolved`)
        for all that may work later. No message names more of an address than host and port.
        """
        destination = parse_destination(request.url)
        _check_headers(request.headers)
        deadline = asyncio.timeout(request.timeout_seconds)
        try:
            async with deadline, AsyncExitStack() as stack:
                hop = Hop(method=request.method, destination=destination, headers=request.headers, body=request.body)
                yield await self._follow(stack, request, hop)
        except TimeoutError:
            if not deadline.expired():
                raise  # the caller's own
            raise UnavailableError(
                f"{destination} cannot be reached: no answer within {request.timeout_seconds:g} s.", code=FAILED
            ) from None

    async def _follow(self, stack: AsyncExitStack, request: Request, hop: Hop) -> Answer:
        for _ in range(request.redirects + 1):
            answer = await self._send(stack, hop, request.max_bytes)
            location = answer.headers.get("location")
            if not request.redirects or answer.status not in SEEN or location is None:
                return answer
            hop = next_hop(hop, answer.status, location, downgrade=request.downgrade)
            await stack.aclose()
        raise UnavailableError(
            f"{hop.destination} cannot be reached: more than {request.redirects} redirects.", code=FAILED
        )

    async def _send(self, stack: AsyncExitStack, hop: Hop, max_bytes: int) -> Answer:
        destination = hop.destination
        proxy = _proxy(destination)
        pinned = await self._pin(destination, proxy)
        session = await stack.enter_async_context(open_session(pinned, self.tls))
        try:
            sending = session.request(
                hop.method,
                destination.url,
                headers=hop.headers,
                data=hop.body,
                allow_redirects=False,
                proxy=proxy,
            )
            response = await stack.enter_async_context(sending)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failed(destination, error) from None
        return Answer(
            status=response.status,
            headers={name.lower(): ", ".join(response.headers.getall(name)) for name in response.headers},
            destination=destination,
            max_bytes=max_bytes,
            _response=response,
        )

    async def _pin(self, destination: Destination, proxy: URL | None) -> Pinned:
        """
        Look up, check, and hold on to what was checked. A proxy looks up again by itself: what it finds is its own.

        The proxy's address is not checked: it comes from whoever started the server.
        """
        self.guard.check_name(destination)
        addresses: Sequence[Address] = ()
        try:
            addresses = await self._look_up(destination.host, destination.literal)
        except UnavailableError as error:
            # Behind a proxy there may be no public names: then somebody has to vouch for this one.
            if proxy is None or error.code != UNKNOWN:
                raise
            if not self.guard.allows_name(destination):
                raise _only_the_proxy_knows(destination) from None
        else:
            self.guard.check(destination, addresses)
        if proxy is None:
            return Pinned(host=destination.host, port=destination.port, addresses=addresses)
        host, port = proxy.raw_host or "", proxy.port or 0
        return Pinned(host=host, port=port, addresses=await self._look_up(host, literal_of(host)))

    async def _look_up(self, host: str, literal: Address | None) -> Sequence[Address]:
        if literal is not None:
            return [literal]
        found = await self.lookup(host)
        if not found:
            raise unresolved(host)
        return found


@asynccontextmanager
async def open_outbound(
    allow: Sequence[OutboundRule] = (), deny: Sequence[OutboundRule] = ()
) -> AsyncIterator[Outbound]:
    """The way out under the settings `outbound_allow` and `outbound_deny`."""
    async with open_lookup() as lookup:
        yield Outbound(guard=Guard(allow=allow, deny=deny), lookup=lookup)


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if name.lower() in OURS:
            raise InvalidError(f"The header `{name}` cannot be set: it is made from the address and the body.")
        if not name.isascii() or not name.isprintable() or any(sign in value for sign in "\r\n\0"):
            raise InvalidError("A header has a line break or a NUL in it.")


def _proxy(destination: Destination) -> URL | None:
    """The environment's proxy. Not aiohttp's `trust_env`, which also sends what ~/.netrc has for the host."""
    if proxy_bypass(destination.host):
        return None
    named = getproxies().get(destination.scheme)
    return None if not named else URL(named if "://" in named else f"http://{named}")


def _failed(destination: Destination, error: Exception) -> UnavailableError:
    """The error's own text may hold the address."""
    return UnavailableError(f"{destination} cannot be reached: {type(error).__name__}.", code=FAILED)


def _only_the_proxy_knows(destination: Destination) -> DeniedError:
    return DeniedError(
        f"{destination} is refused: its addresses cannot be looked up here, so that nobody knows where the proxy would "
        f"send it. `outbound_allow: {destination.host}` (CRONIUM_OUTBOUND_ALLOW) would allow it.",
        code=REFUSED,
    )
