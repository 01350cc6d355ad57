"""Notify: tell the webhook of an event that a job of it has failed for good."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import OutboxItem, Store
from orchestrator.contracts.webhook import WebhookSender
from orchestrator.jobs.signature import sign
from orchestrator.model.documents import job_document, time_text
from orchestrator.model.events import Event
from orchestrator.model.jobs import Job, JobId
from orchestrator.model.json import Json

JOB_FAILED = "job.failed"

# The key that an event's messages are signed with; None where it has none. Asked for each time, so that it can change.
SigningKey: TypeAlias = Callable[[Event], Awaitable[bytes | None]]


async def unsigned(_event: Event) -> bytes | None:
    """No event has a key."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifier:
    """
    Posts `{"type": "job.failed", "timestamp": ..., "data": {"event": {...}, "job": {...}}}`.

    The headers are those of the Standard Webhooks specification: `webhook-id` is the same whenever the same news is told
    again, which happens when the server dies before it knows that it was told; `webhook-timestamp` is when it is told,
    in seconds; `webhook-signature` is there for an event that `signing_key` has a key for.
    """

    store: Store
    clock: Clock
    sender: WebhookSender
    signing_key: SigningKey = unsigned

    async def follow(self, item: OutboxItem) -> None:
        """
        The outbox handler. The payload is `{"job_id": ...}`.

        Raises `UnavailableError` for what may be told later, `DeniedError` where the webhook is one that nothing may be
        sent to.
        """
        async with self.store.read() as repos:
            job = await repos.jobs.get(JobId(str(item.payload["job_id"])))
            if job.event_id is None:
                return
            event = await repos.events.get(job.event_id)
        if event.failure_webhook is None:
            return
        now = self.clock.now()
        body = _message(event, job, now)
        webhook_id, timestamp = item.key.replace(":", "_"), int(now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
        }
        key = await self.signing_key(event)
        if key is not None:
            headers["webhook-signature"] = sign(key, webhook_id=webhook_id, timestamp=timestamp, body=body)
        await self.sender.post(event.failure_webhook, body, headers)


def _message(event: Event, job: Job, now: datetime) -> bytes:
    document: dict[str, Json] = {
        "type": JOB_FAILED,
        "timestamp": time_text(now),
        "data": {"event": {"id": event.id, "name": event.name}, "job": job_document(job)},
    }
    return json.dumps(document).encode()
