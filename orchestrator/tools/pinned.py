"""A connection that can go to the addresses that were checked, and to no others."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from orchestrator import __version__
from orchestrator.errors import DeniedError
from orchestrator.model.outbound import Address
from orchestrator.tools.destination import REFUSED

MAX_HEADERS = 128
MAX_HEADER_BYTES = 8190


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The addresses of one host that one connection may go to, and no others."""

    host: str
    port: int
    addresses: Sequence[Address]

    def open_socket(self, place: tuple[object, ...]) -> socket.socket:
        """A socket for one of them. What is about to be connected to is checked here, once more, before anything is sent."""
        family, kind, protocol, _, target = place
        if not isinstance(target, tuple) or not self._is_known(str(target[0]), target[1]):
            raise DeniedError(
                f"{self.host} would be reached at an address that was not checked: refused.", code=REFUSED
            )
        return socket.socket(int(str(family)), int(str(kind)), int(str(protocol)))

    def _is_known(self, host: str, port: object) -> bool:
        return literal_of(host) in self.addresses and port == self.port


class _Resolver(AbstractResolver):
    """What aiohttp asks for addresses: the answer is the one that was checked."""

    def __init__(self, pinned: Pinned) -> None:
        self._pinned = pinned

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host != self._pinned.host:
            raise DeniedError(f"{self._pinned.host} became another host on the way: refused.", code=REFUSED)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._pinned.addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def open_session(pinned: Pinned, tls: ssl.SSLContext | None) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(
        resolver=_Resolver(pinned),
        use_dns_cache=False,
        socket_factory=pinned.open_socket,
        force_close=True,
        ssl=True if tls is None else tls,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),  # `Outbound.call` has the one that counts
        headers={"User-Agent": f"cronium/{__version__}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
    ) as session:
        yield session


def literal_of(text: str) -> Address | None:
    """The address that `text` is, without the zone behind it."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None
