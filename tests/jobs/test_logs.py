"""Taking an attempt's output to the store: nothing lost, nothing twice, nothing secret, and bounded."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import LeaseLostError
from orchestrator.jobs import logs as logs_module
from orchestrator.jobs import persist as persist_module
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.logs import LogLimits, LogWriter
from orchestrator.jobs.redact import Mask
from orchestrator.model.jobs import Claim, Job
from orchestrator.model.logs import Line, Stream
from orchestrator.model.workflows import Run
from tests.jobs.scripted import Rig, ScriptedProcess, open_rig

SECRET = "cra_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
SMALL = LogLimits(max_lines=100)  # 90 at the head, 10 at the tail


class Screen:
    """An onlooker that remembers what it saw."""

    def __init__(self) -> None:
        self.bytes = {Stream.STDOUT: b"", Stream.STDERR: b""}
        self.seen: list[Line] = []

    async def raw(self, job: Job, stream: Stream, data: bytes) -> None:
        self.bytes[stream] += data

    async def lines(self, job: Job, lines: list[Line]) -> None:
        self.seen += lines

    def job_changed(self, job: Job) -> None: ...

    def run_changed(self, run: Run) -> None: ...


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(persist_module, "FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr(persist_module, "MAX_DELAY_SECONDS", 0.001)
    monkeypatch.setattr(logs_module, "BATCH_SECONDS", 0.001)


def process_of(rig: Rig) -> ScriptedProcess:
    return ScriptedProcess("cronium-job_1-1", rig.changes)


def writer(rig: Rig, claim: Claim, *, limits: LogLimits | None = None, secrets: tuple[str, ...] = ()) -> LogWriter:
    return LogWriter(
        store=rig.store,
        clock=rig.clock,
        feed=rig.feed,
        observer=rig.observer,
        claim=claim,
        mask=Mask(secrets),
        limits=limits or LogLimits(),
    )


@asynccontextmanager
async def pumping(writer: LogWriter, process: ScriptedProcess, *, resume: bool = False) -> AsyncIterator[None]:
    """The writer works while the block is open, and is killed at its end."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(writer.pump(process, resume=resume))
        try:
            yield
        finally:
            task.cancel()


async def take(rig: Rig, data: bytes, claim: Claim | None = None, *, limits: LogLimits | None = None) -> list[str]:
    """The texts stored of a process that writes `data` and ends."""
    claim = claim or await rig.claimed()
    process = process_of(rig)
    process.say(data)
    process.end()
    await writer(rig, claim, limits=limits).pump(process, resume=False)
    return await rig.texts(claim.job.id)


def numbered(first: int, last: int) -> list[str]:
    return [f"line {number}" for number in range(first, last + 1)]


def flood(lines: int) -> bytes:
    return "".join(f"{text}\n" for text in numbered(1, lines)).encode()


async def test_lines_are_numbered_without_gaps_and_keep_their_stream(rig: Rig):
    claim = await rig.claimed()
    process = process_of(rig)
    for chunk, stream in [
        (b"one\ntw", Stream.STDOUT),
        (b"err", Stream.STDERR),
        (b"o\n", Stream.STDOUT),
        (b"or\n", Stream.STDERR),
        (b"no newline", Stream.STDOUT),
    ]:
        process.say(chunk, stream)
    process.end()

    await writer(rig, claim).pump(process, resume=False)

    assert [(line.seq, line.stream, line.text, line.attempt) for line in await rig.lines(claim.job.id)] == [
        (1, Stream.STDOUT, "one", 1),
        (2, Stream.STDOUT, "two", 1),
        (3, Stream.STDERR, "error", 1),
        (4, Stream.STDOUT, "no newline", 1),
    ]


async def test_bytes_that_are_no_text_are_replaced_and_no_line_is_lost(rig: Rig):
    assert await take(rig, b"\xff\xfe\n\x00\n\ngr\xc3\xbcn\n") == ["\ufffd\ufffd", "\0", "", "grün"]


async def test_no_output_is_no_line(rig: Rig):
    assert await take(rig, b"") == []


@settings(max_examples=40, deadline=None)
@given(
    text=st.lists(st.sampled_from(["a", "grün", "\n", "\n\n", "x" * 50]), max_size=30).map("".join),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    streams=st.lists(st.sampled_from([Stream.STDOUT, Stream.STDERR]), min_size=1, max_size=5),
    stored_before_crash=st.lists(st.booleans(), min_size=1, max_size=5),
)
async def test_a_writer_killed_at_any_chunk_is_continued_without_loss_or_doubling(
    text: str, sizes: list[int], streams: list[Stream], stored_before_crash: list[bool]
):
    data, turn = text.encode(), 0
    said = {Stream.STDOUT: b"", Stream.STDERR: b""}
    with tempfile.TemporaryDirectory() as directory:
        async with open_rig(Path(directory) / "attempts") as rig:
            claim = await rig.claimed()
            process = process_of(rig)
            while data:
                size = sizes[turn % len(sizes)]
                stream = streams[turn % len(streams)]
                chunk, data = data[:size], data[size:]
                said[stream] += chunk
                process.say(chunk, stream)
                doomed = writer(rig, claim)
                async with pumping(doomed, process, resume=turn > 0):
                    await process.taken()
                    if stored_before_crash[turn % len(stored_before_crash)]:
                        await doomed.flush()
                claim = await rig.adopt()
                turn += 1
            process.end()
            await writer(rig, claim).pump(process, resume=True)
            lines = await rig.lines(claim.job.id)

    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    for stream, whole in said.items():
        expected = whole.decode("utf-8", "replace").split("\n")
        texts = [line.text for line in lines if line.stream is stream]
        assert texts == (expected if expected[-1] else expected[:-1])


async def test_a_second_attempt_goes_on_with_the_numbers_and_begins_with_its_own_output(rig: Rig):
    claim = await rig.claimed()
    await take(rig, b"first\n", claim)
    async with rig.store.begin() as repos:
        await repos.jobs.release(claim)
    (again,) = await rig.claim()

    assert await take(rig, b"first\nsecond\n", again) == ["first", "first", "second"]
    assert [line.attempt for line in await rig.lines(claim.job.id)] == [1, 2, 2]


async def test_a_secret_is_masked_wherever_its_chunks_are_cut(rig: Rig):
    rig.feed = Feed(rig.store, screen := Screen())
    claim = await rig.claimed()
    process = process_of(rig)
    line = f"token={SECRET}!\n".encode()
    for cut in range(1, len(line)):
        process.say(line[:cut])
        process.say(line[cut:])
    process.end()

    await writer(rig, claim, secrets=(SECRET,)).pump(process, resume=False)

    assert set(await rig.texts(claim.job.id)) == {"token=***!"}
    assert screen.bytes[Stream.STDOUT] == b"token=***!\n" * (len(line) - 1)


async def test_an_onlooker_gets_the_bytes_unchanged_and_the_lines_once_they_are_stored(rig: Rig):
    rig.feed = Feed(rig.store, screen := Screen())
    claim = await rig.claimed()
    process = process_of(rig)
    every = bytes(range(256))
    process.say(every)
    process.say(b"\r50%\r", Stream.STDERR)
    process.end()

    await writer(rig, claim).pump(process, resume=False)

    assert screen.bytes == {Stream.STDOUT: every, Stream.STDERR: b"\r50%\r"}
    assert screen.seen == await rig.lines(claim.job.id)


async def test_a_prompt_without_a_newline_is_shown_at_once(rig: Rig):
    rig.feed = Feed(rig.store, screen := Screen())
    process = process_of(rig)
    process.say(b"Password: ")
    async with pumping(writer(rig, await rig.claimed()), process):
        await process.taken()

        assert screen.bytes[Stream.STDOUT] == b"Password: "


async def test_a_store_that_is_away_for_a_while_loses_nothing_and_stops_the_reading(rig: Rig, monkeypatch):
    monkeypatch.setattr(logs_module, "PENDING_BYTES", 100)
    claim = await rig.claimed()
    process = process_of(rig)
    log = writer(rig, claim)
    async with asyncio.TaskGroup() as tasks:
        done = tasks.create_task(log.pump(process, resume=False))
        await process.taken()
        rig.store.is_away = True
        for text in numbered(1, 500):
            process.say(text.encode() + b"\n")
        process.end()
        await rig.changes.until(lambda: rig.store.refused >= 5)
        taken_meanwhile = process.yielded
        rig.store.is_away = False
        await done

    assert taken_meanwhile < 50
    assert await rig.texts(claim.job.id) == numbered(1, 500)


async def test_a_store_that_is_away_at_the_beginning_is_waited_for(rig: Rig):
    claim = await rig.claimed()
    process = process_of(rig)
    process.say(b"line\n")
    process.end()
    rig.store.is_away = True
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer(rig, claim).pump(process, resume=False))
        await rig.changes.until(lambda: rig.store.refused >= 3)
        rig.store.is_away = False

    assert await rig.texts(claim.job.id) == ["line"]


async def test_a_writer_whose_job_was_taken_over_stops(rig: Rig):
    claim = await rig.claimed()
    process = process_of(rig)
    with pytest.RaisesGroup(LeaseLostError, flatten_subgroups=True):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(writer(rig, claim).pump(process, resume=False))
            process.say(b"before\n")
            await process.taken()
            await rig.adopt()
            process.say(b"after\n")

    assert "after" not in await rig.texts(claim.job.id)


async def test_output_within_the_limit_is_kept_whole(rig: Rig):
    claim = await rig.claimed()

    assert await take(rig, flood(100), claim, limits=SMALL) == numbered(1, 100)
    assert (await rig.job(claim.job.id)).log.omitted_lines == 0


async def test_a_flood_keeps_its_head_and_its_tail_and_counts_the_rest(rig: Rig):
    claim = await rig.claimed()

    texts = await take(rig, flood(1000), claim, limits=SMALL)

    assert texts[:90] == numbered(1, 90)
    assert texts[90] == "Log limit reached: 900 lines were left out here; the last 10 follow."
    assert texts[91:] == numbered(991, 1000)
    assert [line.stream for line in await rig.lines(claim.job.id)].count(Stream.SYSTEM) == 1
    log = (await rig.job(claim.job.id)).log
    assert (log.lines, log.omitted_lines) == (101, 900)


async def test_a_flood_is_limited_by_its_size_too(rig: Rig):
    claim = await rig.claimed()

    texts = await take(rig, b"0123456789\n" * 1000, claim, limits=LogLimits(max_bytes=1000))

    assert texts.count("0123456789") == 100
    assert (await rig.job(claim.job.id)).log.omitted_lines == 900


async def test_a_flood_whose_writer_is_killed_in_the_middle_is_counted_once(rig: Rig):
    claim = await rig.claimed()
    process = process_of(rig)
    process.say(flood(500))
    async with pumping(writer(rig, claim, limits=SMALL), process):
        await process.taken()
    process.say("".join(f"{text}\n" for text in numbered(501, 1000)).encode())
    process.end()

    await writer(rig, await rig.adopt(), limits=SMALL).pump(process, resume=True)

    assert len(texts := await rig.texts(claim.job.id)) == 101
    assert texts[91:] == numbered(991, 1000)
    assert (await rig.job(claim.job.id)).log.omitted_lines == 900


async def test_a_flood_that_is_stored_to_its_end_is_not_stored_again(rig: Rig):
    claim = await rig.claimed()
    process = process_of(rig)
    process.say(flood(1000))
    process.say(b"error\n" * 5, Stream.STDERR)
    process.end()
    await writer(rig, claim, limits=SMALL).pump(process, resume=False)
    before = await rig.lines(claim.job.id)

    await writer(rig, await rig.adopt(), limits=SMALL).pump(process, resume=True)

    assert await rig.lines(claim.job.id) == before
    assert (await rig.job(claim.job.id)).log.omitted_lines == 905


async def test_a_line_of_the_engine_follows_the_output_even_where_the_log_is_full(rig: Rig):
    claim = await rig.claimed()
    process = process_of(rig)
    process.say(flood(1000))
    process.end()
    log = writer(rig, claim, limits=SMALL)
    await log.pump(process, resume=False)

    await log.system("A child ran out of memory.")

    last = (await rig.lines(claim.job.id))[-1]
    assert (last.stream, last.text) == (Stream.SYSTEM, "A child ran out of memory.")


async def test_what_is_stored_is_counted(rig: Rig):
    await take(rig, flood(30))

    assert sum(lines for lines, _ in rig.observer.stored) == 30
