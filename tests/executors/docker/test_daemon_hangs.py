"""The Docker daemon hangs, answers late, cuts its streams, and is asked about a crowd: every wait ends, nothing is lost."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Executor, Process, Signal
from orchestrator.errors import UnavailableError
from tests.executors.docker.engine_for_tests import make_spec, open_executor, open_proxy
from tests.executors.docker.private_daemon import PrivateDaemon, daemon_for_tests
from tests.suites.executor_suite import finish, read_until

pytestmark = pytest.mark.docker

CROWD = 120
LINES = 6000
SCRIPT = f"""i=0; while [ $i -lt {LINES} ]; do echo "out $i"; echo "error $i" >&2; i=$((i+1))
[ $((i % 500)) = 0 ] && sleep 0.05; done; printf end; exit 3"""
STDOUT = b"".join(b"out %d\n" % number for number in range(LINES)) + b"end"
STDERR = b"".join(b"error %d\n" % number for number in range(LINES))


@pytest.fixture(scope="module")
def daemon() -> Iterator[PrivateDaemon]:
    with daemon_for_tests() as daemon:
        yield daemon


@pytest.fixture
async def executor(daemon: PrivateDaemon, tmp_path: Path) -> AsyncIterator[Executor]:
    async with open_executor(tmp_path, endpoint=daemon.endpoint, call_timeout_seconds=1.0) as executor:
        yield executor


@pytest.fixture
def frozen(daemon: PrivateDaemon) -> Iterator[PrivateDaemon]:
    """Goes on in the end, whatever the test does."""
    yield daemon
    daemon.signal(signal.SIGCONT)


async def test_while_the_daemon_hangs_every_call_ends_and_afterwards_everything_goes_on(
    frozen: PrivateDaemon, executor: Executor, tmp_path: Path
):
    spec = make_spec(tmp_path, "echo up; while [ ! -e /cronium/end ]; do sleep 0.02; done; echo down; exit 3")
    process = await executor.start(spec)
    await read_until(process, b"up\n")
    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(finish(process))
        frozen.signal(signal.SIGSTOP)
        async with asyncio.timeout(30):
            assert not (await executor.check()).available
            await unavailable(executor, process, tmp_path)
        (spec.directory / "end").touch()
        frozen.signal(signal.SIGCONT)
    seen = ending.result()
    assert (seen.stdout, seen.exit.code, seen.exit.reason) == (b"up\ndown\n", 3, None)
    await process.remove()


async def unavailable(executor: Executor, process: Process, state: Path) -> None:
    with pytest.raises(UnavailableError, match="did not answer"):
        await executor.start(make_spec(state, "echo ran"))
    with pytest.raises(UnavailableError):
        await executor.attach(process.name)
    with pytest.raises(UnavailableError):
        await executor.sweep(frozenset())


async def test_a_start_that_meets_a_hanging_daemon_runs_the_script_once_when_it_goes_on(
    frozen: PrivateDaemon, tmp_path: Path
):
    async with open_proxy(tmp_path / "p.sock", str(frozen.socket)) as proxy:
        endpoint = f"unix://{tmp_path}/p.sock"
        async with open_executor(tmp_path, endpoint=endpoint, start_timeout_seconds=2.0) as executor:
            proxy.holds["/start"] = go = asyncio.Event()
            spec = make_spec(tmp_path, "echo ran; exit 3")
            async with asyncio.TaskGroup() as tasks:
                starting = tasks.create_task(executor.start(spec))
                await proxy.held.wait()
                frozen.signal(signal.SIGSTOP)
                go.set()  # the daemon has the request, and hangs
                await asyncio.wait({starting}, timeout=3.0)
                assert not starting.done()
                frozen.signal(signal.SIGCONT)
                try:
                    process = await starting
                except UnavailableError:
                    assert await executor.attach(spec.name) is None  # it was removed before the start was heard
                    return
            assert (await finish(process)).stdout == b"ran\n"
            await process.remove()


@pytest.mark.torture
async def test_a_crowd_that_ends_at_one_moment_is_seen_whole_with_no_thread_more(daemon: PrivateDaemon, tmp_path: Path):
    async with open_executor(tmp_path, endpoint=daemon.endpoint) as executor:
        go = tmp_path / "sockets" / "go"
        script = "while [ ! -e /run/cronium/go ]; do sleep 0.5; done; echo $$; exit 4"
        processes = await asyncio.gather(*(executor.start(make_spec(tmp_path, script)) for _ in range(CROWD)))
        threads = threading.active_count()
        async with asyncio.TaskGroup() as tasks:
            endings = [tasks.create_task(finish(process)) for process in processes]
            began = time.monotonic()
            go.touch()
        print(f"{CROWD} ends in {time.monotonic() - began:.1f} s")
        assert {(len(task.result().stdout) > 0, task.result().exit.code) for task in endings} == {(True, 4)}
        assert threading.active_count() <= threads
        assert len(await executor.sweep(frozenset())) == CROWD


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(3))
async def test_streams_that_are_cut_anywhere_many_times_lose_and_repeat_nothing(
    daemon: PrivateDaemon, tmp_path: Path, seed: int
):
    chance = random.Random(seed)
    async with open_proxy(tmp_path / "p.sock", str(daemon.socket)) as proxy:
        proxy.cuts = {
            "/attach": [chance.randrange(200, 60_000)],
            "/logs": [chance.randrange(150, 400_000) for _ in range(12)],
            "/wait": [chance.randrange(400) for _ in range(3)],
        }
        async with open_executor(tmp_path, endpoint=f"unix://{tmp_path}/p.sock", call_timeout_seconds=5.0) as executor:
            process = await executor.start(make_spec(tmp_path, SCRIPT))
            seen = await finish(process)
            await process.remove()
    assert (seen.stdout, seen.stderr) == (STDOUT, STDERR)
    assert (seen.exit.code, seen.exit.reason) == (3, None)
    assert proxy.cut.is_set()


async def test_cancelling_a_script_while_the_daemon_hangs_ends_it_when_it_goes_on(
    frozen: PrivateDaemon, executor: Executor, tmp_path: Path
):
    process = await executor.start(make_spec(tmp_path, "echo up; sleep 1000"))
    await read_until(process, b"up\n")
    frozen.signal(signal.SIGSTOP)
    with pytest.raises(UnavailableError):
        await process.signal(Signal.KILL)
    frozen.signal(signal.SIGCONT)
    await process.signal(Signal.KILL)
    assert (await process.wait()).code == 137
    await process.remove()
