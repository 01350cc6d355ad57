"""Following a job by WebSocket: what is sent, how it ends, and clients that misbehave."""

from __future__ import annotations

import asyncio
import base64
import os
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from orchestrator.api.app import Pulse
from orchestrator.telemetry.clock import SystemClock
from tests.api.door import Door, open_door

PING, PONG = 0x9, 0xA


@asynccontextmanager
async def watching(door: Door, job_id: str, after: int = 0) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    address = f"{door.url}/ws/jobs/{job_id}/logs?after={after}"
    async with asyncio.timeout(60), door.http.ws_connect(address, headers=door.bearer("read")) as socket:
        yield socket


async def everything(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    return [message.json() async for message in socket]


async def test_lines_and_changes_come_as_they_happen_then_one_end_and_1000(door: Door):
    job = await door.submit()
    async with watching(door, job.id) as socket:
        assert (await socket.receive_json())["job"]["status"] == "queued"
        claim = await door.claim(job)
        assert (await socket.receive_json())["job"]["status"] == "running"
        await door.write(claim, ["hello", "there"])
        message = await socket.receive_json()
        assert (message["type"], [line["seq"] for line in message["lines"]]) == ("lines", [1, 2])
        await door.finish(claim)
        rest = await everything(socket)
        assert [message["type"] for message in rest] == ["end"]
        assert rest[0]["job"]["id"] == job.id
        assert socket.close_code == 1000


async def test_watching_goes_on_after_a_line_without_a_gap_or_a_repeat(door: Door):
    claim = await door.claim(await door.submit())
    await door.write(claim, [str(number) for number in range(5000)])
    await door.finish(claim)
    seen: list[int] = []
    for after in (0, 1234, 4999, 5000):
        async with watching(door, claim.job.id, after) as socket:
            got = await everything(socket)
        seen = [line["seq"] for message in got if message["type"] == "lines" for line in message["lines"]]
        assert seen == list(range(after + 1, 5001))
        assert [message["type"] for message in got].count("end") == 1


async def test_a_message_is_bounded_however_much_there_is(door: Door):
    claim = await door.claim(await door.submit())
    await door.write(claim, ["x" * 10_000] * 200)
    await door.finish(claim)
    async with watching(door, claim.job.id) as socket:
        sizes = [len(message.data) async for message in socket]
    assert sum(sizes) > 2_000_000
    assert max(sizes) < 512 * 1024


async def test_a_draining_server_says_1012_and_no_end(door: Door):
    claim = await door.claim(await door.submit())
    async with watching(door, claim.job.id) as socket:
        assert (await socket.receive_json())["type"] == "status"
        door.context.feed.drain()
        assert await everything(socket) == []
        assert socket.close_code == 1012


async def test_leaving_the_server_closes_its_sockets_with_1012(tmp_path: Path):
    async with aiohttp.ClientSession() as http:
        async with open_door(tmp_path) as door:
            job = await door.submit()
            address = f"{door.url}/ws/jobs/{job.id}/logs"
            socket = await http.ws_connect(address, headers=door.bearer("read"))
            assert (await socket.receive_json())["type"] == "status"
            reading = asyncio.ensure_future(everything(socket))
        async with asyncio.timeout(20):
            assert await reading == []
        assert socket.close_code == 1012


async def test_an_unknown_job_is_refused_before_the_upgrade(door: Door):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with watching(door, "job_unknown"):
            pass
    assert caught.value.status == 404


async def test_what_a_client_says_is_ignored(door: Door):
    claim = await door.claim(await door.submit())
    async with watching(door, claim.job.id) as socket:
        for _ in range(50):
            await socket.send_str('{"type": "subscribe"}')
            await socket.send_bytes(b"\x00")
        await door.finish(claim)
        assert [message["type"] for message in await everything(socket)] == ["status", "end"]


async def test_a_client_that_says_too_much_at_once_is_cut_off(door: Door):
    claim = await door.claim(await door.submit())
    async with watching(door, claim.job.id) as socket:
        await socket.send_str("x" * 100_000)
        await everything(socket)
        assert socket.close_code == 1009


async def test_a_client_that_does_not_read_slows_no_other(door: Door):
    claim = await door.claim(await door.submit())
    async with stuck_socket(door, claim.job.id), watching(door, claim.job.id) as socket:
        for _ in range(40):
            await door.write(claim, ["y" * 5000] * 100)  # 20 MB: more than the buffers between us hold
        await door.finish(claim)
        got = await everything(socket)
    assert sum(len(message.get("lines", ())) for message in got) == 4000
    assert got[-1]["type"] == "end"


async def test_a_client_that_gives_no_sign_of_life_is_hung_up_on(tmp_path: Path):
    pulse = Pulse(every_seconds=0.05, silence_seconds=0.2)
    async with open_door(tmp_path, pulse=pulse, clock=SystemClock()) as door:
        job = await door.submit()
        async with raw_socket(door, job.id) as (reader, _):
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(10**9)


async def test_a_client_that_answers_pings_is_kept_however_quiet_the_job_is(tmp_path: Path):
    pulse = Pulse(every_seconds=0.1, silence_seconds=1.0)
    async with open_door(tmp_path, pulse=pulse, clock=SystemClock()) as door:
        job = await door.submit()
        async with raw_socket(door, job.id) as (reader, writer):
            pings = 0
            while pings < 15:  # longer than the silence that is allowed
                opcode, _ = await read_frame(reader)
                if opcode == PING:
                    pings += 1
                    writer.write(bytes([0x80 | PONG, 0x80, 0, 0, 0, 0]))
            await door.context.canceller.cancel(job.id, by="test")
            seen = b""
            while b'"type":"end"' not in seen:
                seen = (await read_frame(reader))[1]
            assert b'"cancelled"' in seen


@asynccontextmanager
async def raw_socket(door: Door, job_id: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A WebSocket that does nothing by itself."""
    address = urlsplit(door.url)
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(handshake(door, job_id))
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            yield reader, writer
        finally:
            writer.transport.abort()


@asynccontextmanager
async def stuck_socket(door: Door, job_id: str) -> AsyncIterator[None]:
    """A WebSocket with a small buffer that nobody reads."""
    address = urlsplit(door.url)
    with sockets.socket() as client:
        client.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (address.hostname, address.port))
        await loop.sock_sendall(client, handshake(door, job_id))
        assert b" 101 " in await loop.sock_recv(client, 64)
        yield


def handshake(door: Door, job_id: str) -> bytes:
    lines = [
        f"GET /ws/jobs/{job_id}/logs HTTP/1.1",
        f"Host: {urlsplit(door.url).netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {door.tokens['read']}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One frame of the server: its opcode and payload (RFC 6455, section 5.2; a server does not mask)."""
    first, length = await reader.readexactly(2)
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2))
    elif length == 127:
        length = int.from_bytes(await reader.readexactly(8))
    return first & 0x0F, await reader.readexactly(length)
