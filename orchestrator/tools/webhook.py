"""Webhooks over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import UnavailableError
from orchestrator.tools.outbound import Outbound, Request

CODE = "webhook_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpWebhookSender:
    """`WebhookSender` over HTTP and HTTPS."""

    outbound: Outbound
    timeout_seconds: float = 10.0

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        request = Request(
            method="POST",
            url=url,
            body=body,
            headers=headers,
            redirects=0,
            timeout_seconds=self.timeout_seconds,
        )
        try:
            async with self.outbound.call(request) as answer:
                status, destination = answer.status, answer.destination
        except UnavailableError as error:
            raise UnavailableError(f"The webhook at {error.message}", code=CODE) from None
        if not 200 <= status < 300:
            raise UnavailableError(f"The webhook at {destination} answered {status}.", code=CODE)
