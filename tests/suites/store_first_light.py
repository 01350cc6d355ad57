"""Rows of the first schema, written as it had its columns, and what must become of them under every later one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.contracts.store import JobFilter, Outcome, Store
from orchestrator.errors import ConflictError
from orchestrator.model.jobs import Job, JobId, JobStatus, Reason, TriggerKind
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from orchestrator.stores.codec import micros
from orchestrator.stores.migrate import read_migrations
from tests.suites.migration_suite import MigrationSuite

MADE = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=15)
# As the first release wrote it.
DOCUMENT = (
    '{"spec":{"script":{"language":"bash","text":"true","file":null,"module":false},"name":null,"executor":null,'
    '"image":null,"pull":"missing","network":"none","args":[],"workdir":null,"input":null,"env":{},'
    '"timeout_us":86400000000,"setup_timeout_us":null,"queue_timeout_us":null,"retry":{"attempts":1,'
    '"backoff":"exponential","delay_us":1000000,"max_delay_us":300000000,"jitter":0.2,"exit_codes":null,'
    '"reasons":null,"on_lost":false},"priority":0,"limits":{"memory_bytes":536870912,"pids":256,"cpus":1.0}},'
    '"input":null}'
)


def _old_job(number: int, status: JobStatus) -> Job:
    running, final = status is JobStatus.RUNNING, status.is_final
    return Job(
        id=JobId(f"job_old_{number}"),
        status=status,
        spec=JobSpec(script=Script(language=Language.BASH, text="true")),
        executor=ExecutorKind.PROCESS,
        queue="main",
        trigger=TriggerKind.API,
        priority=number % 3,
        created_at=MADE,
        reason=Reason.LIMIT if final else None,
        attempt=int(running),
        finished_at=MADE if final else None,
    )


OLD_VARIABLES = [("global", "b"), ("global", "B"), ("global", "\u00e9"), ("event:evt_1", "k")]
# Two of each status.
OLD_JOBS = [_old_job(number, status) for number, status in enumerate([*JobStatus, *JobStatus])]


def old_rows() -> Iterator[str]:
    """Statements that both databases take, one row each."""
    at = micros(MADE)
    for job in OLD_JOBS:
        running = job.status is JobStatus.RUNNING
        yield f"""INSERT INTO jobs (id, status, queue, executor, trigger_kind, priority, created_at, reason, attempt,
                finished_at, fence, owner, lease_until, process, log_lines, log_bytes, log_omitted)
            VALUES ('{job.id}', '{job.status}', 'main', 'process', 'api', {job.priority}, {at},
                {f"'{job.reason}'" if job.reason else "NULL"}, {job.attempt}, {at if job.finished_at else "NULL"},
                {job.attempt}, {"'a:1'" if running else "NULL"}, {at if running else "NULL"},
                {f"'p-{job.id}'" if running else "NULL"}, 0, 0, 0)"""
        yield f"INSERT INTO job_documents (job_id, document) VALUES ('{job.id}', '{DOCUMENT}')"
    for key, delivered_at in (("delivered", at), ("waiting", "NULL")):
        yield f"""INSERT INTO outbox (key, kind, queue, payload, due_at, delivered_at, tries)
            VALUES ('{key}', 'advance_run', 'main', '{{"run_id":"run_1"}}', {at}, {delivered_at}, 1)"""
    for scope, key in OLD_VARIABLES:
        yield f"""INSERT INTO variables (scope, key, value, version, updated_at)
            VALUES ('{scope}', '{key}', '[1,"{key}"]', 7, {at})"""


async def assert_old_rows_work(store: Store) -> None:
    """They come back as they were, and what has not ended goes on to its end."""
    async with store.read() as repos:
        page = await repos.jobs.page(JobFilter(), after=None, limit=100)
        assert page.items == OLD_JOBS[::-1]
        assert await repos.jobs.count() == dict.fromkeys(JobStatus, 2)
    outcome = Outcome(status=JobStatus.SUCCEEDED, finished_at=MADE)
    queued = sorted((job for job in OLD_JOBS if job.status is JobStatus.QUEUED), key=lambda job: -job.priority)
    running = [job for job in OLD_JOBS if job.status is JobStatus.RUNNING]
    async with store.begin() as repos:
        adopted = await repos.jobs.adopt("a:2", "main", lease=LEASE, alone=False, kin="a:")
        assert {(claim.job.id, claim.process, claim.fence) for claim in adopted} == {
            (job.id, f"p-{job.id}", 2) for job in running
        }
        claims = await repos.jobs.claim("a:2", "main", {ExecutorKind.PROCESS: 10}, lease=LEASE)
        assert [claim.job.id for claim in claims] == [job.id for job in queued]
        assert await repos.jobs.release(claims[0]) == await repos.jobs.get(claims[0].job.id)
        for claim in (*adopted, *claims[1:]):
            await repos.jobs.finish(claim, outcome)
    async with store.begin() as repos:
        await repos.jobs.finish_queued(claims[0].job.id, outcome)
        assert await repos.jobs.queues() == frozenset()
        [item] = await repos.outbox.take("main", at=MADE, lease=LEASE, limit=10)
        assert (item.key, item.payload, item.tries) == ("waiting", {"run_id": "run_1"}, 1)


async def assert_old_variables_work(store: Store) -> None:
    """They are there, counted, in the order of code points, and their versions go on."""
    keys = sorted(key for scope, key in OLD_VARIABLES if scope == "global")
    async with store.read() as repos:
        page = await repos.variables.page("global", prefix="", after=None, limit=100)
    assert [(one.key, one.value, one.version) for one in page.items] == [(key, [1, key], 7) for key in keys]
    assert {(one.description, one.updated_by) for one in page.items} == {(None, None)}
    with pytest.raises(ConflictError, match=f"holds {len(keys)} variables"):
        async with store.begin() as repos:
            await repos.variables.set("global", "new", 1, at=MADE, most=len(keys))
    async with store.begin() as repos:
        assert (await repos.variables.set("global", "B", 2, at=MADE)).version == 8
        assert await repos.variables.delete("global", "B") is not None
        assert (await repos.variables.set("global", "B", 3, at=MADE, most=len(keys))).version == 9
        assert (await repos.variables.set("event:evt_1", "k", 2, at=MADE)).version == 8


class FirstLightSuite(MigrationSuite):
    """The suite of migrations, and what becomes of rows of the first schema. Say also how to open the store."""

    def open_store(self, where) -> AbstractAsyncContextManager[Store]:
        """Open the store, which applies what is missing."""
        raise NotImplementedError

    async def test_what_the_first_schema_kept_goes_on_in_the_newest(self, where):
        """M17: jobs of every status, what waits to be delivered, variables; nothing is held that was not."""
        await self.migrate(where, read_migrations(self.package)[:1])
        for statement in old_rows():
            await self.query(where, statement)
        async with self.open_store(where) as store:
            await assert_old_rows_work(store)
            await assert_old_variables_work(store)
        newest = [(migration.number, migration.name) for migration in read_migrations(self.package)]
        assert await self.query(where, "SELECT number, name FROM migrations ORDER BY number") == newest
