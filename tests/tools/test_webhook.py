"""Posting to webhooks: one request, no redirect, bounded in time, and no address in what is said about a failure."""

from __future__ import annotations

import pytest
from aiohttp import web

from orchestrator.errors import DeniedError, UnavailableError
from orchestrator.tools.webhook import HttpWebhookSender
from tests.tools.receiver import Receiver, open_receiver
from tests.tools.site import way_out

SECRET = "s3cr3t"


@pytest.fixture
async def receiver():
    async with open_receiver() as receiver:
        yield receiver


async def post(receiver: Receiver, *, timeout_seconds: float = 10.0) -> None:
    sender = HttpWebhookSender(outbound=way_out("127.0.0.1, hooks.example.org"), timeout_seconds=timeout_seconds)
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


async def test_the_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", receiver.url)
    receiver.url = "http://hooks.example.org"
    await post(receiver)
    (message,) = receiver.messages
    assert (message.headers["host"], message.document) == ("hooks.example.org", {"a": 1})


async def test_a_host_that_needs_no_proxy_is_reached_without_one(receiver: Receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    await post(receiver)
    assert len(receiver.messages) == 1


async def test_the_password_of_a_proxy_is_in_no_message(receiver: Receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://me:{SECRET}@127.0.0.1:1")
    receiver.url = "http://hooks.example.org"
    assert "hooks.example.org cannot be reached" in await refusal(receiver)


@pytest.mark.parametrize("user", [f"me:{SECRET}@", f":{SECRET}@", f"{SECRET}@", f"a@{SECRET}@"])
async def test_an_address_with_a_password_is_refused_without_it(receiver: Receiver, user: str):
    receiver.url = f"http://{user}127.0.0.1:1"
    with pytest.raises(DeniedError) as refused:
        await post(receiver)
    assert SECRET not in str(refused.value)


async def test_a_receiver_that_nothing_may_be_sent_to_is_refused_as_itself(receiver: Receiver):
    """S24"""
    with pytest.raises(DeniedError, match=r"`outbound_allow: 127\.0\.0\.1`") as refused:
        await HttpWebhookSender(outbound=way_out()).post(f"{receiver.url}/{SECRET}", b"{}", {})
    assert refused.value.code == "outbound_refused"
    assert SECRET not in str(refused.value)
    assert receiver.messages == []
