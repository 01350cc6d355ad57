"""What an executor tells while it sets a job up: in the job's log before its output, and in its journal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Setup
from orchestrator.errors import LeaseLostError, StartFailedError
from orchestrator.jobs.setup_log import SetupLog
from orchestrator.model.jobs import Reason
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Stream
from tests.jobs.scripted import PATIENCE_SECONDS, Rig, ScriptedProcess, open_rig


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        rig.executor.on_setup = pulling
        rig.executor.on_start = printing
        yield rig


def pulling(setup: Setup) -> None:
    setup.say("Pulling debian.")
    setup.record("image", "sha256:12")


def printing(process: ScriptedProcess) -> None:
    process.say(b"hello\n")
    process.end(0)


async def run(rig: Rig) -> str:
    claim = await rig.claimed()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rig.runner().run(claim, asyncio.Event())
    return claim.job.id


async def test_lines_of_the_setup_come_before_the_output_in_one_numbering(rig):
    job_id = await run(rig)

    lines = await rig.lines(job_id)
    assert [(line.seq, line.stream, line.text) for line in lines] == [
        (1, Stream.SYSTEM, "Pulling debian."),
        (2, Stream.STDOUT, "hello"),
    ]


async def test_facts_of_the_setup_are_in_the_journal(rig):
    job_id = await run(rig)

    async with rig.store.read() as repos:
        entries = await repos.journal.read(job_id)
    (started,) = [entry for entry in entries if entry.kind is EntryKind.STARTED]
    assert started.data == {"attempt": 1, "image": "sha256:12"}


async def test_a_start_that_fails_keeps_what_was_said(rig):
    rig.executor.start_failures[""] = StartFailedError("no such image", reason=Reason.IMAGE_UNAVAILABLE)

    job_id = await run(rig)

    assert await rig.texts(job_id) == ["Pulling debian."]
    assert (await rig.job(job_id)).reason is Reason.IMAGE_UNAVAILABLE


async def test_lines_are_stored_while_the_setup_goes_on(rig):
    rig.executor.gate.clear()
    claim = await rig.claimed()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rig.runner().run(claim, asyncio.Event()))
        await rig.changes.until(lambda: rig.observer.stored != [])
        assert await rig.texts(claim.job.id) == ["Pulling debian."]
        rig.executor.gate.set()
        await task
    assert await rig.texts(claim.job.id) == ["Pulling debian.", "hello"]


async def test_who_was_cut_off_in_the_setup_leaves_numbers_that_the_next_goes_on_with(rig):
    rig.executor.gate.clear()
    claim = await rig.claimed()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rig.runner().run(claim, asyncio.Event()))
        await rig.changes.until(lambda: rig.observer.stored != [])
        task.cancel()
    rig.executor.gate.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rig.runner(owner="other").adopt(await rig.adopt(), asyncio.Event())
        (again,) = await rig.claim()
        await rig.runner().run(again, asyncio.Event())

    assert await rig.texts(claim.job.id) == ["Pulling debian.", "Pulling debian.", "hello"]


async def test_a_supervisor_that_was_replaced_during_the_setup_says_no_more(rig):
    rig.executor.gate.clear()
    claim = await rig.claimed()
    with pytest.raises(LeaseLostError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            replaced = asyncio.Event()

            def begin(setup: Setup) -> None:
                asyncio.get_running_loop().call_soon(replaced.set)
                setup.record("nothing", "said")

            rig.executor.on_setup = begin
            running = asyncio.ensure_future(rig.runner().run(claim, asyncio.Event()))
            await replaced.wait()
            await rig.adopt()
            rig.executor.gate.set()
            await running

    assert await rig.texts(claim.job.id) == []


async def test_the_token_of_the_attempt_is_masked_in_what_is_said(rig):
    def tell(setup: Setup) -> None:
        setup.say(f"env {rig.surroundings.token(claim.job.id, 1)}")

    rig.executor.on_setup = tell
    claim = await rig.claimed()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rig.runner().run(claim, asyncio.Event())

    (said, _) = await rig.texts(claim.job.id)
    assert "cra_" not in said


async def test_who_is_cancelled_while_the_rest_is_stored_leaves_no_task(rig):
    claim = await rig.claimed()
    before = asyncio.all_tasks()
    rig.store.gate = asyncio.Event()  # the store takes its time
    leaving = asyncio.Event()

    async def set_up() -> None:
        async with SetupLog(await rig.runner()._writer(claim)) as setup:
            setup.say("Pulling debian.")
            await rig.changes.until(lambda: rig.store.waiting == 1)
            leaving.set()

    setting_up = asyncio.ensure_future(set_up())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await leaving.wait()
    setting_up.cancel()
    await asyncio.wait({setting_up})

    assert setting_up.cancelled()
    assert asyncio.all_tasks() == before
