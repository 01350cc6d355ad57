"""What the tests of all SDKs share: running a real script as a job would."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a script ended and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str


class Runner:
    """Runs programs in the test's directory, with nothing but PATH and what the test gives in the environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def __call__(self, *argv: str, env: Mapping[str, str] | None = None) -> Finished:
        process = await self.start(*argv, env=env)
        try:
            async with asyncio.timeout(SCRIPT_TIMEOUT_SECONDS):
                stdout, stderr = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Finished(exit_code=process.returncode, stdout=stdout.decode(), stderr=stderr.decode())

    async def start(self, *argv: str, env: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
        """Start a program; who calls waits for it."""
        return await asyncio.create_subprocess_exec(
            *argv,
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """A runner in the test's own directory."""
    return Runner(tmp_path)
