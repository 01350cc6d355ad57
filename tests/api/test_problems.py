"""Errors: one shape for all of them, and a status for each kind."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.api.app import Readiness
from orchestrator.errors import ConflictError, CroniumError, LimitExceededError, UnavailableError
from tests.api.door import Door, open_door

SHAPE = {"type", "title", "status", "code", "detail", "errors", "request_id"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/", None, 404, "not_found"),
        ("GET", "/api/v3/jobs/job_unknown", None, 404, "not_found"),
        ("GET", "/api/v3/jobs/job_unknown/logs", None, 404, "not_found"),
        ("GET", "/api/v3/jobs/job_unknown/logs?follow=1", None, 404, "not_found"),
        ("GET", "/api/v3/jobs/job_unknown/journal", None, 404, "not_found"),
        ("POST", "/api/v3/jobs/job_unknown/cancel", None, 404, "not_found"),
        ("DELETE", "/api/v3/jobs", None, 405, "method_not_allowed"),
        ("POST", "/api/v3/jobs", b"", 400, "invalid_json"),
        ("POST", "/api/v3/jobs", b"{", 400, "invalid_json"),
        ("POST", "/api/v3/jobs", b'{"bash": "true", "input": NaN}', 400, "invalid_json"),
        ("POST", "/api/v3/jobs", b'{"bash": "\\ud800"}', 400, "invalid_json"),
        ("POST", "/api/v3/jobs", b"\xff", 400, "invalid_json"),
        ("POST", "/api/v3/jobs", b"[" * 100_000, 400, "invalid_json"),
        ("POST", "/api/v3/jobs", b"[]", 422, "invalid"),
        ("POST", "/api/v3/jobs", b"{}", 422, "invalid"),
        ("GET", "/ws/jobs/job_unknown/logs", None, 404, "not_found"),
    ],
)
async def test_a_refusal_is_a_problem(door: Door, method: str, path: str, body: bytes | None, status: int, code: str):
    reply = await door.ask(method, path, data=body)
    assert (reply.status, reply.body["code"]) == (status, code)
    assert set(reply.body) == SHAPE
    assert reply.body["status"] == status
    assert reply.body["title"]
    assert reply.body["detail"]
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert reply.headers["X-Request-Id"] == reply.body["request_id"]


async def test_a_body_that_is_too_large_is_refused(door: Door):
    reply = await door.ask("POST", "/api/v3/jobs", data=io.BytesIO(b" " * (2 * 1024 * 1024 + 1)))
    assert (reply.status, reply.body["code"]) == (413, "too_large")
    assert "2 MiB" in reply.body["detail"]


async def test_a_body_that_hides_its_length_is_bounded_too(door: Door):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3 * 1024):
            yield b" " * 1024

    reply = await door.ask("POST", "/api/v3/jobs", data=endless())
    assert (reply.status, reply.body["code"]) == (413, "too_large")


async def test_a_compressed_body_is_refused_unread(door: Door):
    bomb = gzip.compress(b" " * 10_000_000)
    reply = await door.ask("POST", "/api/v3/jobs", data=bomb, headers={"Content-Encoding": "gzip"})
    assert (reply.status, reply.body["code"]) == (415, "encoding_unsupported")


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(door: Door, caplog: pytest.LogCaptureFixture):
    address = urlsplit(door.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST /api/v3/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.tokens['run']}\r\n"
    writer.write(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    await writer.drain()
    assert (await door.get("/api/v3/jobs")).status == 200  # by now the other request waits for its body
    writer.transport.abort()
    assert (await door.get("/api/v3/jobs")).body["items"] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_wrong_method_says_which_are_right(door: Door):
    reply = await door.ask("PUT", "/api/v3/jobs")
    assert reply.headers["Allow"] == "GET, HEAD, POST"


async def test_every_fault_of_a_specification_is_named(door: Door):
    document = {"bash": "true", "python": "pass", "timeout": "soon", "memroy": "1GB"}
    reply = await door.ask("POST", "/api/v3/jobs", json=document)
    assert reply.status == 422
    paths = {fault["path"] for fault in reply.body["errors"]}
    assert {"timeout", "memroy"} <= paths


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v3/jobs?limit=0", "limit"),
        ("/api/v3/jobs?limit=201", "limit"),
        ("/api/v3/jobs?limit=ten", "limit"),
        ("/api/v3/jobs?limit=1_0", "limit"),
        ("/api/v3/jobs?status=done", "status"),
        ("/api/v3/jobs?cursor=nonsense", "cursor"),
        ("/api/v3/jobs/{id}/logs?after=-1", "after"),
        ("/api/v3/jobs/{id}/logs?after=99999999999999999999", "after"),
        ("/api/v3/jobs/{id}/logs?after=%D9%A1", "after"),
        ("/api/v3/jobs/{id}/logs?limit=10001", "limit"),
        ("/api/v3/jobs/{id}/logs?follow=maybe", "follow"),
        ("/api/v3/jobs/{id}/journal?after=x", "after"),
        ("/ws/jobs/{id}/logs?after=x", "after"),
    ],
)
async def test_a_wrong_parameter_is_named(door: Door, path: str, name: str):
    job = await door.submit()
    reply = await door.get(path.replace("{id}", job.id))
    assert reply.status == 422
    assert [fault["path"] for fault in reply.body["errors"]] == [name]


async def test_a_request_keeps_the_name_its_caller_gave_it(door: Door):
    reply = await door.get("/healthz", headers={"X-Request-Id": "deploy-17:a.b_c"})
    assert reply.headers["X-Request-Id"] == "deploy-17:a.b_c"


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, "<script>"])
async def test_a_request_gets_a_name_when_it_has_no_sane_one(door: Door, given: str):
    reply = await door.get("/healthz", headers={"X-Request-Id": given})
    assert reply.headers["X-Request-Id"].startswith("req_")


async def test_an_unexpected_error_is_logged_and_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def broken() -> Readiness:
        raise RuntimeError("the password is hunter2")

    async with open_door(tmp_path, readiness=broken) as door:
        with caplog.at_level(logging.ERROR):
            reply = await door.get("/readyz")
    assert (reply.status, reply.body["code"]) == (500, "internal")
    assert "hunter2" not in str(reply.body)
    [record] = [record for record in caplog.records if record.name.startswith("orchestrator")]
    assert record.exc_info is not None
    assert vars(record)["request_id"] == reply.body["request_id"]


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (UnavailableError("The store does not answer."), 503, "1"),
        (LimitExceededError("Too many jobs wait."), 429, "1"),
        (ConflictError("It is final."), 409, None),
        (CroniumError("Nobody foresaw this."), 500, None),
    ],
)
async def test_each_kind_of_error_has_its_status(
    tmp_path: Path, error: CroniumError, status: int, retry_after: str | None
):
    async def failing() -> Readiness:
        raise error

    async with open_door(tmp_path, readiness=failing) as door:
        reply = await door.get("/readyz")
    assert reply.status == status
    assert reply.headers.get("Retry-After") == retry_after


async def test_an_ordinary_request_to_a_socket_is_told_to_upgrade(door: Door):
    job = await door.submit()
    reply = await door.get(f"/ws/jobs/{job.id}/logs")
    assert (reply.status, reply.body["code"]) == (426, "upgrade_required")
    assert reply.headers["Upgrade"] == "websocket"
