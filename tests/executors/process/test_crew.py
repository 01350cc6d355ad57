"""Supervisors that wait for another script: one at a time each, nothing carried over, none for long."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from orchestrator.contracts.executor import Signal
from orchestrator.executors.process import crew
from orchestrator.executors.process.executor import ProcessExecutor
from tests.executors.process.test_process import ENV, opened, parent_of, see, spec, supervisor_of, until
from tests.suites.executor_suite import finish, read_until

STATE = """
import json, os, resource, signal, sys
print(json.dumps({
    "cwd": os.getcwd(), "files": sorted(os.listdir("/proc/self/fd")), "env": dict(os.environ),
    "ignored": [int(n) for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN
                and n not in (signal.SIGPIPE, signal.SIGXFSZ)],
    "blocked": [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "core": resource.getrlimit(resource.RLIMIT_CORE), "leader": os.getsid(0) == os.getpid() == os.getpgid(0),
}))
"""


async def waiting(executor: ProcessExecutor) -> None:
    """Until every supervisor waits for another script."""
    await until(lambda: len(executor.zygotes.crew.idle) == len(executor.zygotes.crew.kept))


async def test_a_supervisor_sees_to_one_script_after_another(tmp_path: Path):
    async with opened(tmp_path) as executor:
        supervisors = []
        for number in range(3):
            seen = await see(executor, spec(f"echo $PPID; exit {number}"))
            assert seen.exit.code == number
            supervisors.append(int(seen.stdout))
            await waiting(executor)
        assert len(set(supervisors)) == 1


async def test_scripts_that_run_at_once_have_a_supervisor_each(tmp_path: Path):
    async with opened(tmp_path) as executor:
        await see(executor, spec("exit 0"))
        await waiting(executor)
        running = [await executor.start(spec("echo $PPID; sleep 1000")) for _ in range(3)]
        parents = {(await read_until(process, b"\n")).split()[0] for process in running}
        assert len(parents) == 3
        for process in running:
            await process.remove()


async def test_the_second_script_of_a_supervisor_begins_like_the_first(tmp_path: Path):
    """Directory, files, environment, signals, limits and session are its own, whatever the one before did."""
    async with opened(tmp_path) as executor:
        program = replace(spec("", ONLY="this"), argv=[sys.executable, "-c", STATE], workdir="/tmp")
        first = await see(executor, program)
        await waiting(executor)
        await see(executor, spec("trap '' TERM INT; cd /; echo out; echo err >&2; sleep 1000 & exit 5", OTHER="x"))
        await waiting(executor)
        last = await see(executor, replace(program, name="cronium-test-last-1"))
        assert first.exit.code == 0
        assert last.stdout == first.stdout
        assert ENV["PATH"].encode() in last.stdout


async def test_a_supervisor_that_waits_is_not_asked_for_a_tied_script_nor_for_one_with_standard_input(tmp_path: Path):
    async with opened(tmp_path) as executor:
        seen = await see(executor, spec("echo $PPID"))
        await waiting(executor)
        tied = await see(executor, replace(spec("echo $PPID"), tied=True))
        read_end, write_end = os.pipe()
        os.write(write_end, b"given\n")
        os.close(write_end)
        fed = await see(executor, replace(spec("read line; echo $PPID $line"), stdin=read_end))
        os.close(read_end)
        assert fed.stdout.split()[1] == b"given"
        assert len({seen.stdout.strip(), tied.stdout.strip(), fed.stdout.split()[0]}) == 3


async def test_one_that_was_killed_while_it_waited_is_not_missed(tmp_path: Path):
    async with opened(tmp_path) as executor:
        seen = await see(executor, spec("echo $PPID"))
        await waiting(executor)
        os.kill(int(seen.stdout), signal.SIGKILL)
        after = await see(executor, spec("echo $PPID; exit 3"))  # at once: nobody has noticed yet
        assert after.exit.code == 3
        assert after.stdout != seen.stdout


async def test_one_that_waits_outlives_neither_its_patience_nor_the_orchestrator(tmp_path: Path):
    async with opened(tmp_path) as executor:
        first = int((await see(executor, spec("echo $PPID"))).stdout)
        await waiting(executor)
        await until(lambda: not Path(f"/proc/{first}").exists())
        await until(lambda: not executor.zygotes.crew.kept)
        second = int((await see(executor, spec("echo $PPID"))).stdout)
        await waiting(executor)
    await until(lambda: not Path(f"/proc/{second}").exists())


async def test_one_with_a_script_goes_on_when_the_orchestrator_goes_and_ends_with_it(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo $$; sleep 1000"))
        supervisor = await supervisor_of(process)
    assert Path(f"/proc/{supervisor}").exists()
    async with opened(tmp_path) as executor:
        again = await executor.attach(process.name)
        assert again is not None
        await again.signal(Signal.KILL)
        assert (await finish(again)).exit.code == 137
        await until(lambda: not Path(f"/proc/{supervisor}").exists())
        await again.remove()


async def test_no_more_are_kept_than_there_are_descriptors_for(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(crew, "KEPT", 2)
    async with opened(tmp_path) as executor:
        seen = await asyncio.gather(*(see(executor, spec(f"sleep 0.2; exit {n}")) for n in range(8)))
        assert [each.exit.code for each in seen] == list(range(8))
        assert len(executor.zygotes.crew.kept) <= 2


async def test_many_one_after_another_by_a_few_supervisors_all_end_as_they_should(tmp_path: Path):
    async with opened(tmp_path) as executor:
        places = asyncio.Semaphore(8)

        async def one(number: int) -> tuple[bytes, int | None, int]:
            async with places:
                seen = await see(executor, spec(f"echo {number} $PPID; exit {number % 7}"))
                return seen.stdout.split()[0], seen.exit.code, int(seen.stdout.split()[1])

        seen = await asyncio.gather(*(one(number) for number in range(80)))
        assert [each[:2] for each in seen] == [(str(number).encode(), number % 7) for number in range(80)]
        assert len({supervisor for _, _, supervisor in seen}) < 60
        assert all(parent_of(supervisor) for _, _, supervisor in seen if Path(f"/proc/{supervisor}").exists())
