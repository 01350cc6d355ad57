"""What scripts may do with variables: scopes, numbers, versions, repeated calls, limits; and progress and log entries."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.caches.memory import MemoryCache
from orchestrator.contracts.store import Store
from orchestrator.jobs.environment import token_digest
from orchestrator.jobs.progress import PAUSE_SECONDS, ProgressBoard
from orchestrator.jobs.runtime_limits import RuntimeLimit
from orchestrator.jobs.runtime_session import AttemptSession, RuntimeBackend
from orchestrator.jobs.runtime_upkeep import RuntimeUpkeep
from orchestrator.jobs.script_log import Keep, ScriptLogs
from orchestrator.model.jobs import Claim, EventId
from orchestrator.model.logs import Stream
from orchestrator.model.specs import ExecutorKind
from runtime_api.backend import RefusalError, Terms
from tests.jobs.scripted import Rig, a_spec, a_submission, open_rig

TOKEN = "cra_of-this-attempt"
TERMS = Terms()


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts", [ExecutorKind.PROCESS]) as rig:
        yield rig


def backend(rig: Rig, **changes: object) -> RuntimeBackend:
    board = ProgressBoard(store=rig.store, clock=rig.clock)
    engine = RuntimeBackend(store=rig.store, clock=rig.clock, observer=rig.observer, progress=board, logs=ScriptLogs())
    return replace(engine, **changes)


async def begun(rig: Rig, token: str = TOKEN, event_id: EventId | None = None) -> Claim:
    await rig.submitter().submit(a_submission(a_spec(), event_id=event_id))
    (claim,) = await rig.claim()
    async with rig.store.begin() as repos:
        await repos.jobs.start_attempt(claim, process="p", token_digest=token_digest(token))
    return claim


async def session(rig: Rig, token: str = TOKEN, **changes: object) -> AttemptSession:
    found = await backend(rig, **changes).authenticate(token)
    assert isinstance(found, AttemptSession)
    return found


async def refused(call) -> tuple[int, str]:
    with pytest.raises(RefusalError) as refusal:
        await call
    return refusal.value.status, refusal.value.code


async def stored(rig: Rig, key: str, scope: str = "global"):
    async with rig.store.read() as repos:
        found = await repos.variables.get(scope, key)
    return None if found is None else found.value


# Numbers


@pytest.mark.parametrize(
    ("start", "by", "total"),
    [
        (None, 1, 1),
        (None, -2.5, -2.5),
        (2**53, 1, 2**53 + 1),
        (2**63, 2**63 - 1, 2**64 - 1),
        (-(2**63) + 1, -1, -(2**63)),
        (0.5, 0.25, 0.75),
        (1, 0.5, 1.5),
    ],
)
async def test_an_increment_adds_exactly(rig: Rig, start, by, total):
    await begun(rig)
    script = await session(rig)
    if start is not None:
        await script.set_variable("n", start, "global", TERMS)
    value, version = await script.increment_variable("n", by, "global", TERMS)
    assert (value, type(value), version) == (total, type(total), 1 if start is None else 2)
    assert await stored(rig, "n") == total


@pytest.mark.parametrize("value", [None, True, "1", [1], {}])
async def test_only_numbers_can_be_incremented(rig: Rig, value):
    await begun(rig)
    script = await session(rig)
    await script.set_variable("n", value, "global", TERMS)
    assert await refused(script.increment_variable("n", 1, "global", TERMS)) == (409, "not_a_number")
    assert await stored(rig, "n") == value


@pytest.mark.parametrize(("start", "by"), [(2**64 - 1, 1), (-(2**63), -1), (1.7e308, 1.7e308)])
async def test_a_sum_that_does_not_fit_is_refused_and_changes_nothing(rig: Rig, start, by):
    await begun(rig)
    script = await session(rig)
    await script.set_variable("n", start, "global", TERMS)
    assert await refused(script.increment_variable("n", by, "global", TERMS)) == (409, "number_too_large")
    assert await stored(rig, "n") == start


async def test_increments_of_many_scripts_at_once_all_count(rig: Rig):
    await begun(rig, "cra_a")
    await begun(rig, "cra_b")
    scripts = [await session(rig, "cra_a"), await session(rig, "cra_b")]
    answers = await asyncio.gather(*(scripts[n % 2].increment_variable("n", 1, "global", TERMS) for n in range(60)))
    assert sorted(answers) == [(n, n) for n in range(1, 61)]


# Compare and set


async def test_a_write_with_a_version_is_carried_out_only_if_it_is_the_one(rig: Rig):
    await begun(rig)
    script = await session(rig)
    assert await script.set_variable("k", "a", "global", Terms(only_new=True)) == 1
    assert await script.set_variable("k", "b", "global", Terms(version=1)) == 2
    for call in (
        script.set_variable("k", "c", "global", Terms(version=1)),
        script.set_variable("k", "c", "global", Terms(only_new=True)),
        script.increment_variable("k", 1, "global", Terms(version=1)),
        script.delete_variable("k", "global", Terms(version=1)),
    ):
        with pytest.raises(RefusalError) as refusal:
            await call
        assert (refusal.value.status, refusal.value.code) == (412, "version_mismatch")
        assert refusal.value.more == {"current_version": 2}
    assert await stored(rig, "k") == "b"
    await script.delete_variable("k", "global", Terms(version=2))
    with pytest.raises(RefusalError) as refusal:
        await script.set_variable("k", "c", "global", Terms(version=2))
    assert refusal.value.more == {"current_version": None}


async def test_of_many_that_compare_and_set_at_once_one_wins(rig: Rig):
    await begun(rig)
    script = await session(rig)
    calls = (script.set_variable("k", n, "global", Terms(only_new=True)) for n in range(10))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(result == 1 for result in results) == 1


# Scopes and keys


async def test_an_events_own_variable_is_read_before_the_global_one(rig: Rig):
    await begun(rig, event_id=EventId("evt_1"))
    await begun(rig, "cra_other", event_id=EventId("evt_2"))
    script, other = await session(rig), await session(rig, "cra_other")
    await script.set_variable("k", "global one", "global", TERMS)
    await script.set_variable("k", "own", "event", TERMS)

    assert [(await script.get_variable("k", scope)).value for scope in (None, "event", "global")] == [
        "own",
        "own",
        "global one",
    ]
    assert (await other.get_variable("k", None)).value == "global one"
    assert await refused(other.get_variable("k", "event")) == (404, "variable_not_found")
    assert [item.key for item in (await script.list_variables("event", prefix="", cursor=None, limit=9)).items] == ["k"]
    await script.delete_variable("k", "event", TERMS)
    assert (await script.get_variable("k", None)).value == "global one"


async def test_a_job_without_an_event_has_no_variables_of_its_event(rig: Rig):
    await begun(rig)
    script = await session(rig)
    for call in (script.set_variable("k", 1, "event", TERMS), script.get_variable("k", "event")):
        assert await refused(call) == (422, "no_event")


@pytest.mark.parametrize("key", ["cronium.x", "CRONIUM_X", "Cronium.", "cronium_token"])
async def test_keys_that_are_ours_cannot_be_written(rig: Rig, key):
    await begun(rig)
    script = await session(rig)
    for call in (
        script.set_variable(key, 1, "global", TERMS),
        script.increment_variable(key, 1, "global", TERMS),
        script.delete_variable(key, "global", TERMS),
    ):
        assert await refused(call) == (422, "key_reserved")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "\x1b[31m", "a\0b"])
async def test_a_key_is_short_and_printable(rig: Rig, key):
    await begun(rig)
    assert await refused((await session(rig)).set_variable(key, 1, "global", TERMS)) == (422, "key_invalid")


async def test_a_value_that_is_too_large_is_refused_with_where_to_put_it(rig: Rig):
    await begun(rig)
    with pytest.raises(RefusalError, match="artifact") as refusal:
        await (await session(rig)).set_variable("k", "x" * (1024 * 1024), "global", TERMS)
    assert (refusal.value.status, refusal.value.code) == (413, "too_large")


async def test_deleting_what_is_not_there_is_told(rig: Rig):
    await begun(rig)
    assert await refused((await session(rig)).delete_variable("k", "global", TERMS)) == (404, "variable_not_found")


# Repeated calls


async def test_a_repeated_increment_counts_once_also_for_another_server(rig: Rig):
    await begun(rig)
    terms = Terms(operation="op-1")
    first = await (await session(rig)).increment_variable("n", 5, "global", terms)
    again = await (await session(rig)).increment_variable("n", 5, "global", terms)  # another backend on the same store
    assert first == again == (5, 1)
    assert await (await session(rig)).increment_variable("n", 5, "global", Terms(operation="op-2")) == (10, 2)


async def test_a_repeated_increment_that_arrives_at_the_same_time_counts_once(rig: Rig):
    await begun(rig)
    script = await session(rig)
    calls = (script.increment_variable("n", 1, "global", Terms(operation="op")) for _ in range(20))
    assert set(await asyncio.gather(*calls)) == {(1, 1)}


async def test_a_repeated_write_is_answered_as_the_first_time_whatever_came_between(rig: Rig):
    await begun(rig)
    script = await session(rig)
    terms = Terms(operation="op", only_new=True)
    assert await script.set_variable("k", "a", "global", terms) == 1
    await script.set_variable("k", "b", "global", TERMS)
    assert await script.set_variable("k", "a", "global", terms) == 1
    assert await stored(rig, "k") == "b"
    await script.delete_variable("k", "global", Terms(operation="del"))
    await script.delete_variable("k", "global", Terms(operation="del"))


async def test_a_name_that_was_used_for_another_write_is_refused(rig: Rig):
    await begun(rig)
    script = await session(rig)
    await script.increment_variable("n", 1, "global", Terms(operation="op"))
    for call in (
        script.increment_variable("n", 2, "global", Terms(operation="op")),
        script.set_variable("n", 1, "global", Terms(operation="op")),
    ):
        assert await refused(call) == (409, "idempotency_key_reused")
    assert await stored(rig, "n") == 1


async def test_the_next_attempt_does_not_repeat_the_first(rig: Rig):
    claim = await begun(rig)
    await (await session(rig)).increment_variable("n", 1, "global", Terms(operation="op"))
    async with rig.store.begin() as repos:
        await repos.jobs.release(claim)
    (second,) = await rig.claim()
    async with rig.store.begin() as repos:
        await repos.jobs.start_attempt(second, process="p2", token_digest=token_digest("cra_second"))
    assert await (await session(rig, "cra_second")).increment_variable("n", 1, "global", Terms(operation="op")) == (
        2,
        2,
    )
    assert await RuntimeUpkeep(store=rig.store).forget() == 1


# Requests


async def test_an_attempt_that_asks_too_often_is_told_when_to_come_back(rig: Rig):
    await begun(rig)
    await begun(rig, "cra_other")
    limit = RuntimeLimit(cache=MemoryCache(rig.clock), observer=rig.observer, requests=3)
    engine = backend(rig, limit=limit)
    for _ in range(3):
        assert await engine.authenticate(TOKEN) is not None
    with pytest.raises(RefusalError) as refusal:
        await engine.authenticate(TOKEN)
    assert (refusal.value.status, refusal.value.code) == (429, "rate_limited")
    assert refusal.value.retry_after_seconds == 60
    assert await engine.authenticate("cra_other") is not None
    rig.clock.advance(timedelta(seconds=60))
    assert await engine.authenticate(TOKEN) is not None


async def test_a_token_that_cannot_be_one_is_not_looked_for(rig: Rig):
    rig.store.is_away = True
    assert await backend(rig).authenticate("x" * 1000) is None
    assert await backend(rig).authenticate("grün") is None


# Progress


async def test_progress_is_kept_and_told(rig: Rig):
    told = []
    claim = await begun(rig)
    board = ProgressBoard(store=rig.store, clock=rig.clock, news=told.append)
    script = await session(rig, progress=board)
    await script.set_progress({"percent": 10})
    assert (await rig.job(claim.job.id)).progress == {"percent": 10}
    assert told == [claim.job.id]


async def test_of_progress_in_a_moment_the_last_one_wins(rig: Rig):
    told = []
    claim = await begun(rig)
    board = ProgressBoard(store=rig.store, clock=rig.clock, news=told.append)
    script = await session(rig, progress=board)
    for percent in range(50):
        await script.set_progress({"percent": percent})
    assert (await rig.job(claim.job.id)).progress == {"percent": 0}
    await board.write_waiting()
    assert (await rig.job(claim.job.id)).progress == {"percent": 49}
    assert len(told) == 2
    await script.set_progress({"percent": 60})
    await script.set_progress({"percent": 100, "message": "done"})
    assert (await rig.job(claim.job.id)).progress == {"percent": 100, "message": "done"}
    await board.write_waiting()
    assert (await rig.job(claim.job.id)).progress == {"percent": 100, "message": "done"}


async def test_progress_that_waits_is_written_by_itself(rig: Rig):
    claim = await begun(rig)
    written = asyncio.Event()
    board = ProgressBoard(store=rig.store, clock=rig.clock, news=lambda _: written.set())
    script = await session(rig, progress=board)
    await script.set_progress(1)
    written.clear()
    await script.set_progress(2)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(board.run())
        await written.wait()
        running.cancel()
    assert (await rig.job(claim.job.id)).progress == 2


async def test_progress_that_waits_outlives_a_store_that_is_away(rig: Rig):
    claim = await begun(rig)
    board = ProgressBoard(store=rig.store, clock=rig.clock)
    script = await session(rig, progress=board)
    await script.set_progress(1)
    await script.set_progress(2)
    rig.store.is_away = True
    await board.write_waiting()
    rig.store.is_away = False
    rig.clock.advance(timedelta(seconds=PAUSE_SECONDS))
    await board.write_waiting()
    assert (await rig.job(claim.job.id)).progress == 2


# Log entries


class Writer:
    """Stores what it is given, as a writer of a log does, in a transaction of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.lines: list[tuple[Stream, str]] = []

    async def entry(self, stream: Stream, text: str, keep: Keep | None) -> int:
        self.lines.append((stream, text))
        seq = len(self.lines)
        async with self.store.begin() as repos:
            if keep is not None:
                await keep(repos, seq)
        return seq


async def test_an_entry_becomes_one_line_of_the_stream_of_its_level(rig: Rig):
    claim = await begun(rig)
    logs, writer = ScriptLogs(), Writer(rig.store)
    script = await session(rig, logs=logs)
    with logs.on(claim.job.id, 1, writer):
        assert await script.write_log("info", "two\nlines", {"ü": [1]}, None) == 1
        assert await script.write_log("error", "x", None, "op") == 2
    assert writer.lines == [
        (Stream.STDOUT, '{"level": "info", "message": "two\\nlines", "data": {"ü": [1]}}'),
        (Stream.STDERR, '{"level": "error", "message": "x"}'),
    ]


async def test_a_repeated_entry_is_one_line(rig: Rig):
    claim = await begun(rig)
    logs, writer = ScriptLogs(), Writer(rig.store)
    script = await session(rig, logs=logs)
    with logs.on(claim.job.id, 1, writer):
        calls = [script.write_log("info", "x", None, "op") for _ in range(5)]
        assert await asyncio.gather(*calls) == [1] * 5
        assert await refused(script.write_log("info", "y", None, "op")) == (409, "idempotency_key_reused")
        both = [script.write_log("info", text, None, "race") for text in ("a", "b")]
        first, second = await asyncio.gather(*both, return_exceptions=True)
        assert first == 2
        assert isinstance(second, RefusalError)
        assert await script.increment_variable("n", 1, "global", Terms(operation="op")) == (1, 1)
    other = ScriptLogs()  # of a server that took the job over
    again = await session(rig, logs=other)
    with other.on(claim.job.id, 1, writer):
        assert await again.write_log("info", "x", None, "op") == 1
    assert len(writer.lines) == 2


async def test_a_server_that_does_not_write_the_jobs_log_says_so(rig: Rig):
    claim = await begun(rig)
    logs = ScriptLogs()
    script = await session(rig, logs=logs)
    assert await refused(script.write_log("info", "x", None, None)) == (503, "log_not_here")
    with logs.on(claim.job.id, 2, Writer(rig.store)):
        assert await refused(script.write_log("info", "x", None, None)) == (503, "log_not_here")
