"""
Whatever happens to jobs, in whatever order, and wherever an orchestrator dies: the store holds what the model says.

Every rule runs in one transaction, which is committed, ended by an error, or cut off by the death of the orchestrator.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from orchestrator.contracts.store import JobFilter
from orchestrator.model.jobs import Claim, Job, JobStatus, Reason, RunId, Timings, process_name
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Cursor, Position
from orchestrator.model.specs import ExecutorKind
from tests.fakes import FakeClock
from tests.suites.life_model import Model
from tests.suites.life_place import Ending, Home, Place
from tests.suites.store_making import make_job, make_lines, outcome

OWNERS = ("a:1", "a:2", "b:1")
QUEUES = ("main", "other")
KINDS = (ExecutorKind.PROCESS, ExecutorKind.DOCKER)
FAR = timedelta(days=365)
_numbers = count(1)

# Mostly the same ones, so that rules meet each other's jobs.
owners = st.sampled_from(OWNERS)
queues = st.sampled_from(["main", "main", "main", "other"])
kinds = st.sampled_from([KINDS[0], *KINDS])
room = st.sampled_from([dict.fromkeys(KINDS, 3), {KINDS[0]: 1}, {KINDS[0]: 2, KINDS[1]: 0}, {KINDS[1]: 1}])
seconds = st.integers(1, 6).map(lambda number: timedelta(seconds=number))
maybe_seconds = st.none() | seconds
endings = st.sampled_from([*[Ending.COMMITTED] * 8, Ending.RAISED, Ending.RAISED, Ending.KILLED])
finals = st.sampled_from([status for status in JobStatus if status.is_final])
values = st.sampled_from([None, 0, False, "", "said\0", {"b": [1, 1.5], "a": None}])


class LifeMachine(RuleBasedStateMachine):
    """A store beside its model. `jobs` and `claims` are those that were committed, the claims however late they are."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self, place: Place, clock: FakeClock) -> None:
        super().__init__()
        self.place, self.clock = place, clock
        self.model = Model(clock)
        self.life = next(_numbers)
        self.given: list[Claim] = []
        self.digests: dict[bytes, int] = {}
        self.ended: dict[str, Job] = {}
        place.run(place.wipe())

    def transact(self, verb, ending):
        """What the verb answered, where it was committed."""
        done = self.place.run(self.place.transact(self.model, verb, ending))
        if done is None:
            return None
        self.model, told = done
        return told

    def hand_out(self, claims):
        """Every claim and every adoption has a greater fence than those of its job before."""
        for claim in claims or ():
            assert all(claim.fence > other.fence for other in self.given if other.job.id == claim.job.id)
            self.given.append(claim)
        return multiple(*(claims or ()))

    async def note(self, repos, job, kind, **data):
        """The entry that announces a change, in its transaction."""
        await repos.journal.append(job.id, kind, at=self.clock.now(), by="engine", data=data)

    @initialize(target=jobs, ages=st.permutations([0, 1, 2]))
    def some_jobs_wait(self, ages):
        return multiple(*(self.submit_plain(age).id for age in ages))

    @initialize(target=claims, lease=seconds)
    def some_jobs_run(self, lease):
        """And their scripts have been started; something is to follow."""
        job_ids = {self.submit_plain(9, patience=lease).id for _ in range(2)}
        now = self.clock.now()

        async def verb(repos):
            claims = await repos.jobs.claim(OWNERS[0], "main", {KINDS[0]: len(job_ids)}, lease=lease)
            for claim in claims:
                name = process_name(claim.job.id, claim.job.attempt)
                await repos.jobs.start_attempt(claim, process=name, token_digest=name.encode())
                await repos.jobs.mark_started(claim, at=now, setup_ms=5)
                cursor = Cursor(stderr=Position(bytes=7))
                await repos.logs.append(claim, make_lines(self.clock, 1, ["begun"]), cursor, omitted=1)
            await repos.outbox.add(f"{self.life} first", "tell", queue="main", payload={}, at=now)
            return claims

        claims = self.transact(verb, Ending.COMMITTED)
        assert {claim.job.id for claim in claims} == job_ids
        self.digests |= {process_name(claim.job.id, 1).encode(): 1 for claim in claims}
        return self.hand_out(claims)

    def submit_plain(self, age, patience=None):
        job = make_job(self.clock, created_at=self.clock.now() - timedelta(seconds=age))
        job = replace(job, spec=replace(job.spec, queue_timeout=patience))
        return self.transact(lambda repos: repos.jobs.insert(job), Ending.COMMITTED)

    @rule(
        target=jobs,
        queue=queues,
        kind=kinds,
        priority=st.integers(-1, 1),
        age=st.integers(0, 2),
        step=st.none() | st.sampled_from(["extract", "load"]),
        patience=maybe_seconds,
        ending=endings,
    )
    def submit(self, queue, kind, priority, age, step, patience, ending):
        created_at = self.clock.now() - timedelta(seconds=age)
        job = make_job(self.clock, queue=queue, executor=kind, priority=priority, created_at=created_at)
        job = replace(job, spec=replace(job.spec, queue_timeout=patience))
        if step is not None:
            job = replace(job, run_id=RunId(f"run_{self.life}"), step=step)

        async def verb(repos):
            stored = await repos.jobs.insert(job)
            await self.note(repos, stored, EntryKind.QUEUED, new=stored.id == job.id)
            return stored

        stored = self.transact(verb, ending)
        return multiple() if stored is None else stored.id

    @rule(
        target=claims,
        owner=owners,
        queue=queues,
        free=room,
        lease=seconds,
        ending=endings,
    )
    def claim(self, owner, queue, free, lease, ending):
        async def verb(repos):
            claims = await repos.jobs.claim(owner, queue, free, lease=lease)
            for claim in claims:
                await self.note(repos, claim.job, EntryKind.CLAIMED, fence=claim.fence)
            return claims

        return self.hand_out(self.transact(verb, ending))

    @rule(target=claims, queue=queues, places=st.integers(1, 2), lease=seconds)
    def all_claim_at_once(self, queue, places, lease):
        """Nobody gets what another got, and together they get what one with as many places would."""

        async def take(owner):
            async with self.place.store.begin() as repos:
                return await repos.jobs.claim(owner, queue, dict.fromkeys(KINDS, places), lease=lease)

        async def race():
            whole = dict.fromkeys(KINDS, places * len(OWNERS))
            due = await self.model.copy().jobs.claim("all", queue, whole, lease=lease)
            return due, await asyncio.gather(*map(take, OWNERS))

        due, taken = self.place.run(race())
        everything = [claim for mine in taken for claim in mine]
        assert sorted(claim.job.id for claim in everything) == sorted(claim.job.id for claim in due)
        for owner, mine in zip(OWNERS, taken, strict=True):
            assert mine == [self.model.jobs.take(claim.job.id, owner, lease) for claim in mine]
        return self.hand_out(everything)

    @rule(
        target=claims,
        owner=owners,
        queue=queues,
        lease=seconds,
        alone=st.booleans(),
        kin=st.sampled_from(["", "a:", "b:"]),
        strays_after=maybe_seconds,
        ending=endings,
    )
    def adopt(self, owner, queue, lease, alone, kin, strays_after, ending):
        async def verb(repos):
            claims = await repos.jobs.adopt(owner, queue, lease=lease, alone=alone, kin=kin, strays_after=strays_after)
            for claim in claims:
                await self.note(repos, claim.job, EntryKind.ADOPTED, fence=claim.fence)
            return sorted(claims, key=lambda claim: claim.job.id)

        return self.hand_out(self.transact(verb, ending))

    @rule(owner=owners, lease=seconds, named=st.none() | st.sets(jobs, max_size=2), ending=endings)
    def renew(self, owner, lease, named, ending):
        wanted = None if named is None else frozenset(named)
        self.transact(lambda repos: repos.jobs.renew(owner, lease=lease, jobs=wanted), ending)

    @rule(claim=claims, ending=endings)
    def start_attempt(self, claim, ending):
        name = process_name(claim.job.id, claim.job.attempt)
        self.digests[name.encode()] = claim.job.attempt
        self.transact(lambda repos: repos.jobs.start_attempt(claim, process=name, token_digest=name.encode()), ending)

    @rule(claim=claims, setup_ms=st.integers(0, 9), ending=endings)
    def mark_started(self, claim, setup_ms, ending):
        async def verb(repos):
            await repos.jobs.mark_started(claim, at=self.clock.now(), setup_ms=setup_ms)
            await self.note(repos, claim.job, EntryKind.STARTED)

        self.transact(verb, ending)

    @rule(claim=claims, texts=st.lists(st.sampled_from(["", "a", "é\0"]), max_size=3), ending=endings)
    def write_lines(self, claim, texts, ending):
        self.transact(self._append(claim, texts, omitted=len(texts) % 2), ending)

    @rule(claim=claims, skew=st.sampled_from([-1, 1]), ending=endings)
    def write_lines_that_are_not_next(self, claim, skew, ending):
        self.transact(self._append(claim, ["twice, or too early"], skew=skew), ending)

    def _append(self, claim, texts, *, skew=0, omitted=0):
        first = self.model.jobs.rows[claim.job.id].job.log.lines + 1 + skew
        lines = make_lines(self.clock, first, texts, attempt=claim.job.attempt)
        cursor = Cursor(stdout=Position(bytes=first, newlines=len(texts), tail=skew + 1))
        return lambda repos: repos.logs.append(claim, lines, cursor, omitted=omitted)

    @rule(claim=claims, late=st.sampled_from([0, 0, 1, -1]), value=values, ending=endings)
    def speak(self, claim, late, value, ending):
        """The script says something; also one of an attempt that is over, and of one that never was."""
        job_id, attempt = claim.job.id, claim.job.attempt - late

        async def verb(repos):
            await repos.jobs.set_output(job_id, attempt, value)
            await repos.jobs.set_condition(job_id, attempt, condition=bool(value))
            await repos.jobs.set_progress(job_id, attempt, value)

        self.transact(verb, ending)

    @rule(claim=claims, after=maybe_seconds, begun=st.booleans(), ending=endings)
    def release(self, claim, after, begun, ending):
        async def verb(repos):
            job = await repos.jobs.release(claim, after=after, begun=begun)
            await self.note(repos, job, EntryKind.QUEUED, attempt=job.attempt)
            return job

        self.transact(verb, ending)

    @rule(job_id=jobs, ending=endings)
    def request_cancel(self, job_id, ending):
        async def verb(repos):
            job = await repos.jobs.request_cancel(job_id, at=self.clock.now())
            await self.note(repos, job, EntryKind.CANCEL_REQUESTED)
            return job

        self.transact(verb, ending)

    @rule(claim=claims, status=finals, execution_ms=st.none() | st.integers(0, 9), delay=seconds, ending=endings)
    def finish(self, claim, status, execution_ms, delay, ending):
        """With what must follow it, in the same transaction."""
        end = outcome(self.clock, status, exit_code=1, message="why", timings=Timings(execution_ms=execution_ms))
        due_at, key = self.clock.now() + delay, f"{claim.job.id} has ended"

        async def verb(repos):
            job = await repos.jobs.finish(claim, end)
            await self.note(repos, job, EntryKind.FINISHED, status=status.value)
            await repos.outbox.add(key, "advance", queue=job.queue, payload={"job": job.id}, at=due_at)
            return job

        self.transact(verb, ending)

    @rule(job_id=jobs, status=finals, ending=endings)
    def finish_queued(self, job_id, status, ending):
        end = outcome(self.clock, status, reason=Reason.CANCELLED)

        async def verb(repos):
            job = await repos.jobs.finish_queued(job_id, end)
            await self.note(repos, job, EntryKind.FINISHED, status=status.value)
            return job

        self.transact(verb, ending)

    @rule(key=st.sampled_from(["first", "second"]), queue=queues, payload=st.integers(0, 1), ending=endings)
    def let_follow(self, key, queue, payload, ending):
        """A key that exists, or was delivered, stays what it is."""
        self.transact(
            lambda repos: repos.outbox.add(
                f"{self.life} {key}", "tell", queue=queue, payload={"n": payload}, at=self.clock.now()
            ),
            ending,
        )

    @rule(queue=queues, ways=st.lists(st.booleans(), min_size=1, max_size=3), delay=seconds, ending=endings)
    def deliver(self, queue, ways, delay, ending):
        """The first item that is due is delivered or not, and once more where somebody did not hear of it."""

        async def verb(repos):
            now = self.clock.now()
            items = await repos.outbox.due(queue, at=now, limit=2)
            for well in ways if items else ():
                if well:
                    await repos.outbox.delivered(items[0].id, at=now)
                else:
                    await repos.outbox.retry(items[0].id, at=now + delay, error="no answer")
            return [replace(item, id=0) for item in items]

        self.transact(verb, ending)

    @rule(length=seconds)
    def time_passes(self, length):
        self.clock.advance(length)

    @rule()
    def the_orchestrator_is_killed(self):
        self.place.run(self.place.kill())

    @rule(
        status=st.none() | st.sampled_from(JobStatus),
        queue=st.none() | queues,
        of_run=st.booleans(),
        limit=st.integers(1, 3),
    )
    def look_at_a_list(self, status, queue, of_run, limit):
        run_id = RunId(f"run_{self.life}") if of_run else None
        self.place.run(self._compare_pages(JobFilter(status=status, queue=queue, run_id=run_id), limit))

    async def _compare_pages(self, which, limit):
        wanted = await self.model.jobs.page(which, after=None, limit=limit)
        found, after = [], None
        async with self.place.store.read() as repos:
            while after is not None or not found:
                page = await repos.jobs.page(which, after=after, limit=limit)
                found, after = [*found, *page.items], page.next_cursor
                if after is None:
                    break
            run_id = RunId(f"run_{self.life}")
            assert await repos.jobs.of_run(run_id) == await self.model.jobs.of_run(run_id)
        assert found == wanted.items

    @rule(job_id=jobs, after=st.integers(0, 4), limit=st.integers(1, 3))
    def read_on(self, job_id, after, limit):
        async def verb(repos):
            lines = await repos.logs.read(job_id, after=after, limit=limit)
            return lines, await repos.journal.read(job_id, after=after, limit=limit)

        self.transact(verb, Ending.COMMITTED)

    @invariant()
    def the_store_holds_what_the_model_says(self):
        """Asked in a transaction that comes to nothing: it ends with taking every lease there is."""
        self.place.run(self._compare_jobs())
        self.transact(self._everything, Ending.RAISED)

    async def _compare_jobs(self):
        """As everybody sees them; those that have ended stay as they are."""
        async with self.place.store.read() as repos:
            found = (await repos.jobs.page(JobFilter(), after=None, limit=1000)).items
        assert found == (await self.model.jobs.page(JobFilter(), after=None, limit=1000)).items
        for job in found:
            assert not job.status.is_final or self.ended.setdefault(job.id, job) == job

    async def _everything(self, repos):
        numbers = [await repos.jobs.count(), await repos.jobs.queues(), await repos.jobs.processes()]
        wishes = [await repos.jobs.cancel_requested(owner) for owner in OWNERS]
        late = [await repos.jobs.overdue(queue) for queue in QUEUES]
        follows = [await _follows(repos, queue, at=self.clock.now() + FAR) for queue in QUEUES]
        written = [await _written(repos, job_id) for job_id in self.model.jobs.rows]
        heard = [await self._heard(repos, digest, attempt) for digest, attempt in self.digests.items()]
        return numbers, wishes, late, follows, written, heard, await _leases(repos)

    async def _heard(self, repos, digest, attempt):
        """A token speaks for the attempt that runs, or for none."""
        owner = await repos.jobs.owner_of(digest)
        assert owner is None or (owner.attempt, owner.job.status) == (attempt, JobStatus.RUNNING)
        return owner


async def _follows(repos, queue, *, at):
    """What has not been delivered; a store gives ids of its own."""
    return [replace(item, id=0) for item in await repos.outbox.due(queue, at=at, limit=1000)]


async def _written(repos, job_id):
    """The lines, the cursor behind them and the journal of a job; lines and entries are numbered without gaps."""
    lines = await repos.logs.read(job_id, after=0, limit=1000)
    entries = await repos.journal.read(job_id)
    for numbered in (lines, entries):
        assert [part.seq for part in numbered] == list(range(1, len(numbered) + 1))
    return lines, await repos.logs.cursor(job_id), entries


async def _leases(repos):
    """Which have expired, whose the others are, and the fence, attempt and process of every job that runs."""
    expired = [await _adopted(repos, queue, alone=False) for queue in QUEUES]
    held = [await repos.jobs.renew(owner, lease=FAR) for owner in OWNERS]
    return expired, held, [await _adopted(repos, queue, alone=True) for queue in QUEUES]


async def _adopted(repos, queue, *, alone):
    claims = await repos.jobs.adopt("probe", queue, lease=FAR, alone=alone)
    return sorted(claims, key=lambda claim: claim.job.id)


class LifeSuite:
    """What a test class says about its store: where it lives, and how many lives the machine lives in it."""

    lives = 40
    steps = 40

    def open_home(self, tmp_path: Path, clock: FakeClock) -> Home:
        raise NotImplementedError

    @pytest.fixture
    def clock(self):
        return FakeClock(datetime(2026, 3, 29, 1, 59, 59, 123457, tzinfo=UTC))

    def test_whatever_happens_the_store_holds_what_the_model_says(self, tmp_path, clock):
        """M16, M21: seeds repeat in CI; `LIFE_EXAMPLES` asks for more lives than there is time for every day."""
        lived = []
        with Place(self.open_home(tmp_path, clock)) as place:

            def begin() -> LifeMachine:
                lived.append(LifeMachine(place, clock))
                return lived[-1]

            run_state_machine_as_test(begin, settings=self._settings())
        assert len(lived) >= self.lives

    def _settings(self) -> settings:
        return settings(
            max_examples=int(os.environ.get("LIFE_EXAMPLES", self.lives)),
            stateful_step_count=self.steps,
            deadline=None,
            derandomize="CI" in os.environ,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
