"""Entries by the runtime API become lines of the one writer of the job's log: numbered, masked, limited, each once."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.jobs import script_log
from orchestrator.jobs.feed import Changed, Ended, Progressed
from orchestrator.jobs.logs import LogLimits
from orchestrator.jobs.progress import ProgressBoard
from orchestrator.jobs.runtime_session import RuntimeBackend
from orchestrator.jobs.script_log import ScriptLogs
from orchestrator.model.jobs import Job
from orchestrator.model.logs import Stream
from runtime_api.backend import RefusalError, Session
from tests.jobs.scripted import Rig, ScriptedProcess, open_rig


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


@asynccontextmanager
async def running(rig: Rig, **changes: object) -> AsyncIterator[tuple[Job, ScriptedProcess, Session]]:
    """A job whose script runs and can call; supervised as by a server."""
    logs = ScriptLogs()
    board = ProgressBoard(store=rig.store, clock=rig.clock, news=rig.feed.progressed)
    backend = RuntimeBackend(store=rig.store, clock=rig.clock, observer=rig.observer, progress=board, logs=logs)
    claim = await rig.claimed()
    async with asyncio.TaskGroup() as tasks:
        supervising = tasks.create_task(rig.runner(logs=logs, **changes).run(claim, asyncio.Event()))
        (process,) = await rig.executor.started(1)
        await process.taken()
        session = await backend.authenticate(rig.surroundings.token(claim.job.id, 1))
        assert session is not None
        yield claim.job, process, session
        process.end()
        await supervising


async def stored(rig: Rig, lines: int) -> None:
    """Wait until so many lines are."""
    await rig.changes.until(lambda: sum(number for number, _ in rig.observer.stored) >= lines)


async def test_entries_and_output_share_one_numbering(rig: Rig):
    async with running(rig) as (job, process, script):
        process.say(b"one\n")
        await stored(rig, 1)
        assert await script.write_log("info", "two", None, None) == 2
        process.say(b"three\n")
        await stored(rig, 3)
        numbers = await asyncio.gather(*(script.write_log("error", str(n), {"n": n}, None) for n in range(20)))
    texts = await rig.texts(job.id)
    assert texts[:3] == ["one", '{"level": "info", "message": "two"}', "three"]
    assert sorted(numbers) == list(range(4, 24))
    lines = await rig.lines(job.id)
    assert (lines[1].stream, lines[3].stream) == (Stream.STDOUT, Stream.STDERR)


async def test_a_token_is_masked_in_an_entry(rig: Rig):
    async with running(rig) as (job, _, script):
        token = rig.surroundings.token(job.id, 1)
        await script.write_log("info", token, base64.b64encode(token.encode()).decode(), None)
    (text,) = await rig.texts(job.id)
    assert token not in text
    assert text.count("***") >= 2


async def test_a_full_log_refuses_entries_and_keeps_the_scripts_output(rig: Rig):
    async with running(rig, log_limits=LogLimits(max_lines=10)) as (job, process, script):
        process.say(b"".join(b"%d\n" % n for n in range(30)))
        await stored(rig, 9)
        with pytest.raises(RefusalError) as refused:
            await script.write_log("info", "too late", None, None)
        assert (refused.value.status, refused.value.code) == (413, "log_full")
    assert (await rig.texts(job.id))[-1] == "29"


async def test_a_store_that_is_away_delays_an_entry_and_a_repetition_adds_no_line(rig: Rig, monkeypatch):
    monkeypatch.setattr(script_log, "PATIENCE_SECONDS", 0.01)
    async with running(rig) as (job, _, script):
        rig.store.gate = gate = asyncio.Event()
        for _ in range(2):
            with pytest.raises(RefusalError) as refused:
                await script.write_log("info", "x", None, "op")
            assert (refused.value.status, refused.value.code) == (503, "log_not_here")
        gate.set()
        rig.store.gate = None
        monkeypatch.setattr(script_log, "PATIENCE_SECONDS", 20)
        assert await script.write_log("info", "x", None, "op") == 1
    assert await rig.texts(job.id) == ['{"level": "info", "message": "x"}']


async def test_an_entry_after_the_end_is_refused(rig: Rig):
    async with running(rig) as (_, _, script):
        pass
    with pytest.raises(RefusalError) as refused:
        await script.write_log("info", "x", None, None)
    assert (refused.value.status, refused.value.code) == (503, "log_not_here")


async def test_watchers_are_told_of_progress(rig: Rig):
    async with running(rig) as (job, process, script):
        seen: list[object] = []
        async for item in rig.feed.watch(job.id):
            match item:
                case Changed():
                    await script.set_progress({"percent": 50})
                case Progressed():
                    seen.append(item.job.progress)
                    process.end()
                case Ended():
                    break
    assert seen == [{"percent": 50}]


async def test_an_entry_that_a_dead_server_stored_is_answered_by_the_next_one_and_not_stored_again(rig: Rig):
    """The call is repeated because the first server died before it could answer."""
    claim = await rig.claimed()
    numbers = []
    for server in ("first", "second"):
        logs = ScriptLogs()
        board = ProgressBoard(store=rig.store, clock=rig.clock)
        backend = RuntimeBackend(store=rig.store, clock=rig.clock, observer=rig.observer, progress=board, logs=logs)
        runner = rig.runner(owner=server, logs=logs)
        work = runner.run(claim, asyncio.Event()) if server == "first" else runner.adopt(claim, asyncio.Event())
        supervising = asyncio.ensure_future(work)
        (process,) = await rig.executor.started(1)
        await process.taken()
        session = await backend.authenticate(rig.surroundings.token(claim.job.id, 1))
        assert session is not None
        numbers += [await session.write_log("info", text, None, text) for text in ("once", server)]
        if server == "first":
            supervising.cancel()
            await asyncio.wait({supervising})
            claim = await rig.adopt()
    process.end()
    await supervising

    assert numbers == [1, 2, 1, 3]
    assert [text.split('"')[7] for text in await rig.texts(claim.job.id)] == ["once", "first", "second"]
