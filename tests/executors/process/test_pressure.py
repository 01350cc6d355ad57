"""What the process executor does when this process is out of descriptors, and what of ours a script takes over."""

from __future__ import annotations

import asyncio
import os
import resource
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.contracts.executor import ProcessSpec, Signal
from orchestrator.errors import UnavailableError
from orchestrator.executors.process import ProcessSettings, open_process_executor
from orchestrator.model.jobs import Reason
from tests.executors.process.test_process import (
    descriptors,
    opened,
    parent_of,
    see,
    settings,
    spec,
    supervisor_of,
    until,
)
from tests.suites.executor_suite import finish, read, read_until


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Every descriptor that this process may have is taken."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, descriptors())) + 10, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@contextmanager
def held(number: int) -> Iterator[select.poll]:
    """A process whose end can be seen without another descriptor."""
    handle = os.pidfd_open(number)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    try:
        yield poll
    finally:
        os.close(handle)


@contextmanager
def told(script: str) -> Iterator[tuple[ProcessSpec, int]]:
    """A script that waits for a line on its standard input, and where to write it."""
    read_end, write_end = os.pipe()
    try:
        yield replace(spec(f"echo $$; read line; {script}"), stdin=read_end, tied=True), write_end
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("listening", ["before", "in the shortage"])
async def test_a_script_that_ends_while_we_have_no_descriptor_left_is_not_lost(tmp_path: Path, listening: str):
    lines = b"".join(b"line %d\n" % number for number in range(20_000))
    with told("seq -f 'line %.0f' 0 19999; exit 3") as (what, go):
        async with opened(tmp_path) as executor:
            process = await executor.start(what)
            with held(await supervisor_of(process)) as supervisor:
                tasks = []
                if listening == "before":
                    tasks = [asyncio.ensure_future(process.wait()), asyncio.ensure_future(read(process))]
                    await asyncio.sleep(0)
                with no_descriptors():
                    if not tasks:
                        tasks = [asyncio.ensure_future(process.wait()), asyncio.ensure_future(read(process))]
                    os.write(go, b"go\n")
                    await until(lambda: supervisor.poll(0))
                    assert await process.ended() is None
                    assert not any(task.done() for task in tasks)
                    with pytest.raises(UnavailableError, match="Too many open files"):
                        await executor.attach(process.name)
                    with pytest.raises(UnavailableError, match="Too many open files"):
                        await executor.start(spec("echo never"))
                async with asyncio.timeout(20):
                    ended, (stdout, _) = await asyncio.gather(*tasks)
            assert stdout.partition(b"\n")[2] == lines
            assert (ended.code, ended.reason) == (3, None)
            assert (await finish(process)).stdout == stdout
            await process.remove()


async def test_a_supervisor_killed_while_we_have_no_descriptor_left_is_found_to_be_lost_later(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo $$; sleep 1000", CRONIUM_EXECUTION_ID="job_p", CRONIUM_ATTEMPT="1"))
        number = await supervisor_of(process)
        with held(number) as supervisor:
            with no_descriptors():
                os.kill(number, signal.SIGKILL)
                await until(lambda: supervisor.poll(0))
                assert await process.ended() is None
            assert (await process.wait()).reason == Reason.LOST
        await process.remove()


async def test_a_signal_waits_for_a_descriptor(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo up; sleep 1000"))
        await read_until(process, b"up\n")
        with no_descriptors():
            sending = asyncio.ensure_future(process.signal(Signal.KILL))
            await asyncio.sleep(0)
            assert not sending.done()
        await sending
        assert (await process.wait()).code == 137
        await process.remove()


async def test_requests_that_saw_the_same_zygote_die_share_its_successor(tmp_path: Path):
    async with opened(tmp_path) as executor:
        first = executor.zygotes.current().child
        await see(executor, replace(spec("exit 0"), tied=True))  # after which no supervisor waits for more
        first.send_signal(signal.SIGSTOP)
        starting = [asyncio.ensure_future(executor.start(spec("echo $$; sleep 1000"))) for _ in range(10)]
        await asyncio.sleep(0)
        first.kill()
        processes = await asyncio.gather(*starting)
        supervisors = [await supervisor_of(process) for process in processes]
        assert {parent_of(supervisor) for supervisor in supervisors} == {executor.zygotes.current().child.pid}
        for process in processes:
            await process.remove()


# What a script takes over


@pytest.mark.parametrize("tied", [True, False])
async def test_a_script_has_the_limits_of_open_files_that_it_is_to_have(tmp_path: Path, tied: bool):
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    script = replace(spec("ulimit -S -n; ulimit -H -n"), tied=tied)

    async def limits(given: ProcessSettings) -> tuple[int, ...]:
        async with open_process_executor(given) as executor:
            return tuple(int(limit) for limit in (await see(executor, script)).stdout.split())

    assert await limits(settings(tmp_path)) == own
    assert await limits(replace(settings(tmp_path), nofile=(100, 200))) == (100, 200)


@pytest.fixture
def under_nohup() -> Iterator[None]:
    """We ignore HUP and QUIT, and of what is nobody's business USR1."""
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("tied", "ignored"), [(True, {signal.SIGHUP, signal.SIGQUIT}), (False, set())])
async def test_only_tied_scripts_go_on_ignoring_what_we_were_told_to_ignore(
    tmp_path: Path, under_nohup: None, tied: bool, ignored: set[signal.Signals]
):
    async with opened(tmp_path) as executor:
        status = await see(executor, replace(spec(""), argv=["/bin/cat", "/proc/self/status"], tied=tied))
    line = next(line for line in status.stdout.decode().splitlines() if line.startswith("SigIgn"))
    mask = int(line.split()[1], 16)
    assert {number for number in signal.Signals if number < 32 and mask >> (number - 1) & 1} == ignored
