"""Failure webhooks: told of each job of an event that has failed for good, and of nothing else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.store import Outcome
from orchestrator.errors import CroniumError, DeniedError, UnavailableError
from orchestrator.jobs.event_document import parse_event
from orchestrator.jobs.finish import NOTIFY, NOTIFY_LANE, finish, retry
from orchestrator.jobs.follow import Follower, Outside
from orchestrator.jobs.notify import Notifier, SigningKey, unsigned
from orchestrator.jobs.registrar import Registrar
from orchestrator.jobs.signature import parse_signing_key
from orchestrator.model.documents import job_document
from orchestrator.model.events import Event
from orchestrator.model.jobs import Claim, Job, JobStatus, Reason
from tests.jobs.scripted import PATIENCE_SECONDS, Rig, open_rig

URL = "https://hooks.example.org/s3cr3t"
LANE = f"{NOTIFY_LANE}q"


class FakeSender:
    """A `WebhookSender` that remembers, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.failure: CroniumError = UnavailableError("The webhook answered 500.", code="webhook_failed")
        self.hangs = False
        self.tries = 0
        self.sent: list[tuple[str, dict, dict]] = []
        self.bodies: list[bytes] = []

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.tries += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.failures:
            self.failures -= 1
            raise self.failure
        self.bodies.append(body)
        self.sent.append((url, json.loads(body), dict(headers)))


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


async def a_claim(rig: Rig, name: str, *, webhook: str | None = URL) -> Claim:
    """A job of an event, claimed."""
    registrar = Registrar(store=rig.store, clock=rig.clock, submitter=rig.submitter(), wake=lambda: None)
    notify = {} if webhook is None else {"notify": {"failure": {"webhook": webhook}}}
    await registrar.create(parse_event({"name": name, "bash": "true", **notify}), by="me")
    await registrar.run(name, by="me")
    (claim,) = await rig.claim()
    return claim


def an_outcome(rig: Rig, status: JobStatus) -> Outcome:
    reason = None if status is JobStatus.SUCCEEDED else Reason.EXIT_CODE
    return Outcome(status=status, reason=reason, finished_at=rig.clock.now(), message="It broke.")


async def a_job(rig: Rig, status: JobStatus, *, webhook: str | None = URL) -> Job:
    """A job of an event, ended."""
    claim = await a_claim(rig, f"e-{status}", webhook=webhook)
    return await finish(rig.store, rig.clock, claim, an_outcome(rig, status), by="me")


def a_follower(
    rig: Rig, sender: FakeSender, outside: Outside | None = None, signing_key: SigningKey = unsigned
) -> Follower:
    notifier = Notifier(store=rig.store, clock=rig.clock, sender=sender, signing_key=signing_key)
    handlers = {NOTIFY: notifier.follow}
    outside = outside or Outside()
    return Follower(store=rig.store, clock=rig.clock, handlers=handlers, queue=LANE, outside=outside)


async def rounds(rig: Rig, follower: Follower, number: int) -> None:
    """So many looks at the outbox, an hour apart."""
    for _ in range(number):
        await follower._deliver_due()
        rig.clock.advance(timedelta(hours=1))


async def left(rig: Rig) -> int:
    async with rig.store.read() as repos:
        return len(await repos.outbox.due(LANE, at=rig.clock.now() + timedelta(days=9), limit=10))


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.TIMED_OUT])
async def test_a_job_that_failed_for_good_is_told_once(rig: Rig, status: JobStatus):
    job = await a_job(rig, status)
    sender = FakeSender()
    await rounds(rig, a_follower(rig, sender), 3)
    ((url, document, headers),) = sender.sent
    assert url == URL
    assert document["type"] == "job.failed"
    assert document["data"]["job"] == job_document(job)
    assert document["data"]["event"] == {"id": job.event_id, "name": f"e-{status}"}
    assert headers["webhook-id"] == f"notify_{job.id}"
    assert await left(rig) == 0


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.CANCELLED, JobStatus.SKIPPED])
async def test_other_ends_are_not_told(rig: Rig, status: JobStatus):
    await a_job(rig, status)
    assert await left(rig) == 0


async def test_an_attempt_that_is_followed_by_another_is_not_told(rig: Rig):
    sender = FakeSender()
    follower = a_follower(rig, sender)
    claim = await a_claim(rig, "nightly")
    await retry(rig.store, rig.clock, claim, an_outcome(rig, JobStatus.FAILED), timedelta(0), by="me")
    await rounds(rig, follower, 1)
    assert (sender.tries, await left(rig)) == (0, 0)

    (again,) = await rig.claim()
    await finish(rig.store, rig.clock, again, an_outcome(rig, JobStatus.FAILED), by="me")
    await rounds(rig, follower, 1)
    assert [document["data"]["job"]["attempt"] for _, document, _ in sender.sent] == [2]


async def test_an_event_without_a_webhook_tells_nobody(rig: Rig):
    await a_job(rig, JobStatus.FAILED, webhook=None)
    sender = FakeSender()
    await rounds(rig, a_follower(rig, sender), 1)
    assert (sender.tries, await left(rig)) == (0, 0)


async def test_a_receiver_that_fails_is_told_again_with_the_same_id(rig: Rig):
    job = await a_job(rig, JobStatus.FAILED)
    sender = FakeSender(failures=3)
    await rounds(rig, a_follower(rig, sender), 5)
    assert sender.tries == 4
    assert [headers["webhook-id"] for _, _, headers in sender.sent] == [f"notify_{job.id}"]


async def test_a_receiver_that_always_fails_is_given_up(rig: Rig, caplog):
    await a_job(rig, JobStatus.FAILED)
    sender = FakeSender(failures=99)
    await rounds(rig, a_follower(rig, sender, Outside(tries=3)), 6)
    assert (sender.tries, await left(rig)) == (3, 0)
    assert "given up" in caplog.text
    assert "s3cr3t" not in caplog.text


async def test_one_that_nothing_may_be_sent_to_is_given_up_at_once(rig: Rig, caplog):
    """S24"""
    await a_job(rig, JobStatus.FAILED)
    sender = FakeSender(failures=99)
    sender.failure = DeniedError("10.0.0.1 is refused: it is private.", code="outbound_refused")
    await rounds(rig, a_follower(rig, sender), 3)
    assert (sender.tries, await left(rig)) == (1, 0)
    (record,) = [record for record in caplog.records if record.message == "an outbox item is given up"]
    assert record.error == "10.0.0.1 is refused: it is private."


async def test_one_that_is_silent_is_left_in_time(rig: Rig):
    await a_job(rig, JobStatus.FAILED)
    sender = FakeSender()
    sender.hangs = True
    follower = a_follower(rig, sender, Outside(timeout=timedelta(milliseconds=10)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await follower._deliver_due()
    assert await left(rig) == 1


async def test_of_two_that_look_at_once_one_tells(rig: Rig):
    await a_job(rig, JobStatus.FAILED)
    sender = FakeSender()
    await asyncio.gather(*(a_follower(rig, sender)._deliver_due() for _ in range(4)))
    assert len(sender.sent) == 1


async def test_what_was_taken_by_one_that_died_is_told_by_another_after_the_lease(rig: Rig):
    await a_job(rig, JobStatus.FAILED)
    lease = Outside().lease
    async with rig.store.begin() as repos:
        assert len(await repos.outbox.take(LANE, at=rig.clock.now(), lease=lease, limit=1)) == 1
    sender = FakeSender()
    follower = a_follower(rig, sender)
    await follower._deliver_due()
    assert sender.tries == 0
    rig.clock.advance(lease)
    await follower._deliver_due()
    assert len(sender.sent) == 1


async def test_the_message_of_an_event_with_a_key_is_signed_as_it_is_sent(rig: Rig):
    """By the Standard Webhooks specification: HMAC-SHA256 over `id.timestamp.body`."""
    key = parse_signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    async def key_of(event: Event) -> bytes | None:
        return key if event.name == "e-failed" else None

    await a_job(rig, JobStatus.FAILED)
    await a_job(rig, JobStatus.TIMED_OUT)
    sender = FakeSender()
    await rounds(rig, a_follower(rig, sender, signing_key=key_of), 1)
    signatures = {}
    for (_, document, headers), body in zip(sender.sent, sender.bodies, strict=True):
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        right = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        signatures[document["data"]["event"]["name"]] = headers.get("webhook-signature", "") == right
    assert signatures == {"e-failed": True, "e-timed_out": False}


async def test_each_try_is_signed_for_its_own_time(rig: Rig):
    async def key_of(event: Event) -> bytes | None:
        return b"k" * 24

    await a_job(rig, JobStatus.FAILED)
    sender = FakeSender()
    stamps = []
    for _ in range(2):
        async with rig.store.begin() as repos:
            (item,) = await repos.outbox.take(LANE, at=rig.clock.now(), lease=timedelta(seconds=1), limit=1)
        await Notifier(store=rig.store, clock=rig.clock, sender=sender, signing_key=key_of).follow(item)
        rig.clock.advance(timedelta(hours=1))
        _, _, headers = sender.sent[-1]
        stamps.append((headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"]))
    (id_, first, signature), (again, second, other) = stamps
    assert (id_, int(first) + 3600) == (again, int(second))
    assert signature != other
