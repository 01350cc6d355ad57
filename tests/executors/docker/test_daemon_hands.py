"""People do things to containers, images and disks of the Docker daemon while scripts run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Executor, Process, Signal
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import PullPolicy
from tests.executors.docker.engine_for_tests import make_spec, open_executor
from tests.executors.docker.private_daemon import IMAGE, PrivateDaemon, daemon_for_tests
from tests.suites.executor_suite import Seen, finish, read_until

pytestmark = pytest.mark.docker

BALLAST = "ballast"


@pytest.fixture(scope="module")
def daemon() -> Iterator[PrivateDaemon]:
    with daemon_for_tests(size="300m") as daemon:
        yield daemon


@pytest.fixture
async def executor(daemon: PrivateDaemon, tmp_path: Path) -> AsyncIterator[Executor]:
    async with open_executor(tmp_path, endpoint=daemon.endpoint, call_timeout_seconds=10.0) as executor:
        yield executor


async def started(executor: Executor, state: Path, script: str) -> Process:
    """A script that has printed `up`."""
    process = await executor.start(make_spec(state, f"{script} echo up; sleep 1000 & wait"))
    await read_until(process, b"up\n")
    return process


async def ended(process: Process, daemon: PrivateDaemon, *command: str) -> Seen:
    """How it ends when `command` is given by hand."""
    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(finish(process))
        await asyncio.to_thread(daemon.docker, *command, process.name)
    return ending.result()


@pytest.mark.parametrize(
    ("command", "code", "sent"),
    [(("kill",), 137, "SIGKILL"), (("stop",), 143, "SIGTERM"), (("kill", "-s", "TERM"), 143, "SIGTERM")],
    ids=["kill", "stop", "term"],
)
async def test_an_end_by_hand_keeps_its_exit_status_and_says_so(
    daemon: PrivateDaemon, executor: Executor, tmp_path: Path, command: tuple[str, ...], code: int, sent: str
):
    process = await started(executor, tmp_path, "")
    exit_ = (await ended(process, daemon, *command)).exit
    assert (exit_.code, exit_.reason) == (code, None)
    assert f"by hand: the Docker daemon was told to send it {sent}" in (exit_.by_others or "")
    await process.remove()


async def test_a_script_that_answers_a_signal_by_hand_ends_as_it_likes(
    daemon: PrivateDaemon, executor: Executor, tmp_path: Path
):
    process = await started(executor, tmp_path, "trap 'exit 5' TERM;")
    exit_ = (await ended(process, daemon, "stop")).exit
    assert (exit_.code, exit_.reason, exit_.note) == (5, None, None)
    await process.remove()


async def test_a_container_that_is_removed_by_hand_is_lost(daemon: PrivateDaemon, executor: Executor, tmp_path: Path):
    process = await started(executor, tmp_path, "")
    exit_ = (await ended(process, daemon, "rm", "-f")).exit
    assert (exit_.code, exit_.reason) == (None, Reason.LOST)
    assert "removed" in (exit_.note or "")
    await process.remove()


@pytest.mark.parametrize("signal", list(Signal))
async def test_a_container_that_was_paused_by_hand_hears_our_signals(
    daemon: PrivateDaemon, executor: Executor, tmp_path: Path, signal: Signal
):
    process = await started(executor, tmp_path, "trap 'echo heard; exit 5' TERM;")
    daemon.docker("pause", process.name)
    await process.signal(signal)
    seen = await finish(process)
    heard = (b"up\nheard\n", 5) if signal is Signal.TERM else (b"up\n", 137)
    assert (seen.stdout, seen.exit.code) == heard
    await process.remove()


async def test_a_pause_in_between_loses_nothing(daemon: PrivateDaemon, executor: Executor, tmp_path: Path):
    process = await executor.start(make_spec(tmp_path, "for i in 1 2 3; do echo $i; sleep 0.2; done; exit 3"))
    daemon.docker("pause", process.name)
    daemon.docker("unpause", process.name)
    seen = await finish(process)
    assert (seen.stdout, seen.exit.code, seen.exit.note) == (b"1\n2\n3\n", 3, None)
    await process.remove()


async def test_an_image_that_is_removed_disturbs_only_who_starts_later(
    daemon: PrivateDaemon, executor: Executor, tmp_path: Path
):
    process = await started(executor, tmp_path, "trap 'exit 5' TERM;")
    daemon.docker("rmi", "-f", IMAGE)
    with pytest.raises(StartFailedError, match="is not on this Docker engine") as failure:
        await executor.start(make_spec(tmp_path, "true", pull=PullPolicy.NEVER))
    assert failure.value.reason == Reason.IMAGE_UNAVAILABLE
    with pytest.raises(StartFailedError, match="could not be pulled") as failure:
        await executor.start(make_spec(tmp_path, "true", pull=PullPolicy.MISSING))
    assert failure.value.reason == Reason.IMAGE_UNAVAILABLE
    await process.signal(Signal.TERM)
    assert (await process.wait()).code == 5
    await process.remove()
    daemon.load()
    last = await executor.start(make_spec(tmp_path, "echo here"))
    assert (await finish(last)).stdout == b"here\n"
    await last.remove()


async def test_a_full_disk_fails_the_start_in_plain_words_and_no_job_after_there_is_space_again(
    daemon: PrivateDaemon, executor: Executor, tmp_path: Path
):
    running = await executor.start(make_spec(tmp_path, "while [ ! -e /cronium/end ]; do sleep 0.02; done; seq 1 2000"))
    fill(daemon.data / BALLAST)
    spec = make_spec(tmp_path, "echo ran")
    with pytest.raises(UnavailableError, match=r"disk is full .*docker system prune"):
        await executor.start(spec)
    (tmp_path / "attempts" / running.name / "end").touch()
    seen = await finish(running)
    (daemon.data / BALLAST).unlink()
    assert seen.stdout == b"".join(b"%d\n" % number for number in range(1, 2001))
    assert await executor.attach(spec.name) is None
    later = await executor.start(make_spec(tmp_path, "echo ran"))
    assert (await finish(later)).stdout == b"ran\n"
    assert sorted(await executor.sweep(frozenset())) == sorted([running.name, later.name])


def fill(path: Path) -> None:
    """Write until nothing more can be written there."""
    for size in (1 << 20, 1 << 12):
        with path.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
