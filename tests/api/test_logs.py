"""A job's output by pages and as a stream of NDJSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from orchestrator.api import logs
from orchestrator.model.jobs import JobStatus
from orchestrator.stores.sql import logs as stored_logs
from tests.api.door import Door


async def test_lines_come_in_pages_until_complete(door: Door):
    claim = await door.claim(await door.submit())
    await door.write(claim, [f"line {number}" for number in range(1, 26)])
    await door.finish(claim)
    path = f"/api/v3/jobs/{claim.job.id}/logs"
    after, pages = 0, []
    while True:
        page = (await door.get(f"{path}?after={after}&limit=10")).body
        pages.append(page)
        if page["complete"]:
            break
        after = page["next_after"]
    assert [len(page["lines"]) for page in pages] == [10, 10, 5]
    assert [line["seq"] for page in pages for line in page["lines"]] == list(range(1, 26))
    assert pages[0]["lines"][0] == {
        "seq": 1, "ts": "2026-01-01T00:00:00.000000Z", "stream": "stdout", "text": "line 1", "attempt": 1,
    }  # fmt: skip
    assert [page["next_after"] for page in pages] == [10, 20, 25]
    beyond = (await door.get(f"{path}?after=25")).body
    assert beyond == {"lines": [], "next_after": 25, "complete": True}


async def test_a_running_job_is_never_complete(door: Door):
    claim = await door.claim(await door.submit())
    path = f"/api/v3/jobs/{claim.job.id}/logs"
    assert (await door.get(path)).body == {"lines": [], "next_after": 0, "complete": False}
    await door.write(claim, ["one"])
    page = (await door.get(path)).body
    assert (len(page["lines"]), page["next_after"], page["complete"]) == (1, 1, False)


async def test_a_page_of_long_lines_is_cut_by_size(door: Door, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logs, "MAX_PAGE_CHARS", 1000)
    monkeypatch.setattr(stored_logs, "_READ_CHARACTERS", 500)
    claim = await door.claim(await door.submit())
    for _ in range(20):
        await door.write(claim, ["x" * 200])
    await door.finish(claim)
    page = (await door.get(f"/api/v3/jobs/{claim.job.id}/logs")).body
    assert (len(page["lines"]), page["next_after"], page["complete"]) == (6, 6, False)


async def test_text_comes_back_as_it_was(door: Door):
    claim = await door.claim(await door.submit())
    texts = ["", " ", "tab\t\x1b[31mred\x1b[0m", "nul \x00", "é 漢 🙂 \u2028", "\r", '"quotes"']
    await door.write(claim, texts)
    page = (await door.get(f"/api/v3/jobs/{claim.job.id}/logs")).body
    assert [line["text"] for line in page["lines"]] == texts


@asynccontextmanager
async def following(door: Door, job_id: str, after: int = 0) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    headers = {**door.bearer("read"), "Accept": "application/x-ndjson"}
    address = f"{door.url}/api/v3/jobs/{job_id}/logs?follow=1&after={after}"
    async with asyncio.timeout(30), door.http.get(address, headers=headers) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        yield messages(response)


async def messages(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        yield json.loads(line)


async def test_following_streams_what_comes_and_ends_with_the_job(door: Door):
    claim = await door.claim(await door.submit())
    await door.write(claim, ["before"])
    async with following(door, claim.job.id) as stream:
        assert (await anext(stream))["job"]["status"] == "running"
        assert [line["text"] for line in (await anext(stream))["lines"]] == ["before"]
        await door.write(claim, ["while", "it runs"])
        assert [line["text"] for line in (await anext(stream))["lines"]] == ["while", "it runs"]
        await door.finish(claim, JobStatus.FAILED)
        end = await anext(stream)
        assert (end["type"], end["job"]["status"], end["job"]["log"]["lines"]) == ("end", "failed", 3)
        assert [message async for message in stream] == []


async def test_following_goes_on_after_a_line(door: Door):
    claim = await door.claim(await door.submit())
    await door.write(claim, ["1", "2", "3"])
    await door.finish(claim)
    async with following(door, claim.job.id, after=2) as stream:
        got = [message async for message in stream]
    assert [message["type"] for message in got] == ["lines", "end"]
    assert [line["seq"] for line in got[0]["lines"]] == [3]


async def test_a_draining_server_ends_the_stream_without_an_end(door: Door):
    claim = await door.claim(await door.submit())
    async with following(door, claim.job.id) as stream:
        assert (await anext(stream))["type"] == "status"
        door.context.feed.drain()
        assert [message async for message in stream] == []


async def test_a_follower_that_leaves_is_forgotten(door: Door, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logs, "GONE_POLL_SECONDS", 0.02)
    claim = await door.claim(await door.submit())
    async with following(door, claim.job.id) as stream:
        assert (await anext(stream))["type"] == "status"
        assert await watchers(door) == 1
    async with asyncio.timeout(20):
        while await watchers(door) != 0:
            await asyncio.sleep(0.01)


async def watchers(door: Door) -> int:
    async with door.http.get(f"{door.url}/metrics", headers=door.bearer()) as response:
        text = await response.text()
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith("cronium_watchers "))))


async def test_head_of_a_stream_does_not_stream(door: Door):
    job = await door.submit()
    assert (await door.ask("HEAD", f"/api/v3/jobs/{job.id}/logs?follow=1")).status == 200
