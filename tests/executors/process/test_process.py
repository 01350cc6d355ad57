"""What only the process executor promises: supervisors outlive us, nothing of the tree stays, the disk may be full."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Executor, Process, ProcessSpec, Signal
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.process import ProcessSettings, open_process_executor, spool
from orchestrator.executors.process.executor import ProcessExecutor
from orchestrator.model.jobs import Reason
from orchestrator.model.logs import Cursor
from tests.suites.executor_suite import COUNT, finish, gone, marker, read, read_until, running_with

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("killed_orchestrator.py")
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def settings(state: Path) -> ProcessSettings:
    spool_directory = state / "spool"
    spool_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ProcessSettings(spool=spool_directory, sdk=ROOT / "sdk", runtime_socket=state / "api.sock", inherit=ENV)


@asynccontextmanager
async def opened(state: Path) -> AsyncIterator[ProcessExecutor]:
    async with open_process_executor(settings(state)) as executor:
        assert isinstance(executor, ProcessExecutor)
        yield executor


def spec(script: str, *, name: str | None = None, **env: str) -> ProcessSpec:
    return ProcessSpec(
        name=name or f"cronium-test-{uuid.uuid4().hex[:12]}-1",
        directory=Path("/"),
        argv=["/bin/sh", "-c", script],
        env={**ENV, **env},
        workdir="/",
    )


async def see(executor: Executor, what: ProcessSpec):
    process = await executor.start(what)
    seen = await finish(process)
    await process.remove()
    return seen


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


async def supervisor_of(process: Process) -> int:
    """The supervisor's number, by a script that prints its own first."""
    line = await read_until(process, b"\n")
    return parent_of(int(line.split()[0]))


@asynccontextmanager
async def another_orchestrator(state: Path, name: str, script: str, *, tied: bool) -> AsyncIterator[subprocess.Popen]:
    settings(state)
    arguments = [sys.executable, str(PROGRAM), str(state), name, script, "tied" if tied else "free"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as other:
        assert other.stdout is not None
        try:
            assert await asyncio.to_thread(other.stdout.readline) == b"started\n"
            yield other
        finally:
            other.kill()


# Supervisors outlive the orchestrator


async def test_every_line_and_the_exit_code_survive_a_killed_orchestrator(tmp_path: Path):
    name = spec("").name
    script = f"while [ ! -e {tmp_path}/go ]; do echo early; sleep 0.01; done; {COUNT.format(lines=20_000)}; exit 3"
    async with another_orchestrator(tmp_path, name, script, tied=False) as other:
        other.kill()
        other.wait()
    (tmp_path / "go").touch()
    async with opened(tmp_path) as executor:
        found = await executor.attach(name)
        assert found is not None
        seen = await finish(found)
        lines = seen.stdout.splitlines()
        early = lines.count(b"early")
        assert lines == [b"early"] * early + [b"line %d" % number for number in range(20_000)]
        assert seen.exit.code == 3
        await found.remove()


async def test_a_tied_process_ends_when_its_orchestrator_is_killed(tmp_path: Path):
    number, name = marker(), spec("").name
    script = f"setsid sleep {number} & trap 'echo term' TERM; echo up; while :; do sleep 0.05; done"
    async with another_orchestrator(tmp_path, name, script, tied=True) as other:
        assert running_with(number)
        other.kill()
        other.wait()
        await gone(number)
    async with opened(tmp_path) as executor:
        found = await executor.attach(name)
        assert found is not None
        seen = await finish(found)
        assert (seen.stdout, seen.exit.code) == (b"up\nterm\n", 137)
        await found.remove()


async def test_a_tied_process_ends_when_the_executor_is_closed_and_others_do_not(tmp_path: Path):
    numbers = marker(), marker()
    specs = [replace(spec(f"sleep {number}"), tied=tied) for number, tied in zip(numbers, (True, False), strict=True)]
    async with opened(tmp_path) as executor:
        for each in specs:
            await executor.start(each)
    await gone(numbers[0])
    assert running_with(numbers[1])
    async with opened(tmp_path) as later:
        found = await later.attach(specs[1].name)
        assert found is not None
        await found.remove()
        assert not running_with(numbers[1])


async def test_a_killed_zygote_is_replaced_and_its_processes_go_on(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo $$; read line < /proc/self/fd/0; sleep 0.2; echo end; exit 3"))
        zygote = parent_of(await supervisor_of(process))
        assert "zygote.py" in command_of(zygote)
        os.kill(zygote, signal.SIGKILL)
        others = await asyncio.gather(*(see(executor, spec(f"echo {number}")) for number in range(10)))
        assert [seen.stdout for seen in others] == [b"%d\n" % number for number in range(10)]
        seen = await finish(process)
        assert seen.stdout.endswith(b"\nend\n")
        assert seen.exit.code == 3
        await process.remove()
    assert not [line for line in running_with(str(tmp_path)) if "zygote" in line]


async def test_a_process_whose_supervisor_was_killed_is_lost_with_all_it_started(tmp_path: Path):
    number = marker()
    marks = {"CRONIUM_EXECUTION_ID": f"job_{number}", "CRONIUM_ATTEMPT": "1"}
    async with opened(tmp_path) as executor:
        script = f"echo $$; setsid sleep {number} & nohup sleep {number} >/dev/null 2>&1 & echo printed; sleep {number}"
        process = await executor.start(spec(script, **marks))
        supervisor = await supervisor_of(process)
        await read_until(process, b"printed\n")
        os.kill(supervisor, signal.SIGKILL)
        ended = await process.wait()
        assert (ended.code, ended.reason) == (None, Reason.LOST)
        assert ended.note
        assert (await read(process))[0].endswith(b"\nprinted\n")
        await gone(number)
        found = await executor.attach(process.name)
        assert found is not None
        assert await found.wait() == ended
        await found.remove()


async def test_a_torn_exit_status_is_lost(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo printed"))
        await process.wait()
        (tmp_path / "spool" / process.name / spool.EXIT).write_text('{"code": ')
        found = await executor.attach(process.name)
        assert found is not None
        seen = await finish(found)
        assert (seen.stdout, seen.exit.reason) == (b"printed\n", Reason.LOST)
        await found.remove()


async def test_sigterm_and_an_interrupt_do_not_end_a_supervisor(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo $$; sleep 0.3; exit 3"))
        supervisor = await supervisor_of(process)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(supervisor, number)
        assert (await process.wait()).code == 3
        await process.remove()


# Never started, or exactly once


async def test_what_was_given_up_is_never_started(tmp_path: Path):
    async with opened(tmp_path) as late, opened(tmp_path) as other:
        what = spec("echo ran")
        assert await other.attach(what.name) is None
        with pytest.raises(UnavailableError):
            await late.start(what)
        assert await late.attach(what.name) is None


async def test_starting_and_giving_up_at_once_have_one_winner(tmp_path: Path):
    outcomes = set()
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        before = time.monotonic()
        await see(one, spec("exit 0"))
        usual = time.monotonic() - before
        for turn in range(40):
            what = spec(f"echo >> {tmp_path}/ran-{turn}")
            starting = asyncio.ensure_future(one.start(what))
            # No wait: it moves the one along the other. The first of twenty comes before, the last after, however slow we are.
            if turn % 20 == 19:
                await asyncio.wait({starting})
            elif turn % 20:
                await asyncio.sleep(turn % 20 / 10 * usual)
            found = await other.attach(what.name)
            (started,) = await asyncio.gather(starting, return_exceptions=True)
            outcomes.add(found is None)
            if found is None:
                assert isinstance(started, UnavailableError)
            else:
                assert (await found.wait()).code == 0
                await found.remove()
            assert (tmp_path / f"ran-{turn}").exists() == (found is not None)
    assert outcomes == {True, False}


async def test_what_was_given_up_is_forgotten_after_a_while(tmp_path: Path):
    async with opened(tmp_path) as executor:
        name = spec("").name
        assert await executor.attach(name) is None
        directory = tmp_path / "spool" / name
        assert await executor.sweep(frozenset()) == []
        assert directory.exists()
        os.utime(directory, (0, 0))
        assert await executor.sweep(frozenset()) == []
        assert not directory.exists()


async def test_a_sweep_leaves_alone_what_was_started_here(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo up; sleep 0.2; exit 3"))
        assert await executor.sweep(frozenset()) == []
        assert (await process.wait()).code == 3
        await process.remove()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workdir": "/nonexistent/place"}, "/nonexistent/place"),
        ({"argv": ["no-such-command-anywhere"]}, "no-such-command-anywhere"),
        ({"argv": ["/etc/passwd"]}, "chmod"),
        ({"argv": []}, "no command"),
        ({"argv": ["/bin/sh", "-c", "nul\0"]}, "NUL"),
        ({"env": {"A=B": "c"}}, "A=B"),
        ({"argv": ["/bin/true", "x" * 3_000_000]}, "too large"),
    ],
)
async def test_what_cannot_be_started_is_named_and_leaves_nothing(tmp_path: Path, changes: dict, words: str):
    async with opened(tmp_path) as executor:
        what = replace(spec(""), **changes)
        with pytest.raises(StartFailedError) as failure:
            await executor.start(what)
        assert failure.value.reason == Reason.INVALID
        assert words in failure.value.message
        assert not (tmp_path / "spool" / what.name).exists()
        assert await executor.attach(what.name) is None


async def test_a_script_with_an_interpreter_that_is_not_there_says_so(tmp_path: Path):
    script = tmp_path / "script"
    script.write_text("#!/nonexistent/python\n")
    script.chmod(0o755)
    async with opened(tmp_path) as executor:
        with pytest.raises(StartFailedError, match="first line"):
            await executor.start(replace(spec(""), argv=[str(script)]))


async def test_a_zygote_that_cannot_run_is_unavailable_and_says_where_to_look(tmp_path: Path):
    broken = replace(settings(tmp_path), python="/bin/false")
    async with open_process_executor(broken) as executor:
        with pytest.raises(UnavailableError, match=r"zygote\.log"):
            await executor.start(spec(""))
    with pytest.raises(UnavailableError, match="/nonexistent"):
        async with open_process_executor(replace(broken, python="/nonexistent/python")):
            pass


async def test_it_says_why_it_cannot_be_used(tmp_path: Path):
    async with open_process_executor(replace(settings(tmp_path), spool=tmp_path / "spool" / "gone")) as executor:
        availability = await executor.check()
    assert not availability.available
    assert "gone" in availability.detail


# What a script finds


async def test_a_script_has_three_descriptors_no_blocked_and_no_ignored_signals_and_no_core_files(tmp_path: Path):
    async with opened(tmp_path) as executor:
        listed = await see(executor, replace(spec(""), argv=["/bin/ls", "/proc/self/fd"]))
        status = await see(executor, replace(spec(""), argv=["/bin/cat", "/proc/self/status"]))
        limit = await see(executor, spec("ulimit -c; ulimit -H -c"))
        session = await see(executor, spec("echo $$; cut -d ' ' -f 5,6 /proc/$$/stat"))
    assert listed.stdout.split() == [b"0", b"1", b"2", b"3"]  # the last is the directory that is listed
    masks = {line.split(":")[0]: line.split()[1] for line in status.stdout.decode().splitlines() if "Sig" in line}
    library_signals = (
        0b11 << 31
    )  # 32 and 33 belong to the C library: whoever started us may have set them, none can reset
    assert (int(masks["SigBlk"], 16), int(masks["SigIgn"], 16) & ~library_signals) == (0, 0)
    assert limit.stdout == b"0\n0\n"
    pid, group, session_id = session.stdout.split()
    assert pid == group == session_id


async def test_a_large_environment_and_odd_bytes_arrive(tmp_path: Path):
    big = {f"BIG_{number}": "x" * 100_000 for number in range(10)}
    odd = os.fsdecode(b"\xff\xfe ok")
    async with opened(tmp_path) as executor:
        seen = await see(executor, spec('printf "%s" "$ODD"; printf "%s" "$BIG_9" | wc -c >&2', ODD=odd, **big))
    assert (seen.stdout, seen.stderr.strip()) == (b"\xff\xfe ok", b"100000")


async def test_the_environment_of_the_orchestrator_is_not_that_of_a_supervisor(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo $$; sleep 1000"))
        supervisor = await supervisor_of(process)
        assert Path(f"/proc/{supervisor}/environ").read_bytes() == b""
        await process.remove()


# How it ends


async def test_what_a_child_prints_within_a_second_of_the_end_is_kept(tmp_path: Path):
    async with opened(tmp_path) as executor:
        seen = await see(executor, spec("(sleep 0.2; echo late) & echo early; exit 3"))
    assert (seen.stdout, seen.exit.code) == (b"early\nlate\n", 3)


async def test_a_child_that_floods_its_parents_stdout_is_ended(tmp_path: Path):
    number = marker()
    async with opened(tmp_path) as executor:
        process = await executor.start(spec(f"sh -c 'while :; do echo {number}; done' & sleep 0.1; exit 3"))
        assert (await finish(process)).exit.code == 3
        await gone(number)
        await process.remove()


async def test_a_process_that_forks_itself_for_ever_is_caught(tmp_path: Path):
    script = tmp_path / f"runner-{marker()}"
    script.write_text('setsid sh "$0" again & [ "$1" ] && exit; echo up; sleep 1000\n')
    async with opened(tmp_path) as executor:
        what = replace(spec(""), argv=["/bin/sh", str(script)])
        process = await executor.start(what)
        await read_until(process, b"up\n")
        await process.signal(Signal.KILL)
        assert (await process.wait()).code == 137
        assert not running_with(script.name)
        await process.remove()


async def test_two_hundred_stubborn_descendants_are_ended(tmp_path: Path):
    number = marker()
    one = f'trap "" TERM HUP INT; sleep {number} & sleep {number}; :'
    script = f"i=0; while [ $i -lt 70 ]; do setsid sh -c '{one}' & i=$((i+1)); done; echo up; sleep {number}"
    async with opened(tmp_path) as executor:
        process = await executor.start(spec(script))
        await read_until(process, b"up\n")
        await process.signal(Signal.KILL)
        assert (await process.wait()).code == 137
        assert not running_with(number)
        await process.remove()


# What it costs


async def test_a_hundred_at_once_leave_no_thread_no_zombie_and_no_descriptor(tmp_path: Path):
    async with opened(tmp_path) as executor:
        await see(executor, replace(spec("exit 0"), tied=True))
        threads, before = threading.active_count(), descriptors()
        await asyncio.gather(*(see(executor, spec("echo up; sleep 0.2; exit 0")) for _ in range(100)))
        await until(lambda: descriptors() == before)  # some supervisors wait for more, not for long
        assert threading.active_count() == threads
        assert [path.name for path in (tmp_path / "spool").iterdir()] == []
        assert executor.ours == set()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "zygote" in Path(f"/proc/{pid}/comm").read_text()]


async def test_a_reader_that_stops_early_leaves_no_descriptor(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("echo up; sleep 1000"))
        before = descriptors()
        async with aclosing(process.output(Cursor())) as chunks:
            await anext(chunks)
            waiting = asyncio.ensure_future(process.wait())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert descriptors() == before
        await process.remove()


async def test_paths_may_be_long(tmp_path: Path):
    state = tmp_path / ("d" * 120) / ("e" * 110)
    state.mkdir(parents=True)
    async with opened(state) as executor:
        seen = await see(executor, spec("echo up"))
    assert len(str(state)) > 230
    assert seen.stdout == b"up\n"


async def test_a_flood_arrives_whole(tmp_path: Path):
    async with opened(tmp_path) as executor:
        process = await executor.start(spec("head -c 100000000 /dev/zero"))
        total = 0
        async for chunk in process.output(Cursor()):
            assert not chunk.data.strip(b"\0")
            total += len(chunk.data)
        assert total == 100_000_000
        await process.remove()


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path):
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(place)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("only an account that may mount can have a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_on_a_full_disk_the_script_waits_and_nothing_is_lost(tmp_path: Path, small_disk: Path):
    async with opened(small_disk) as executor:
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * 3_000_000)
        process = await executor.start(spec("head -c 2000000 /dev/zero; echo done"))
        await until(lambda: os.statvfs(small_disk).f_bavail < 32)
        assert (await executor.attach(process.name)) is not None
        filler.unlink()
        seen = await finish(process)
        assert seen.stdout == bytes(2_000_000) + b"done\n"
        assert (seen.exit.code, seen.exit.note) == (0, None)
        await process.remove()


async def test_on_a_full_disk_a_process_can_be_ended(tmp_path: Path, small_disk: Path):
    async with opened(small_disk) as executor:
        process = await executor.start(spec("head -c 8000000 /dev/zero"))
        await until(lambda: os.statvfs(small_disk).f_bavail < 32)
        await process.signal(Signal.KILL)
        seen = await finish(process)
        assert seen.exit.code == 137
        assert "disk was full" in (seen.exit.note or "")
        assert len(seen.stdout) > 3_000_000
        await process.remove()
