"""The seam to webhooks: messages to others' servers over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class WebhookSender(Protocol):
    """Posts messages to addresses that people gave."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """
        Post `body` (JSON) once. Follows no redirect; the answer's body is not read.

        Raises `UnavailableError` (`webhook_failed`) unless the answer has a status of success, `DeniedError`
        (`outbound_refused`) where nothing may be sent to. Their messages name the host and never the rest of the
        address, which may hold a secret.
        """
        ...
