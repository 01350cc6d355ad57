"""Connections to the engine break, and the engine goes away: what was read stays exact, what is not there is said."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Executor, Process
from orchestrator.errors import InvalidError, UnavailableError
from orchestrator.executors.docker.engine import explain
from orchestrator.executors.docker.settings import find_endpoint
from tests.executors.docker.engine_for_tests import Proxy, containers_of, docker, make_spec, open_executor, open_proxy
from tests.executors.docker.private_daemon import until
from tests.suites.executor_suite import finish, read_until

docker_only = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

LINES = 4000
SCRIPT = f"""i=0; while [ $i -lt {LINES} ]; do echo "out $i"; echo "error $i" >&2; i=$((i+1))
[ $((i % 400)) = 0 ] && sleep 0.05; done; printf end; exit 3"""
STDOUT = b"".join(b"out %d\n" % number for number in range(LINES)) + b"end"
STDERR = b"".join(b"error %d\n" % number for number in range(LINES))


async def exact(executor: Executor, state: Path) -> None:
    """Run a script that writes to both streams for a while, and find every byte of it."""
    process = await executor.start(make_spec(state, SCRIPT))
    seen = await finish(process)
    await process.remove()
    assert seen.stdout == STDOUT
    assert seen.stderr == STDERR
    assert (seen.exit.code, seen.exit.reason) == (3, None)


class TestThroughAProxy:
    pytestmark = docker_only

    @pytest.fixture
    async def proxy(self, tmp_path: Path):
        async with open_proxy(tmp_path / "p.sock") as proxy:
            yield proxy

    @pytest.fixture
    async def executor(self, tmp_path: Path, proxy: Proxy):
        async with open_executor(tmp_path, endpoint=f"unix://{tmp_path}/p.sock", call_timeout_seconds=5.0) as executor:
            yield executor

    async def test_an_unbroken_stream_is_all_that_is_read(self, proxy: Proxy, executor: Executor, tmp_path: Path):
        await exact(executor, tmp_path)
        assert not [line for line in proxy.seen if "/logs" in line]

    @pytest.mark.parametrize("after", [200, 1000, 1003, 10_001, 50_007])
    async def test_a_cut_attached_stream_goes_on_exactly(
        self, proxy: Proxy, executor: Executor, tmp_path: Path, after: int
    ):
        proxy.cuts["/attach"] = [after]
        await exact(executor, tmp_path)
        assert proxy.cut.is_set()
        assert [line for line in proxy.seen if "/logs" in line]

    async def test_the_log_may_be_cut_as_well(self, proxy: Proxy, executor: Executor, tmp_path: Path):
        proxy.cuts = {"/attach": [5000], "/logs": [9001, 40_000, 150_003]}
        await exact(executor, tmp_path)
        assert proxy.cuts["/logs"] == []

    async def test_a_cut_wait_is_begun_again(self, proxy: Proxy, executor: Executor, tmp_path: Path):
        proxy.cuts["/wait"] = [10, 150, 150]
        await exact(executor, tmp_path)
        assert proxy.cuts["/wait"] == []

    async def test_an_engine_that_is_away_for_a_while_is_waited_for(
        self, proxy: Proxy, executor: Executor, tmp_path: Path
    ):
        go = "while [ ! -e /cronium/go ]; do sleep 0.02; done"
        spec = make_spec(tmp_path, f"echo one; {go}; echo two; echo three >&2; exit 3")
        process = await executor.start(spec)
        seen, more = await self._see_while_away(proxy, process, spec.directory / "go")
        assert (seen, more) == (b"one\ntwo\n", b"three\n")
        assert (await process.wait()).code == 3
        await process.remove()

    @staticmethod
    async def _see_while_away(proxy: Proxy, process: Process, go: Path) -> tuple[bytes, bytes]:
        async with asyncio.TaskGroup() as tasks:
            seeing = tasks.create_task(finish(process))
            proxy.is_down = True
            proxy.drop_all()
            await asyncio.to_thread(go.touch)
            await asyncio.to_thread(docker, "wait", process.name)
            proxy.is_down = False
        return seeing.result().stdout, seeing.result().stderr

    async def test_a_script_that_was_ended_by_hand_while_the_connection_was_away_keeps_its_exit_status(
        self, proxy: Proxy, executor: Executor, tmp_path: Path
    ):
        """The engine itself was there all the time: it knows of the signal, and did not end the script."""
        process = await executor.start(make_spec(tmp_path, "echo up; sleep 1000"))
        await read_until(process, b"up\n")
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(process.wait())
            await self._asked(proxy, "/wait")
            proxy.is_down = True
            proxy.drop_all()
            await asyncio.to_thread(docker, "kill", process.name)
            proxy.is_down = False
        assert (waiting.result().code, waiting.result().reason) == (137, None)
        assert "by hand" in (waiting.result().by_others or "")
        await process.remove()

    @staticmethod
    async def _asked(proxy: Proxy, path: str) -> None:
        async with asyncio.timeout(10):
            while not any(path in line for line in proxy.seen):
                await asyncio.sleep(0.01)  # polling with a deadline: the proxy announces nothing

    async def test_a_start_whose_answer_is_lost_is_asked_after(self, proxy: Proxy, executor: Executor, tmp_path: Path):
        proxy.cuts["/start"] = [0]
        process = await executor.start(make_spec(tmp_path, "echo ran; exit 3"))
        seen = await finish(process)
        assert (seen.stdout, seen.exit.code) == (b"ran\n", 3)
        await process.remove()

    async def test_a_start_that_the_engine_hears_late_starts_nothing(self, proxy: Proxy, tmp_path: Path):
        proxy.holds["/start"] = asyncio.Event()
        spec = make_spec(tmp_path, "echo ran")
        async with open_executor(tmp_path, endpoint=f"unix://{tmp_path}/p.sock", start_timeout_seconds=0.3) as executor:
            with pytest.raises(UnavailableError, match="did not answer"):
                await executor.start(spec)
            proxy.holds["/start"].set()
            assert await executor.attach(spec.name) is None
        assert proxy.held.is_set()

    async def test_what_is_made_after_nobody_waits_for_it_any_more_is_removed_with_the_next_start(
        self, proxy: Proxy, tmp_path: Path
    ):
        proxy.holds["/create"] = late = asyncio.Event()
        forgotten = make_spec(tmp_path, "echo ran")
        async with open_executor(tmp_path, endpoint=f"unix://{tmp_path}/p.sock", start_timeout_seconds=3.0) as executor:
            with pytest.raises(UnavailableError, match="did not answer"):
                await executor.start(forgotten)
            late.set()
            await asyncio.to_thread(until, lambda: forgotten.name in containers_of(tmp_path), "it to be made")
            process = await executor.start(make_spec(tmp_path, "echo next"))
            assert containers_of(tmp_path) == [process.name]
            await process.remove()


async def test_no_socket_says_what_to_do(tmp_path: Path):
    async with open_executor(tmp_path, endpoint=f"unix://{tmp_path}/none.sock") as executor:
        availability = await executor.check()
        assert not availability.available
        assert "DOCKER_HOST" in availability.detail
        with pytest.raises(UnavailableError, match=r"none\.sock"):
            await executor.start(make_spec(tmp_path, "true"))


async def test_a_socket_nobody_listens_on_says_what_to_do(tmp_path: Path):
    server = await asyncio.start_unix_server(lambda _reader, _writer: None, str(tmp_path / "dead.sock"))
    server.close()
    await server.wait_closed()
    async with open_executor(tmp_path, endpoint=f"unix://{tmp_path}/dead.sock") as executor:
        availability = await executor.check()
    assert not availability.available
    assert "start Docker" in availability.detail


async def test_an_engine_that_never_answers_is_given_up_within_the_bounds(tmp_path: Path):
    serving: set[asyncio.Task[None]] = set()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        await reader.read()  # until the other side has had enough
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(be_silent, str(tmp_path / "mute.sock"))
    endpoint = f"unix://{tmp_path}/mute.sock"
    async with open_executor(tmp_path, endpoint=endpoint, call_timeout_seconds=0.3) as executor, asyncio.timeout(20):
        async with asyncio.timeout(5):
            availability = await executor.check()
        assert not availability.available
        assert "did not answer" in availability.detail
        with pytest.raises(UnavailableError, match="did not answer"):
            await executor.start(make_spec(tmp_path, "true"))
        with pytest.raises(UnavailableError):
            await executor.attach("cronium-tests-none-1")
        with pytest.raises(UnavailableError):
            await executor.sweep(frozenset())
    server.close()
    await asyncio.wait(serving, timeout=10)


async def answered(tmp_path: Path, body: str) -> str:
    """What `check` says of an engine that answers with `body`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, str(tmp_path / "e.sock"))
    async with open_executor(tmp_path, endpoint=f"unix://{tmp_path}/e.sock") as executor:
        availability = await executor.check()
    server.close()
    assert not availability.available
    return availability.detail


async def test_an_engine_that_is_too_old_is_named(tmp_path: Path):
    assert "too old" in await answered(tmp_path, '{"Version": "19.03", "ApiVersion": "1.40", "MinAPIVersion": "1.12"}')


async def test_an_engine_that_is_too_new_is_named(tmp_path: Path):
    body = '{"Version": "99", "ApiVersion": "9.9", "MinAPIVersion": "9.0"}'
    assert "upgrade Cronium" in await answered(tmp_path, body)


async def test_what_is_not_an_engine_is_named(tmp_path: Path):
    assert "not a Docker engine" in await answered(tmp_path, "<html>")


async def test_an_account_without_the_right_is_told_of_the_group():
    error = PermissionError(errno.EACCES, "Permission denied")
    assert "group" in explain(find_endpoint(None, {}), error, 1.0)


@pytest.mark.parametrize("endpoint", ["ssh://host", "npipe:////./pipe/docker", "unix://"])
async def test_an_address_of_a_kind_that_cannot_be_used_is_refused(endpoint: str):
    with pytest.raises(InvalidError, match="not an address"):
        find_endpoint(endpoint)


async def test_the_address_is_the_configured_one_then_the_environments_then_the_usual():
    env = {"DOCKER_HOST": "tcp://10.0.0.1:2375"}
    assert find_endpoint("unix:///a.sock", env).socket == "/a.sock"
    assert find_endpoint(None, env).url == "http://10.0.0.1:2375"
    assert find_endpoint(None, {}).socket == "/var/run/docker.sock"
