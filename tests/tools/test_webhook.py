"""Posting to webhooks: one request, no redirect, bounded in time, and no address in what is said about a failure."""

from __future__ import annotations

import pytest
from aiohttp import web

from orchestrator.errors import UnavailableError
from orchestrator.tools.webhook import open_webhook_sender
from tests.tools.receiver import Receiver, open_receiver

SECRET = "s3cr3t"


@pytest.fixture
async def receiver():
    async with open_receiver() as receiver:
        yield receiver


async def post(receiver: Receiver, *, timeout_seconds: float = 10.0) -> None:
    async with open_webhook_sender(timeout_seconds=timeout_seconds) as sender:
        await sender.post(f"{receiver.url}/hook?key={SECRET}", b'{"a": 1}', {"webhook-id": "w1"})


async def refusal(receiver: Receiver, **how) -> str:
    with pytest.raises(UnavailableError) as refused:
        await post(receiver, **how)
    assert refused.value.code == "webhook_failed"
    assert SECRET not in repr(refused.value) + str(refused.value)
    assert refused.value.__cause__ is None
    return refused.value.message


async def test_a_message_arrives_once_with_its_headers(receiver: Receiver):
    await post(receiver)
    (message,) = receiver.messages
    assert (message.path, message.document, message.headers["webhook-id"]) == (f"/hook?key={SECRET}", {"a": 1}, "w1")
    assert message.headers["user-agent"].startswith("cronium/")


@pytest.mark.parametrize("status", [301, 400, 410, 500])
async def test_an_answer_without_success_is_a_failure_and_no_redirect_is_followed(receiver: Receiver, status: int):
    async def answer() -> web.Response:
        return web.Response(status=status, headers={"Location": f"{receiver.url}/other"})

    receiver.answer = answer
    assert f"answered {status}" in await refusal(receiver)
    assert len(receiver.messages) == 1


async def test_a_receiver_that_is_silent_is_not_waited_for_longer_than_the_timeout(receiver: Receiver):
    receiver.answer = receiver.silence
    assert "cannot be reached" in await refusal(receiver, timeout_seconds=0.05)


async def test_nobody_there_is_named_by_the_host_alone(receiver: Receiver):
    receiver.url = "http://127.0.0.1:1"
    assert "127.0.0.1:1 cannot be reached" in await refusal(receiver)
