"""The Docker daemon dies, hangs and has no space left in the middle of a pull."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Executor
from orchestrator.errors import CroniumError, StartFailedError, UnavailableError
from orchestrator.model.jobs import Reason
from tests.executors.docker.engine_for_tests import make_spec, open_executor
from tests.executors.docker.private_daemon import PrivateDaemon, daemon_for_tests
from tests.executors.docker.registry import Gate, Registry, open_gate, registry_for_tests
from tests.executors.docker.told import Told
from tests.suites.executor_suite import finish

pytestmark = pytest.mark.docker

PIECE = 400_000
IDLE_SECONDS = 3.0


@pytest.fixture(scope="module")
def daemon() -> Iterator[PrivateDaemon]:
    with daemon_for_tests(size="300m") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with registry_for_tests() as registry:
        yield registry


@pytest.fixture
async def gate(registry: Registry, daemon: PrivateDaemon) -> AsyncIterator[Gate]:
    async with open_gate(registry, Path(f"/proc/{daemon._inner}/ns/net")) as gate:
        yield gate


@pytest.fixture
async def executor(daemon: PrivateDaemon, tmp_path: Path) -> AsyncIterator[Executor]:
    async with open_executor(
        tmp_path, endpoint=daemon.endpoint, call_timeout_seconds=2.0, pull_idle_seconds=IDLE_SECONDS
    ) as executor:
        yield executor


async def held_pull(executor: Executor, gate: Gate, state: Path, image: str) -> asyncio.Task[object]:
    """A start that is in the middle of its pull."""
    gate.budget = PIECE
    starting: asyncio.Task[object] = asyncio.ensure_future(executor.start(make_spec(state, "true", image=image)))
    async with asyncio.timeout(60):
        await gate.held.wait()
    return starting


async def end_of(starting: asyncio.Task[object]) -> BaseException | None:
    async with asyncio.timeout(60):
        await asyncio.wait({starting})
    return starting.exception()


async def runs_now(executor: Executor, gate: Gate, state: Path, image: str) -> bool:
    gate.open.set()
    told = Told()
    process = await executor.start(make_spec(state, "echo ran", image=image), told)
    seen = await finish(process)
    await process.remove()
    return seen.stdout == b"ran\n" and told.lines[-1].startswith(f"Pulled {image} in ")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_daemon_that_goes_away_while_it_pulls_is_said_and_the_next_job_pulls_anew(
    daemon: PrivateDaemon, registry: Registry, gate: Gate, executor: Executor, tmp_path: Path, number: int
):
    image = registry.through(registry.push(megabytes=2), gate.port)
    starting = await held_pull(executor, gate, tmp_path, image)
    await asyncio.to_thread(daemon.stop, number)
    error = await end_of(starting)
    await asyncio.to_thread(daemon.start)
    assert isinstance(error, UnavailableError)
    assert str(daemon.socket) in error.message
    assert await runs_now(executor, gate, tmp_path, image)


async def test_a_daemon_that_hangs_while_it_pulls_is_not_taken_for_a_registry_that_does(
    daemon: PrivateDaemon, registry: Registry, gate: Gate, executor: Executor, tmp_path: Path
):
    image = registry.through(registry.push(megabytes=2), gate.port)
    starting = await held_pull(executor, gate, tmp_path, image)
    daemon.signal(signal.SIGSTOP)
    try:
        error = await end_of(starting)
    finally:
        daemon.signal(signal.SIGCONT)
    assert isinstance(error, UnavailableError)
    assert "did not answer" in error.message
    assert await runs_now(executor, gate, tmp_path, image)


async def test_a_full_disk_of_the_daemon_is_said_and_when_there_is_space_the_next_job_runs(
    daemon: PrivateDaemon, registry: Registry, gate: Gate, executor: Executor, tmp_path: Path
):
    image = registry.through(registry.push(megabytes=20), gate.port)
    ballast = daemon.data / "ballast"
    space = os.statvfs(daemon.data)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - 10_000_000)
    try:
        error = await end_of(asyncio.ensure_future(executor.start(make_spec(tmp_path, "true", image=image))))
    finally:
        ballast.unlink()
    assert isinstance(error, StartFailedError)
    assert error.reason == Reason.IMAGE_UNAVAILABLE
    assert "its disk is full" in error.message
    assert "docker system prune" in error.message
    assert await runs_now(executor, gate, tmp_path, image)


async def test_no_fault_of_a_pull_leaves_a_container(daemon: PrivateDaemon, executor: Executor, tmp_path: Path):
    with pytest.raises(CroniumError):
        await executor.start(make_spec(tmp_path, "true", image="127.0.0.1:1/cronium/none:1"))
    assert daemon.docker("ps", "-aq") == ""
