"""The Docker daemon is stopped, killed and started again while scripts run."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Executor, Process, Signal
from orchestrator.model.jobs import Reason
from tests.executors.docker.engine_for_tests import make_spec, open_executor
from tests.executors.docker.private_daemon import PrivateDaemon, daemon_for_tests, until
from tests.suites.executor_suite import Seen, finish, read_until

pytestmark = pytest.mark.docker

COUNTING = "i=0; while [ ! -e /cronium/end ]; do i=$((i+1)); echo line $i; sleep 0.005; done; echo total $i; exit 3"
MOST_LOST = 10  # of several hundred lines and three restarts: beyond that, something else is wrong


@pytest.fixture(scope="module")
def daemon() -> Iterator[PrivateDaemon]:
    with daemon_for_tests() as daemon:
        yield daemon


@pytest.fixture
async def executor(daemon: PrivateDaemon, tmp_path: Path) -> AsyncIterator[Executor]:
    async with open_executor(tmp_path, endpoint=daemon.endpoint, call_timeout_seconds=5.0) as executor:
        yield executor


async def started(executor: Executor, state: Path, script: str) -> Process:
    """A script that has printed `up`."""
    process = await executor.start(make_spec(state, f"echo up; {script}"))
    await read_until(process, b"up\n")
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_script_that_went_down_with_the_daemon_is_lost(
    daemon: PrivateDaemon, executor: Executor, tmp_path: Path, number: int
):
    process = await started(executor, tmp_path, "sleep 1000")
    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(finish(process))
        await asyncio.to_thread(daemon.restart, number=number)
    exit_ = ending.result().exit
    assert (exit_.code, exit_.reason) == (None, Reason.LOST)
    assert "daemon was stopped while the script ran" in (exit_.note or "")
    await process.remove()


async def test_a_script_that_went_down_while_nobody_watched_is_lost_as_well(daemon: PrivateDaemon, tmp_path: Path):
    """Orchestrator and daemon were both away, as after a restart of the machine."""
    async with open_executor(tmp_path, endpoint=daemon.endpoint) as executor:
        name = (await started(executor, tmp_path, "sleep 1000")).name
    daemon.restart()
    async with open_executor(tmp_path, endpoint=daemon.endpoint) as executor:
        process = await executor.attach(name)
        assert process is not None
        seen = await finish(process)
        assert (seen.stdout, seen.exit.code, seen.exit.reason) == (b"up\n", None, Reason.LOST)
        await process.remove()


async def test_a_script_that_ended_itself_before_the_daemon_went_down_keeps_its_result(
    daemon: PrivateDaemon, tmp_path: Path
):
    async with open_executor(tmp_path, endpoint=daemon.endpoint) as executor:
        process = await executor.start(make_spec(tmp_path, "exit 3"))
        until(lambda: daemon.state(process.name)["Status"] == "exited", "the script to end")
    daemon.restart()
    async with open_executor(tmp_path, endpoint=daemon.endpoint) as executor:
        found = await executor.attach(process.name)
        assert found is not None
        assert ((await found.wait()).code, (await found.wait()).reason) == (3, None)
        await found.remove()


@pytest.mark.torture
async def test_forty_scripts_that_go_down_together_are_all_lost(
    daemon: PrivateDaemon, executor: Executor, tmp_path: Path
):
    processes = await asyncio.gather(*(started(executor, tmp_path, "sleep 1000") for _ in range(40)))
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(process.wait()) for process in processes]
        await asyncio.to_thread(daemon.restart)
    assert {task.result().reason for task in waiting} == {Reason.LOST}
    assert len(await executor.sweep(frozenset())) == 40


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_with_live_restore_a_script_goes_on_and_every_line_the_daemon_kept_is_there_once(
    daemon: PrivateDaemon, executor: Executor, tmp_path: Path, number: int
):
    daemon.restart("--live-restore")
    spec = make_spec(tmp_path, COUNTING)
    process = await executor.start(spec)
    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(finish(process))
        for _ in range(3):
            await asyncio.to_thread(until, lambda: daemon.docker("logs", "--tail", "1", process.name), "a line")
            await asyncio.to_thread(daemon.restart, "--live-restore", number=number)
        (spec.directory / "end").touch()
    complete(ending.result(), daemon.docker("logs", process.name))
    await process.remove()
    daemon.restart()


async def test_with_live_restore_another_orchestrator_adopts_what_ran_on(daemon: PrivateDaemon, tmp_path: Path):
    daemon.restart("--live-restore")
    spec = make_spec(tmp_path, COUNTING)
    async with open_executor(tmp_path, endpoint=daemon.endpoint) as executor:
        await executor.start(spec)
    daemon.restart("--live-restore")
    async with open_executor(tmp_path, endpoint=daemon.endpoint) as executor:
        process = await executor.attach(spec.name)
        assert process is not None
        (spec.directory / "end").touch()
        complete(await finish(process), daemon.docker("logs", process.name))
        await process.remove()
    daemon.restart()


def complete(seen: Seen, kept: str) -> None:
    """
    Lines once and in order, the script's own end, and no more lines missing than in the daemon's own log, `kept`.

    A daemon that is stopped with live-restore lost a line itself in 1 of 15 runs on a busy machine (decision 0004).
    """
    total = re.search(rb"total (\d+)\n\Z", seen.stdout)
    assert total is not None
    numbers = [int(number) for number in re.findall(rb"^line (\d+)$", seen.stdout, re.MULTILINE)]
    assert len(numbers) == seen.stdout.count(b"\n") - 1
    assert numbers == sorted(set(numbers))
    lost_by_daemon = int(total[1]) - len(set(re.findall(r"^line \d+$", kept, re.MULTILINE)))
    assert int(total[1]) - len(numbers) <= lost_by_daemon <= MOST_LOST
    assert (seen.exit.code, seen.exit.reason, seen.exit.note) == (3, None, None)


async def test_what_we_ended_ourselves_is_no_loss_though_the_daemon_goes_down(
    daemon: PrivateDaemon, executor: Executor, tmp_path: Path
):
    process = await started(executor, tmp_path, "sleep 1000")
    await process.signal(Signal.KILL)
    daemon.restart()
    exit_ = await process.wait()
    assert (exit_.code, exit_.reason) == (137, None)
    await process.remove()
