"""The command as people start it, with a home of its own and a server that is a fake."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.fake_server import TOKEN, FakeServer, open_fake_server
from tests.conftest import CRONIUM

DEADLINE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Cli:
    """Starts `cronium` in `home`, with nothing but `env` in its environment."""

    home: Path
    env: dict[str, str]

    async def start(self, *args: str, **options: object) -> asyncio.subprocess.Process:
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        return await asyncio.create_subprocess_exec(CRONIUM, *args, cwd=self.home, env=self.env, **{**pipes, **options})

    async def __call__(self, *args: str, stdin: bytes = b"") -> Answer:
        process = await self.start(*args)
        async with asyncio.timeout(DEADLINE_SECONDS):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Answer(process.returncode, out.decode(), err.decode())


@pytest.fixture
def lonely(tmp_path: Path) -> Cli:
    """The command where no server is to be found."""
    return Cli(tmp_path, {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8"})


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with open_fake_server() as server:
        yield server


@pytest.fixture
def cronium(lonely: Cli, server: FakeServer) -> Cli:
    """The command with the fake server in its environment."""
    lonely.env.update(CRONIUM_URL=server.url, CRONIUM_TOKEN=TOKEN)
    return lonely
