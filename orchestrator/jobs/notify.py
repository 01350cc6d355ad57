"""Notify: tell the webhook of an event that a job of it has failed for good."""

from __future__ import annotations

import json
from dataclasses import dataclass

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import OutboxItem, Store
from orchestrator.contracts.webhook import WebhookSender
from orchestrator.model.documents import job_document, time_text
from orchestrator.model.jobs import JobId
from orchestrator.model.json import Json

JOB_FAILED = "job.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifier:
    """
    Posts `{"type": "job.failed", "timestamp": ..., "data": {"event": {...}, "job": {...}}}`.

    The headers `webhook-id` and `webhook-timestamp` are those of the Standard Webhooks specification: the id is the same
    whenever the same news is told again, which happens when the server dies before it knows that it was told.
    """

    store: Store
    clock: Clock
    sender: WebhookSender

    async def follow(self, item: OutboxItem) -> None:
        """The outbox handler. The payload is `{"job_id": ...}`."""
        async with self.store.read() as repos:
            job = await repos.jobs.get(JobId(str(item.payload["job_id"])))
            if job.event_id is None:
                return
            event = await repos.events.get(job.event_id)
        if event.failure_webhook is None:
            return
        now = self.clock.now()
        document: dict[str, Json] = {
            "type": JOB_FAILED,
            "timestamp": time_text(now),
            "data": {"event": {"id": event.id, "name": event.name}, "job": job_document(job)},
        }
        headers = {
            "Content-Type": "application/json",
            "webhook-id": item.key.replace(":", "_"),
            "webhook-timestamp": str(int(now.timestamp())),
        }
        await self.sender.post(event.failure_webhook, json.dumps(document).encode(), headers)
