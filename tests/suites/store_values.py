"""JSON, text, numbers and times come back equal, with their types, or are refused at the door (M20)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.contracts.store import JobFilter
from orchestrator.errors import InvalidError, NotFoundError
from orchestrator.model.jobs import (
    LogTotals,
    RunId,
    Timings,
)
from orchestrator.model.journal import Entry, EntryKind
from orchestrator.model.logs import Cursor
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Limits, Script
from orchestrator.model.tokens import Scope, Token
from orchestrator.model.variables import Variable
from orchestrator.model.workflows import RunStatus
from tests.suites.store_making import (
    ODD_JSON,
    ODD_TEXT,
    StoreOpening,
    assert_same,
    claim_one,
    get,
    insert,
    make_job,
    make_lines,
    make_run,
    outcome,
    row_counts,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [ODD_TEXT, "?", ":a", "%s", "{}", "$1", "\\0"]
)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
NOT_JSON = [
    float("nan"),
    float("inf"),
    [{"a": float("-inf")}],
    2**64,
    -(2**63) - 1,
    "\ud800",
    ["a\udfff"],
    {"\udc00": 1},
]
NOT_TEXT = ["\ud800", "a\udfffb", "\udc80\0"]
# All examples of a property share one store, under names that no other example uses.
ONE_STORE = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow],
)
_names = count(1)


class ValueSuite(StoreOpening):
    """JSON, text, numbers and times come back equal, with their types, or are refused at the door (M20)."""

    @given(values=st.lists(JSON, min_size=7, max_size=7), objects=st.lists(OBJECT, min_size=5, max_size=5))
    @ONE_STORE
    async def test_json_comes_back_equal_through_every_door(self, store, clock, values, objects):
        """M20: nested, Unicode, NUL, integers up to 64 bits, floats to the last bit; keys in order."""
        name, at = f"json-{next(_names)}", clock.now()
        spec = JobSpec(script=Script(language=Language.BASH), input=values[0])
        # A progress of null is no progress.
        job = make_job(clock, spec=spec, input=values[1], output=values[2], has_output=True, progress=values[3])
        run = make_run(clock, document=objects[0], input=objects[1], output=objects[2])
        async with store.begin() as repos:
            await repos.jobs.insert(job)
            await repos.runs.insert(run)
            await repos.journal.append(name, EntryKind.QUEUED, at=at, by="x", data=objects[3])
            variable = await repos.variables.set("json", name, values[4], at=at)
            await repos.outbox.add(name, "k", queue=name, payload=objects[4], at=at)
        async with store.read() as repos:
            found = await repos.jobs.get(job.id)
            assert_same([found], [job])
            assert_same([await repos.runs.get(run.id)], [run])
            [entry] = await repos.journal.read(name)
            assert_same([entry], [Entry(subject=name, seq=1, at=at, kind=EntryKind.QUEUED, by="x", data=objects[3])])
            assert_same([entry.data, variable.value], [objects[3], values[4]])
            assert_same([await repos.variables.get("json", name)], [variable])
            assert_same([item.payload for item in await repos.outbox.due(name, at=at, limit=2)], [objects[4]])
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.set_output(claim.job.id, 1, values[5])
            await repos.jobs.set_progress(claim.job.id, 1, values[6])
            ended = await repos.jobs.finish(claim, outcome(clock))
            run = await repos.runs.insert(make_run(clock))
            await repos.runs.finish(run.id, RunStatus.FAILED, at=at, output=objects[0], error=None)
            assert_same([ended.output, ended.progress], values[5:])
            assert_same([(await repos.runs.get(run.id)).output], [objects[0]])

    @given(texts=st.lists(TEXT, min_size=8, max_size=8))
    @ONE_STORE
    async def test_text_comes_back_equal_through_every_door(self, store, clock, texts):
        """M20: also what looks like a placeholder of some driver."""
        name, at = f"text-{next(_names)}", clock.now()
        one, two, three, four, *rest = texts
        spec = JobSpec(
            script=Script(language=Language.BASH, text=one, file=two),
            name=three,
            image=four,
            network=one,
            args=(two, three),
            workdir=four,
            env={one: two, three: four},
        )
        job = make_job(clock, spec=spec, queue=name + one, message=two, step=three, run_id=RunId(name))
        run = make_run(clock, workflow_name=one, queue=name + two, error=three)
        token = Token(id=name, name=one, scope=Scope.RUN, digest=name.encode(), created_at=at)
        async with store.begin() as repos:
            await repos.jobs.insert(job)
            await repos.runs.insert(run)
            await repos.tokens.insert(token)
            await repos.journal.append(name, EntryKind.QUEUED, at=at, by=four)
            await repos.outbox.add(name + one, two, queue=name + three, payload={}, at=at)
            await repos.variables.set(name + one, two, three, at=at)
        async with store.begin() as repos:
            assert_same([await repos.jobs.get(job.id), await repos.runs.get(run.id)], [job, run])
            assert (await repos.jobs.page(JobFilter(queue=name + one), after=None, limit=9)).items == [job]
            assert await repos.runs.unfinished(name + two) == [run.id]
            assert await repos.tokens.by_digest(name.encode()) == token
            entry = Entry(subject=name, seq=1, at=at, kind=EntryKind.QUEUED, by=four)
            assert await repos.journal.read(name) == [entry]
            [item] = await repos.outbox.due(name + three, at=at, limit=9)
            assert (item.key, item.kind, item.queue) == (name + one, two, name + three)
            assert await repos.variables.get(name + one, two) == Variable(
                scope=name + one, key=two, value=three, version=1, updated_at=at
            )
            [claim] = await repos.jobs.claim(rest[0], name + one, {ExecutorKind.PROCESS: 1}, lease=timedelta(seconds=1))
            assert await repos.jobs.renew(rest[0], lease=timedelta(seconds=1), jobs=frozenset({job.id})) == {job.id}
            lines = make_lines(clock, 1, rest)
            await repos.logs.append(claim, lines, Cursor())
            assert await repos.logs.read(job.id, after=0, limit=9) == lines
            assert (await repos.jobs.finish(claim, outcome(clock, message=rest[1]))).message == rest[1]

    async def test_json_that_would_not_come_back_equal_is_refused_at_every_door(self, store, clock):
        """M20: and nothing is stored, also of what the block wrote before."""
        claim, run, at = await claim_one(store, clock), make_run(clock), clock.now()
        async with store.begin() as repos:
            await repos.runs.insert(run)
        spec = JobSpec(script=Script(language=Language.BASH))
        doors = {
            "input": lambda repos, bad: repos.jobs.insert(make_job(clock, input=bad)),
            "spec": lambda repos, bad: repos.jobs.insert(make_job(clock, spec=replace(spec, input=bad))),
            "output": lambda repos, bad: repos.jobs.insert(make_job(clock, output=bad, has_output=True)),
            "progress": lambda repos, bad: repos.jobs.insert(make_job(clock, progress=bad)),
            "set_output": lambda repos, bad: repos.jobs.set_output(claim.job.id, 1, bad),
            "set_progress": lambda repos, bad: repos.jobs.set_progress(claim.job.id, 1, bad),
            "document": lambda repos, bad: repos.runs.insert(make_run(clock, document={"a": bad})),
            "run input": lambda repos, bad: repos.runs.insert(make_run(clock, input={"a": bad})),
            "run output": lambda repos, bad: repos.runs.insert(make_run(clock, output={"a": bad})),
            "run end": lambda repos, bad: repos.runs.finish(
                run.id, RunStatus.FAILED, at=at, output={"a": bad}, error=None
            ),
            "journal": lambda repos, bad: repos.journal.append("s", EntryKind.QUEUED, at=at, by="x", data={"a": bad}),
            "variable": lambda repos, bad: repos.variables.set("global", "k", bad, at=at),
            "outbox": lambda repos, bad: repos.outbox.add("k", "k", queue="main", payload={"a": bad}, at=at),
        }
        before = await row_counts(store)
        for (name, door), bad in product(doors.items(), NOT_JSON):
            with pytest.raises(InvalidError):
                async with store.begin() as repos:
                    await repos.journal.append("before", EntryKind.QUEUED, at=at, by="x")
                    await door(repos, bad)
                    pytest.fail(f"{name} took {bad!r}")
        assert await row_counts(store) == before
        assert await get(store, claim.job.id) == claim.job

    async def test_text_that_is_not_unicode_is_refused_at_every_door(self, store, clock):
        """M20: a lone surrogate, and nothing is stored."""
        claim, run, at = await claim_one(store, clock), make_run(clock), clock.now()
        async with store.begin() as repos:
            await repos.runs.insert(run)
            await repos.outbox.add("there", "k", queue="main", payload={}, at=at)
            [item] = await repos.outbox.due("main", at=at, limit=1)
        token = Token(id="tok_1", name="x", scope=Scope.RUN, digest=b"d", created_at=at)
        spec = JobSpec(script=Script(language=Language.BASH))
        fields = ("id", "queue", "message", "event_id", "run_id", "step", "parent_id")
        doors = {
            **{
                name: lambda repos, bad, name=name: repos.jobs.insert(make_job(clock, **{name: bad})) for name in fields
            },
            "script": lambda repos, bad: repos.jobs.insert(
                make_job(clock, spec=replace(spec, script=Script(language=Language.BASH, text=bad)))
            ),
            "env": lambda repos, bad: repos.jobs.insert(make_job(clock, spec=replace(spec, env={bad: ""}))),
            "arg": lambda repos, bad: repos.jobs.insert(make_job(clock, spec=replace(spec, args=(bad,)))),
            "get": lambda repos, bad: repos.jobs.get(bad),
            "page": lambda repos, bad: repos.jobs.page(JobFilter(queue=bad), after=None, limit=1),
            "claim": lambda repos, bad: repos.jobs.claim(bad, "main", {ExecutorKind.PROCESS: 1}, lease=timedelta(1)),
            "claim from": lambda repos, bad: repos.jobs.claim("x", bad, {ExecutorKind.PROCESS: 1}, lease=timedelta(1)),
            "adopt": lambda repos, bad: repos.jobs.adopt(bad, "main", lease=timedelta(1), alone=True),
            "renew": lambda repos, bad: repos.jobs.renew(bad, lease=timedelta(1)),
            "process": lambda repos, bad: repos.jobs.start_attempt(claim, process=bad, token_digest=b"x"),
            "finish": lambda repos, bad: repos.jobs.finish(claim, outcome(clock, message=bad)),
            "subject": lambda repos, bad: repos.journal.append(bad, EntryKind.QUEUED, at=at, by="x"),
            "by": lambda repos, bad: repos.journal.append("s", EntryKind.QUEUED, at=at, by=bad),
            "journal": lambda repos, bad: repos.journal.read(bad),
            "scope": lambda repos, bad: repos.variables.set(bad, "k", 1, at=at),
            "key": lambda repos, bad: repos.variables.set("global", bad, 1, at=at),
            "variable": lambda repos, bad: repos.variables.get("global", bad),
            "token": lambda repos, bad: repos.tokens.insert(replace(token, name=bad)),
            "token id": lambda repos, bad: repos.tokens.insert(replace(token, id=bad)),
            "workflow": lambda repos, bad: repos.runs.insert(make_run(clock, workflow_name=bad)),
            "workflow id": lambda repos, bad: repos.runs.insert(make_run(clock, workflow_id=bad)),
            "run": lambda repos, bad: repos.runs.get(bad),
            "error": lambda repos, bad: repos.runs.finish(run.id, RunStatus.FAILED, at=at, output=None, error=bad),
            "outbox": lambda repos, bad: repos.outbox.add(bad, "k", queue="main", payload={}, at=at),
            "outbox kind": lambda repos, bad: repos.outbox.add("k", bad, queue="main", payload={}, at=at),
            "outbox queue": lambda repos, bad: repos.outbox.add("k", "k", queue=bad, payload={}, at=at),
            "retry": lambda repos, bad: repos.outbox.retry(item.id, at=at, error=bad),
        }
        before = await row_counts(store)
        for (name, door), bad in product(doors.items(), NOT_TEXT):
            with pytest.raises(InvalidError):
                async with store.begin() as repos:
                    await repos.journal.append("before", EntryKind.QUEUED, at=at, by="x")
                    await door(repos, bad)
                    pytest.fail(f"{name} took {bad!r}")
        assert await row_counts(store) == before
        async with store.read() as repos:
            assert await repos.jobs.get(claim.job.id) == claim.job
            assert await repos.outbox.due("main", at=at, limit=9) == [item]

    async def test_an_id_with_a_nul_is_nobodys(self, store, clock):
        """M20"""
        await insert(store, make_job(clock))
        async with store.read() as repos:
            for call in (repos.jobs.get, repos.runs.get):
                with pytest.raises(NotFoundError):
                    await call("job_\0")

    @given(numbers=st.lists(INT64, min_size=9, max_size=9))
    @ONE_STORE
    async def test_integers_of_64_bits_come_back_from_every_column(self, store, clock, numbers):
        """M20: every integer column holds 64 bits in every store."""
        queued, setup, execution, cleanup, lines, bytes_, omitted, exit_code, priority = numbers
        job = make_job(
            clock,
            timings=Timings(queued_ms=queued, setup_ms=setup, execution_ms=execution, cleanup_ms=cleanup),
            log=LogTotals(lines=lines, bytes=bytes_, omitted_lines=omitted),
            exit_code=exit_code,
            priority=priority,
            attempt=abs(exit_code) // 2,
            spec=JobSpec(script=Script(language=Language.BASH), limits=Limits(memory_bytes=setup, pids=lines)),
        )
        await insert(store, job)
        assert_same([await get(store, job.id)], [job])

    async def test_integers_and_times_at_their_limits_come_back_and_beyond_them_are_refused(self, store, clock):
        """M20: 64 bits, and all times that Python knows."""
        for number in (2**63 - 1, -(2**63), 2**31, -(2**31) - 1):
            job = make_job(clock, priority=number, exit_code=number)
            await insert(store, job)
            assert_same([await get(store, job.id)], [job])
        before = await row_counts(store)
        for number in (2**63, -(2**63) - 1, 2**80):
            for changes in ({"priority": number}, {"exit_code": number}, {"timings": Timings(setup_ms=number)}):
                with pytest.raises(InvalidError):
                    await insert(store, make_job(clock, **changes))
        assert await row_counts(store) == before
        for at in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), clock.now()):
            job = make_job(clock, created_at=at, started_at=at, finished_at=at, cancel_requested_at=at)
            run = make_run(clock, created_at=at, started_at=at, finished_at=at, cancel_requested_at=at)
            async with store.begin() as repos:
                await repos.runs.insert(run)
                await repos.jobs.insert(job)
                assert_same([await repos.jobs.get(job.id), await repos.runs.get(run.id)], [job, run])

    async def test_a_value_as_deep_and_as_large_as_is_allowed_comes_back(self, store, clock):
        """M20: 200 levels; a megabyte of text; ten thousand keys."""
        deep: object = None
        for level in range(200):
            deep = [deep] if level % 2 else {"a": deep}
        values = [deep, "\N{SNOWMAN}\0" * 500_000, {str(number): number for number in range(10_000)}, ODD_JSON]
        async with store.begin() as repos:
            for number, value in enumerate(values):
                await repos.variables.set("large", str(number), value, at=clock.now())
        async with store.read() as repos:
            stored = [(await repos.variables.get("large", str(number))).value for number in range(len(values))]
        assert stored == values
