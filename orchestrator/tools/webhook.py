"""Webhooks over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from orchestrator import __version__
from orchestrator.errors import UnavailableError

CODE = "webhook_failed"


@dataclass(frozen=True, slots=True)
class HttpWebhookSender:
    """`WebhookSender` over HTTP and HTTPS. Keeps no connection: what is posted is rare, and to many hosts."""

    session: aiohttp.ClientSession

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        host = urlsplit(url).netloc
        try:
            async with self.session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The error's own text may hold the address.
            raise UnavailableError(
                f"The webhook at {host} cannot be reached: {type(error).__name__}.", code=CODE
            ) from None
        if not 200 <= status < 300:
            raise UnavailableError(f"The webhook at {host} answered {status}.", code=CODE)


@asynccontextmanager
async def open_webhook_sender(*, timeout_seconds: float = 10.0) -> AsyncIterator[HttpWebhookSender]:
    """A sender that waits for an answer for so long."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        headers={"User-Agent": f"cronium/{__version__}"},
        connector=aiohttp.TCPConnector(force_close=True),
        trust_env=True,
    ) as session:
        yield HttpWebhookSender(session)
