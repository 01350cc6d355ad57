"""Many watchers of one job: each gets everything once, and one that takes nothing costs nobody anything."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.e2e.serving import Serving
from tests.e2e.test_floods import rss_megabytes

pytestmark = pytest.mark.torture
HEALTHY = 200
LINES = 300
GROWTH_MEGABYTES = 100
SCRIPT = f"""
import time
for n in range({LINES}):
    print(n, "x" * 1000, flush=True)
    time.sleep(0.01)
"""


@contextmanager
def stalled(serving: Serving, job_id: str) -> Iterator[socket.socket]:
    """A watcher that has connected, with the smallest buffer there is, and never reads."""
    address = urlsplit(serving.url)
    request = (
        f"GET /ws/jobs/{job_id}/logs HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {serving.token}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.settimeout(30)
        connection.connect((str(address.hostname), int(address.port or 0)))
        connection.sendall(request.encode())
        assert connection.recv(12) == b"HTTP/1.1 101"
        yield connection


async def watch(session: aiohttp.ClientSession, serving: Serving, job_id: str, begun: asyncio.Semaphore):
    """The numbers of the lines that a healthy watcher was sent, the kinds of its messages, and its closing code."""
    seen: list[int] = []
    kinds: list[str] = []
    async with session.ws_connect(f"{serving.url}/ws/jobs/{job_id}/logs", max_msg_size=0) as watching:
        begun.release()
        async for message in watching:
            said = json.loads(message.data)
            kinds.append(said["type"])
            if said["type"] == "lines":
                seen += [line["seq"] for line in said["lines"]]
        return seen, kinds, watching.close_code


@pytest.mark.parametrize("executor", ["process"])
async def test_200_watchers_get_every_line_once_beside_one_that_never_reads(serving: Serving, executor: str):
    await asyncio.to_thread(lambda: serving.wait(serving.submit(shell="echo warm", executor=executor)))
    before = rss_megabytes(serving)
    job_id = await asyncio.to_thread(lambda: serving.submit(python=SCRIPT, executor=executor))
    begun = asyncio.Semaphore(0)
    headers = {"Authorization": f"Bearer {serving.token}"}
    connector = aiohttp.TCPConnector(limit=0)
    with stalled(serving, job_id):
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session, asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(watch(session, serving, job_id, begun)) for _ in range(HEALTHY)]
        growth = rss_megabytes(serving) - before
        job = await asyncio.to_thread(serving.wait, job_id)

    assert job["status"] == "succeeded"
    assert job["log"]["lines"] == LINES
    for seen, kinds, code in (task.result() for task in watching):
        assert seen == list(range(1, LINES + 1))
        assert (kinds[-1], kinds.count("end"), code) == ("end", 1, 1000)
    assert growth < GROWTH_MEGABYTES


async def test_a_flood_is_not_kept_in_memory_for_a_watcher_that_never_reads(serving: Serving):
    await asyncio.to_thread(lambda: serving.wait(serving.submit(shell="echo warm", executor="process")))
    before = rss_megabytes(serving)
    job_id = await asyncio.to_thread(
        lambda: serving.submit(
            shell="sleep 0.5; yes xxxxxxxxxxxxxxxxxxxxxxxxxxxx | head -n 1000000", executor="process"
        )
    )

    with stalled(serving, job_id):
        job = await asyncio.to_thread(serving.wait, job_id)
        metrics = await asyncio.to_thread(serving.metrics)
        growth = rss_megabytes(serving) - before

    assert (job["status"], job["log"]["bytes"] > 20_000_000) == ("succeeded", True)
    assert growth < GROWTH_MEGABYTES
    assert [value for name, value in metrics.items() if "watchers" in name] == [1.0]
