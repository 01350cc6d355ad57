"""Serving: addresses, ports that cannot be had, tokens."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from orchestrator.api.server import open_api_server
from orchestrator.api.tokens import digest_of, new_token
from orchestrator.errors import ConflictError, InvalidError
from tests.api.door import open_door


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")]
)
async def test_the_url_reaches_the_server_from_this_machine(host: str, expected: str):
    async with open_api_server(web.Application(), host, 0) as url:
        assert re.fullmatch(rf"http://({re.escape(expected)}|\[::1\]):\d+", url)
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            assert response.status == 404


async def test_a_taken_port_is_named_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConflictError, match=f"{port}.*--port"):
            async with open_api_server(web.Application(), "127.0.0.1", port):
                pass


async def test_an_address_that_is_not_ours_is_named():
    with pytest.raises(InvalidError, match="--host"):
        async with open_api_server(web.Application(), "192.0.2.1", 0):
            pass


async def test_the_port_is_free_again_after_the_server(tmp_path: Path):
    async with open_door(tmp_path / "first") as door:
        port = int(door.url.rpartition(":")[2])
        assert (await door.get("/healthz")).status == 200
    async with open_api_server(web.Application(), "127.0.0.1", port) as url:
        assert url.endswith(f":{port}")


def test_a_token_is_long_and_url_safe_and_stored_as_its_digest():
    token, digest = new_token()
    assert re.fullmatch(r"crn_[A-Za-z0-9_-]{43}", token)
    assert digest == digest_of(token)
    assert len(digest) == 32
    assert new_token()[0] != token
