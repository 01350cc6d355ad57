"""Scripts that mean harm, or break in odd ways: nothing of them stays, and how they ended is known exactly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.contracts.executor import ProcessSpec, Signal
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Limits
from tests.executors.process.test_process import descriptors, opened, see, spec, supervisor_of, until
from tests.suites.executor_suite import finish, gone, marker, read_until, running_with

# Every process of a bomb ends by itself after so long: a failing test must not take the machine with it.
FUSE_SECONDS = 8
BASH_BOMB = """end=$((EPOCHSECONDS + FUSE)); echo up
b() { [ $EPOCHSECONDS -lt $end ] || exit; b | b & }; b
while [ $EPOCHSECONDS -lt $end ]; do wait; done; sleep 1000"""
PYTHON_BOMB = """import os, time
end = time.time() + FUSE
print("up", flush=True)
while time.time() < end:
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
    except OSError:
        pass"""
CHAIN = """import os, time
end = time.time() + FUSE
print("up", flush=True)
while time.time() < end:
    if os.fork():
        time.sleep(max(0, end - time.time()))"""
BOMBS = {"bash": (["/bin/bash", "-c"], BASH_BOMB), "python": ([sys.executable, "-c"], PYTHON_BOMB)}
PIDS = 60


@pytest.fixture
def mark() -> Iterator[str]:
    """A word in the command line of all that a test starts, which is killed in the end whatever the test found."""
    word = f"hostile-{marker()}"
    yield word
    while left := running_with(word):
        for line in left:
            try:
                os.kill(int(line.split(":")[0]), signal.SIGKILL)
            except ProcessLookupError:
                continue


def bomb(which: str, mark: str, pids: int = PIDS) -> ProcessSpec:
    argv, script = BOMBS[which]
    return replace(
        spec(""), argv=[*argv, script.replace("FUSE", str(FUSE_SECONDS)), mark], limits=Limits(pids=pids), tied=True
    )


# Too many processes


@pytest.mark.parametrize("which", list(BOMBS))
async def test_a_fork_bomb_is_ended_by_the_limit_of_processes(tmp_path: Path, mark: str, which: str):
    async with opened(tmp_path) as executor:
        process = await executor.start(bomb(which, mark))
        seen = await finish(process)
        assert (seen.stdout, seen.exit.reason) == (b"up\n", Reason.LIMIT)
        assert seen.exit.note is not None
        assert f"more than {PIDS} processes" in seen.exit.note
        assert running_with(mark) == []
        await process.remove()


async def test_a_chain_of_children_is_ended_by_the_limit_of_processes(tmp_path: Path, mark: str):
    chain = replace(
        spec(""),
        argv=[sys.executable, "-c", CHAIN.replace("FUSE", str(FUSE_SECONDS)), mark],
        limits=Limits(pids=PIDS),
    )
    async with opened(tmp_path) as executor:
        ended = (await see(executor, chain)).exit
        assert (ended.code, ended.reason) == (137, Reason.LIMIT)
        assert running_with(mark) == []


async def test_dead_children_that_nobody_collects_count(tmp_path: Path, mark: str):
    script = "import os, sys, time\nfor _ in range(100):\n    os.fork() or os._exit(0)\ntime.sleep(1000)"
    async with opened(tmp_path) as executor:
        what = replace(spec(""), argv=[sys.executable, "-c", script, mark], limits=Limits(pids=PIDS))
        assert (await see(executor, what)).exit.reason is Reason.LIMIT


async def test_as_many_processes_as_are_allowed_are_left_alone(tmp_path: Path, mark: str):
    number = marker()
    script = f"i=0; while [ $i -lt 19 ]; do sleep {number} & i=$((i+1)); done; echo up; read line; exit 3"
    read_end, write_end = os.pipe()
    async with opened(tmp_path) as executor:
        process = await executor.start(replace(spec(script), limits=Limits(pids=20), stdin=read_end))
        os.close(read_end)
        await read_until(process, b"up\n")
        for _ in range(5):  # others start many: the supervisor counts again
            await asyncio.gather(*(see(executor, spec("exit 0")) for _ in range(20)))
        assert len(running_with(number)) >= 19
        os.close(write_end)
        ended = await process.wait()
        assert (ended.code, ended.reason) == (3, None)
        await process.remove()


@pytest.mark.parametrize("which", list(BOMBS))
async def test_others_run_beside_a_fork_bomb(tmp_path: Path, mark: str, which: str):
    async with opened(tmp_path) as executor:
        bombs = [await executor.start(bomb(which, mark)) for _ in range(3)]
        others = await asyncio.gather(*(see(executor, spec(f"echo {number}; exit 3")) for number in range(10)))
        assert [(seen.stdout, seen.exit.code) for seen in others] == [(b"%d\n" % number, 3) for number in range(10)]
        for process in bombs:
            assert (await process.wait()).reason is Reason.LIMIT
            await process.remove()
        assert running_with(mark) == []


@pytest.mark.parametrize("how", [Signal.TERM, Signal.KILL])
async def test_what_forks_and_ends_without_end_is_ended_by_a_signal(tmp_path: Path, mark: str, how: Signal):
    """Few at a time, none for long: the limit does not see it."""
    script = tmp_path / f"{mark}.sh"
    script.write_text(
        f'[ "$(date +%s)" -lt {int(time.time()) + FUSE_SECONDS * 2} ] || exit; setsid sh "$0" again & [ "$1" ] && exit\n'
        "echo up; exec sleep 1000\n"
    )
    async with opened(tmp_path) as executor:
        process = await executor.start(replace(spec(""), argv=["/bin/sh", str(script)]))
        await read_until(process, b"up\n")
        await process.signal(how)
        assert (await process.wait()).code in (137, 143)
        await process.remove()
        assert running_with(mark) == []


async def test_a_fork_bomb_ends_with_its_main_process(tmp_path: Path, mark: str):
    script = BASH_BOMB.partition("\nwhile")[0].replace("FUSE", str(FUSE_SECONDS)) + "\nexit 3"
    async with opened(tmp_path) as executor:
        what = replace(spec(""), argv=["/bin/bash", "-c", script, mark], limits=Limits(pids=PIDS))
        process = await executor.start(what)
        assert (await process.wait()).code in (3, 137)  # whichever comes first: its own end, or that of the limit
        assert running_with(mark) == []
        await process.remove()


async def test_a_bomb_whose_supervisor_was_killed_is_ended_with_it(tmp_path: Path, mark: str):
    script = (
        f"echo $$; i=0; while [ $i -lt 40 ]; do (setsid sh -c 'sleep 1000 # {mark}' &) ; i=$((i+1)); done; sleep 1000"
    )
    marks = {"CRONIUM_EXECUTION_ID": f"job_{mark}", "CRONIUM_ATTEMPT": "1"}
    async with opened(tmp_path) as executor:
        process = await executor.start(spec(script, **marks))
        os.kill(await supervisor_of(process), signal.SIGKILL)
        assert (await process.wait()).reason is Reason.LOST
        await gone(mark)
        await process.remove()


async def test_a_script_that_kills_its_supervisor_is_lost_and_gone(tmp_path: Path, mark: str):
    marks = {"CRONIUM_EXECUTION_ID": f"job_{mark}", "CRONIUM_ATTEMPT": "1"}
    async with opened(tmp_path) as executor:
        process = await executor.start(spec(f"setsid sh -c 'sleep 1000 # {mark}' & kill -9 $PPID; sleep 1000", **marks))
        assert (await process.wait()).reason is Reason.LOST
        await gone(mark)
        await process.remove()


# How it ended


async def test_every_exit_status_is_kept(tmp_path: Path):
    async with opened(tmp_path) as executor:
        for start in range(0, 256, 32):
            codes = range(start, start + 32)
            seen = await asyncio.gather(*(see(executor, spec(f"exit {code}")) for code in codes))
            assert [each.exit.code for each in seen] == list(codes)


HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


@pytest.mark.parametrize("number", sorted(set(signal.Signals) - HARMLESS - STOPPING))
async def test_every_fatal_signal_is_kept_as_128_and_its_number(tmp_path: Path, number: signal.Signals):
    script = f"import os; os.kill(os.getpid(), {number:d})"
    async with opened(tmp_path) as executor:
        what = replace(spec(""), argv=[sys.executable, "-S", "-c", f"import signal\n{_default(number)}\n{script}"])
        assert (await see(executor, what)).exit.code == 128 + number


def _default(number: signal.Signals) -> str:
    """Python ignores or handles some signals: not in this script."""
    return "" if number is signal.SIGKILL else f"signal.signal({number:d}, signal.SIG_DFL)"


async def test_a_script_that_kills_its_own_process_group_hurts_only_itself(tmp_path: Path, mark: str):
    async with opened(tmp_path) as executor:
        seen = await see(executor, spec(f"echo up; setsid sh -c 'sleep 1000 # {mark}' & sleep 1000 & kill -9 0"))
        assert (seen.stdout, seen.exit.code, seen.exit.reason) == (b"up\n", 137, None)
        assert running_with(mark) == []


@pytest.mark.parametrize("how", [Signal.TERM, Signal.KILL])
async def test_a_stopped_script_can_be_ended(tmp_path: Path, how: Signal):
    """It is asked first: what is stopped goes on to hear TERM."""
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("trap 'echo asked; exit 9' TERM; echo $$; kill -STOP $$; sleep 1000"))
        number = int((await read_until(process, b"\n")).split()[0])
        await until(lambda: Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        await process.signal(how)
        seen = await finish(process)
        assert (seen.stdout.splitlines()[1:], seen.exit.code) == (([b"asked"], 9) if how is Signal.TERM else ([], 137))
        await process.remove()


async def test_a_script_that_closes_its_output_goes_on(tmp_path: Path):
    done = tmp_path / "done"
    async with opened(tmp_path) as executor:
        seen = await see(executor, spec(f"echo up; exec >&- 2>&-; sleep 1.5; touch {done}; exit 3"))
        assert (seen.stdout, seen.exit.code, seen.exit.reason) == (b"up\n", 3, None)
        assert done.exists()


# What it costs


async def test_three_hundred_at_once_leave_no_zombie_no_thread_and_no_descriptor(tmp_path: Path, mark: str):
    """A few of their supervisors wait for more, with a descriptor each, but not for long."""
    async with opened(tmp_path) as executor:
        await see(executor, replace(spec("exit 0"), tied=True))
        threads, before = threading.active_count(), descriptors()
        seen = await asyncio.gather(*(see(executor, spec(f"(exit 7) & exit {n % 100} # {mark}")) for n in range(300)))
        assert [each.exit.code for each in seen] == [n % 100 for n in range(300)]
        zygote = executor.zygotes.current().child.pid
        await until(lambda: _children(zygote) == [] and descriptors() == before)
        assert threading.active_count() == threads
        assert running_with(mark) == []


async def test_a_supervisor_sleeps_while_its_script_does(tmp_path: Path):
    """It wakes up about once a second to count; counted are its switches to sleep, which no load of the machine adds to."""
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo $$; sleep 3; echo end; read line < /proc/self/fd/0; sleep 1000"))
        supervisor = await supervisor_of(process)
        await read_until(process, b"end\n")
        assert _switches(supervisor) < 30
        await process.remove()


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _switches(pid: int) -> int:
    """How often a process went to sleep, see proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
