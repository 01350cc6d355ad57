"""Tied containers end with the orchestrator that started them, however it ends; others outlive it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.executors.docker.engine_for_tests import containers_of, docker, make_spec, open_executor
from tests.suites.executor_suite import finish, read_until

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

ORCHESTRATOR = """
import asyncio, sys
from pathlib import Path
from tests.executors.docker.engine_for_tests import make_spec, open_executor
from tests.suites.executor_suite import read_until

async def main():
    state = Path(sys.argv[1])
    async with open_executor(state) as executor:
        for tied in (True, False):
            process = await executor.start(make_spec(state, "echo up; sleep 1000", tied=tied))
            await read_until(process, b"up\\n")
            print(process.name, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def gone(name: str) -> None:
    async with asyncio.timeout(20):
        while name in await asyncio.to_thread(docker, "ps", "-a", "--format", "{{.Names}}"):
            await asyncio.sleep(0.05)  # polling with a deadline: another program removes it


async def test_a_tied_container_is_removed_after_its_orchestrator_was_killed(tmp_path: Path):
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ORCHESTRATOR, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert child.stdout is not None
    async with asyncio.timeout(30):
        tied = (await child.stdout.readline()).decode().strip()
        other = (await child.stdout.readline()).decode().strip()
    assert sorted(containers_of(tmp_path)) == sorted([tied, other])
    child.send_signal(signal.SIGKILL)
    await child.wait()
    await gone(tied)
    assert containers_of(tmp_path) == [other]
    docker("rm", "-f", other)


async def test_a_tied_container_is_removed_when_the_executor_is_closed(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        process = await executor.start(make_spec(tmp_path, "echo up; sleep 1000", tied=True))
        await read_until(process, b"up\n")
    assert containers_of(tmp_path) == []


async def test_a_tied_container_that_ends_by_itself_is_like_any_other(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        for number in range(3):
            process = await executor.start(make_spec(tmp_path, f"echo {number}; exit {number}", tied=True))
            seen = await finish(process)
            await process.remove()
            assert (seen.stdout, seen.exit.code) == (b"%d\n" % number, number)
