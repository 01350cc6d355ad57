"""Webhooks over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from orchestrator import __version__
from orchestrator.errors import UnavailableError

CODE = "webhook_failed"


@dataclass(frozen=True, slots=True)
class HttpWebhookSender:
    """`WebhookSender` over HTTP and HTTPS. Keeps no connection: what is posted is rare, and to many hosts."""

    session: aiohttp.ClientSession

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        host = urlsplit(url).netloc.rpartition("@")[2]
        try:
            posting = self.session.post(url, data=body, headers=headers, allow_redirects=False, proxy=_proxy(url))
            async with posting as response:
                status = response.status
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The error's own text may hold the address.
            raise UnavailableError(
                f"The webhook at {host} cannot be reached: {type(error).__name__}.", code=CODE
            ) from None
        if not 200 <= status < 300:
            raise UnavailableError(f"The webhook at {host} answered {status}.", code=CODE)


def _proxy(url: str) -> str | None:
    """The environment's proxy for an address. Not aiohttp's `trust_env`, which also sends what ~/.netrc has for the host."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


@asynccontextmanager
async def open_webhook_sender(*, timeout_seconds: float = 10.0) -> AsyncIterator[HttpWebhookSender]:
    """A sender that waits for an answer for so long."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        headers={"User-Agent": f"cronium/{__version__}"},
        connector=aiohttp.TCPConnector(force_close=True),
    ) as session:
        yield HttpWebhookSender(session)
