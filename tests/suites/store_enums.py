"""Every enum value and every absent field is accepted and comes back as it was (M19)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations, count, product

import pytest

from orchestrator.contracts.store import JobFilter, Store
from orchestrator.errors import InvalidError
from orchestrator.model.jobs import (
    Job,
    JobId,
    JobStatus,
    Reason,
    RunId,
    Timings,
    TriggerKind,
)
from orchestrator.model.journal import Entry, EntryKind
from orchestrator.model.logs import Cursor, Line, Stream
from orchestrator.model.specs import Concurrency, ExecutorKind, JobSpec, Language, PullPolicy, Script, WhenFull
from orchestrator.model.tokens import Scope, Token
from orchestrator.model.workflows import RunStatus
from tests.suites.store_making import (
    StoreOpening,
    assert_same,
    claim_all,
    claim_one,
    insert,
    make_job,
    make_run,
    outcome,
)

JOB_HOLES = {
    "reason": Reason.LIMIT,
    "message": "",
    "exit_code": 0,
    "started_at": datetime(1970, 1, 1, tzinfo=UTC),
    "finished_at": datetime.max.replace(tzinfo=UTC),
    "cancel_requested_at": datetime.min.replace(tzinfo=UTC),
    "queued_ms": 0,
    "setup_ms": 0,
    "execution_ms": 2**53 + 1,
    "cleanup_ms": 0,
    "output": False,
    "condition": False,
    "progress": 0,
    "event_id": "evt_1",
    "scheduled_at": datetime(1970, 1, 1, tzinfo=UTC),
    "concurrency_key": "",
    "held": True,
    "run_id": RunId("run_1"),
    "step": "",
    "parent_id": JobId("job_0"),
}
_names = count(1)


def job_with(clock, fields: dict[str, object]) -> Job:
    """A job with some of the fields that may be absent."""
    timings = Timings(**{name: value for name, value in fields.items() if name.endswith("_ms")})
    others = {name: value for name, value in fields.items() if not name.endswith("_ms")}
    if "run_id" in others and "step" in others:
        others["step"] = f"{next(_names)}"
    return make_job(clock, timings=timings, has_output="output" in others, **others)


async def assert_jobs_come_back(store: Store, jobs: list[Job]) -> None:
    await insert(store, *jobs)
    async with store.read() as repos:
        stored = (await repos.jobs.page(JobFilter(), after=None, limit=10_000)).items
    assert_same(stored[::-1], jobs)


class EnumSuite(StoreOpening):
    """Every enum value and every absent field is accepted and comes back as it was (M19)."""

    async def test_every_combination_of_the_enum_values_of_a_job_comes_back(self, store, clock):
        """M19: status, reason or none, trigger and executor."""
        kinds = product(JobStatus, [None, *Reason], TriggerKind, ExecutorKind)
        await assert_jobs_come_back(
            store,
            [
                make_job(clock, status=status, reason=reason, trigger=trigger, executor=executor)
                for status, reason, trigger, executor in kinds
            ],
        )

    async def test_every_combination_of_the_enum_values_of_a_spec_comes_back(self, store, clock):
        """M19: language, module or not, when to pull, executor or none; and what a full concurrency key means, or none."""
        scripts = [Script(language=language, module=module) for language, module in product(Language, [True, False])]
        kinds = product(scripts, PullPolicy, [None, *ExecutorKind])
        specs = [JobSpec(script=script, pull=pull, executor=executor) for script, pull, executor in kinds]
        specs += [
            JobSpec(script=scripts[0], concurrency=Concurrency(key=key, when_full=when_full))
            for key, when_full in product([None, "", "k"], WhenFull)
        ]
        await assert_jobs_come_back(store, [make_job(clock, spec=spec) for spec in specs])

    async def test_every_pair_of_absent_and_present_fields_of_a_job_comes_back(self, store, clock):
        """M19: none, all, each alone, all but each, each pair alone, all but each pair."""
        some = [set(names) for size in (0, 1, 2) for names in combinations(JOB_HOLES, size)]
        chosen = some + [set(JOB_HOLES) - names for names in some]
        present = [{name: value for name, value in JOB_HOLES.items() if name in names} for names in chosen]
        await assert_jobs_come_back(store, [job_with(clock, fields) for fields in present])

    async def test_every_absent_and_present_field_of_a_spec_comes_back(self, store, clock):
        """M19: a present text may be empty."""
        specs = [
            JobSpec(
                script=Script(language=Language.BASH, text=text, file=file),
                name=name,
                image=image,
                workdir=workdir,
                input=input_,
            )
            for text, file, name, image, workdir, input_ in product(*([None, ""],) * 5, [None, {}])
        ]
        await assert_jobs_come_back(store, [make_job(clock, spec=spec) for spec in specs])

    async def test_a_job_ends_with_every_status_and_reason(self, store, clock):
        """M19: and with every combination of what an outcome may leave out."""
        ends = list(product([status for status in JobStatus if status.is_final], [None, *Reason]))
        holes = list(product([None, ""], [None, 0, -(2**31)], *([None, 5],) * 4))
        await insert(store, *(make_job(clock) for _ in range(len(ends) + len(holes))))
        claims = await claim_all(store)
        async with store.begin() as repos:
            for claim, (status, reason) in zip(claims, ends, strict=False):
                job = await repos.jobs.finish(claim, outcome(clock, status, reason=reason))
                assert (job.status, job.reason) == (status, reason)
            for claim, (message, exit_code, *phases) in zip(claims[len(ends) :], holes, strict=True):
                timings = Timings(
                    **dict(zip(("queued_ms", "setup_ms", "execution_ms", "cleanup_ms"), phases, strict=True))
                )
                result = outcome(clock, message=message, exit_code=exit_code, timings=timings)
                job = await repos.jobs.finish(claim, result)
                assert (job.message, job.exit_code) == (message, exit_code)
                kept = claim.job.timings.queued_ms if timings.queued_ms is None else timings.queued_ms
                assert job.timings == replace(timings, queued_ms=kept)

    async def test_a_queued_job_ends_with_every_status_and_reason(self, store, clock):
        """M19: without a claim."""
        for status, reason in product([status for status in JobStatus if status.is_final], [None, *Reason]):
            job = make_job(clock)
            async with store.begin() as repos:
                await repos.jobs.insert(job)
                ended = await repos.jobs.finish_queued(job.id, outcome(clock, status, reason=reason))
            assert ended == replace(job, status=status, reason=reason, finished_at=clock.now())

    async def test_every_enum_value_and_hole_of_a_run_comes_back(self, store, clock):
        """M19: all combinations; a run also ends in every final status."""
        holes = {
            "workflow_id": "wfl_1",
            "output": {},
            "error": "",
            "started_at": clock.now(),
            "finished_at": clock.now(),
            "cancel_requested_at": clock.now(),
        }
        runs = [
            make_run(clock, status=status, **dict(zip(holes, values, strict=True)))
            for status, *values in product(RunStatus, *([None, value] for value in holes.values()))
        ]
        async with store.begin() as repos:
            for run in runs:
                await repos.runs.insert(run)
        async with store.begin() as repos:
            assert_same([await repos.runs.get(run.id) for run in runs], runs)
            for status in RunStatus:
                run = await repos.runs.insert(make_run(clock))
                if status.is_final:
                    for output, error in ((None, None), ({}, "")):
                        run = await repos.runs.insert(make_run(clock))
                        ended = await repos.runs.finish(run.id, status, at=clock.now(), output=output, error=error)
                        assert (ended.status, ended.output, ended.error) == (status, output, error)
                    with pytest.raises(InvalidError):
                        await repos.runs.set_status(run.id, status, at=clock.now())
                else:
                    assert (await repos.runs.set_status(run.id, status, at=clock.now())).status is status
                    with pytest.raises(InvalidError):
                        await repos.runs.finish(run.id, status, at=clock.now(), output=None, error=None)

    async def test_every_kind_of_entry_line_and_token_comes_back(self, store, clock):
        """M19: with and without data, continued or not, revoked or not."""
        claim = await claim_one(store, clock)
        tokens = [
            Token(
                id=f"tok_{scope}_{number}",
                name="",
                scope=scope,
                digest=f"{scope}{number}".encode(),
                created_at=clock.now(),
                revoked_at=revoked_at,
            )
            for scope, (number, revoked_at) in product(Scope, enumerate([None, clock.now()]))
        ]
        lines = [
            Line(seq=seq, at=clock.now(), stream=stream, text="", attempt=1, continued=continued)
            for seq, (stream, continued) in enumerate(product(Stream, [False, True]), start=1)
        ]
        async with store.begin() as repos:
            entries = [
                Entry(subject="s", seq=seq, at=clock.now(), kind=kind, by="", data=data)
                for seq, (kind, data) in enumerate(product(EntryKind, [{}, {"b": 1, "a": None}]), start=1)
            ]
            for entry in entries:
                await repos.journal.append("s", entry.kind, at=entry.at, by=entry.by, data=entry.data or None)
            await repos.logs.append(claim, lines, Cursor())
            for token in tokens:
                await repos.tokens.insert(token)
        async with store.read() as repos:
            assert_same(await repos.journal.read("s"), entries)
            assert_same(await repos.logs.read(claim.job.id, after=0, limit=100), lines)
            assert_same([await repos.tokens.by_digest(token.digest) for token in tokens], tokens)

    async def test_jobs_of_every_status_are_counted(self, store, clock):
        """M19: and only those that are not final make a queue busy."""
        await insert(store, *(make_job(clock, status=status, queue=status) for status in JobStatus for _ in range(2)))
        async with store.read() as repos:
            assert await repos.jobs.count() == dict.fromkeys(JobStatus, 2)
            assert await repos.jobs.queues() == {status for status in JobStatus if not status.is_final}
