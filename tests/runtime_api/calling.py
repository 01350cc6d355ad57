"""A client of the runtime API on a Unix socket, for tests."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from tests.sdk.memory_backend import TOKEN, MemoryBackend, serve

PLAIN = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}


class Caller:
    """`await caller(method, path, ...)` gives status, headers and body."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def __call__(
        self, method, path, *, body=None, headers=None, token=TOKEN
    ) -> tuple[int, CIMultiDictProxy[str], bytes]:
        authorization = {"Authorization": f"Bearer {token}"} if token is not None else {}
        url = URL(f"http://runtime{path}", encoded=True)
        if body is not None:
            body = io.BytesIO(body.encode() if isinstance(body, str) else body)
            headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        async with self.session.request(method, url, data=body, headers={**authorization, **(headers or {})}) as answer:
            return answer.status, answer.headers, await answer.read()

    async def data(self, method, path, **arguments) -> Any:
        status, headers, body = await self(method, path, **arguments)
        assert (status, headers["Content-Type"]) == (200, "application/json"), body
        answer = json.loads(body)
        assert set(answer) == {"success", "data"}
        assert answer["success"] is True
        return answer["data"]

    async def problem(self, method, path, **arguments) -> tuple[int, str, str]:
        """Status, code and detail of a refusal."""
        status, headers, body = await self(method, path, **arguments)
        assert headers["Content-Type"] == "application/problem+json", body
        problem = json.loads(body)
        assert set(problem) == {"type", "title", "status", "code", "detail"}
        assert problem["status"] == status
        return status, problem["code"], problem["detail"]

    async def refusal(self, method, path, **arguments) -> tuple[int, str]:
        status, code, _ = await self.problem(method, path, **arguments)
        return status, code


@asynccontextmanager
async def open_caller(backend: MemoryBackend, directory: Path) -> AsyncIterator[Caller]:
    async with serve(backend, directory) as env:
        connector = aiohttp.UnixConnector(env["CRONIUM_RUNTIME_API"].removeprefix("unix:"))
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
            yield Caller(session)


def variable(key: str) -> str:
    return f"/executions/current/variables/{quote(key, safe='')}"
