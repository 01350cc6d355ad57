"""The statements that repositories send, for tests of how a database carries them out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from orchestrator.contracts.store import JobFilter
from orchestrator.model.jobs import EventId
from orchestrator.model.specs import ExecutorKind
from orchestrator.stores.codec import EPOCH
from orchestrator.stores.sql.connection import Connection, Dialect, Row, Value
from orchestrator.stores.sql.repositories import SqlRepositories, bind

Call = Callable[[SqlRepositories], Awaitable[object]]
LEASE = timedelta(seconds=15)
# What is asked often, or where there is much of it: the call and the index that it must use; of several one.
HOT_CALLS: dict[str, tuple[Call, str]] = {
    "jobs.claim": (
        lambda repos: repos.jobs.claim("one", "main", {ExecutorKind.PROCESS: 5}, lease=LEASE),
        "jobs_to_claim",
    ),
    "jobs.waiting": (lambda repos: repos.jobs.waiting("main", at=EPOCH), "jobs_to_claim"),
    "jobs.under_way": (lambda repos: repos.jobs.under_way("key"), "jobs_of_key"),
    "jobs.next_held": (lambda repos: repos.jobs.next_held("key"), "jobs_of_key"),
    "jobs.page": (
        lambda repos: repos.jobs.page(JobFilter(event_id=EventId("evt_1")), after=None, limit=5),
        "jobs_of_event",
    ),
    "jobs.page of dead ones": (
        lambda repos: repos.jobs.page(JobFilter(dead=True), after=None, limit=5),
        "jobs_status",
    ),
    "jobs.adopt": (
        lambda repos: repos.jobs.adopt("one", "main", lease=LEASE, alone=False, kin="ins_1:", strays_after=LEASE),
        "jobs_status|jobs_leased",
    ),
    "instances.bereft": (lambda repos: repos.instances.bereft("main"), "jobs_status|jobs_leased"),
    "events.by_name": (lambda repos: repos.events.by_name("nightly"), "events_name"),
    "events.due": (lambda repos: repos.events.due("main", at=EPOCH, limit=5), "events_due"),
    "events.next_due": (lambda repos: repos.events.next_due("main"), "events_due"),
    "artifacts.made_before": (lambda repos: repos.artifacts.made_before(EPOCH, limit=5), "artifacts_created"),
    "outbox.due": (lambda repos: repos.outbox.due("main", at=EPOCH, limit=5), "outbox_due"),
    "outbox.lane": (lambda repos: repos.outbox.lane("main"), "outbox_due"),
    "outbox.take": (lambda repos: repos.outbox.take("main", at=EPOCH, lease=LEASE, limit=5), "outbox_due"),
}
SORTING = {
    "jobs.under_way",  # the few of a key, by age; the index has them by priority
    "jobs.page of dead ones",  # those of two statuses
}


class _SentError(Exception):
    """The statement is known; there is nothing to answer it with."""

    def __init__(self, sql: str, args: tuple[Value, ...]) -> None:
        super().__init__(sql)
        self.sql, self.args_sent = sql, args


class _Noting(Connection):
    async def rows(self, sql: str, *args: Value) -> list[Row]:
        raise _SentError(sql, args)

    async def change(self, sql: str, *args: Value) -> int:
        raise _SentError(sql, args)

    async def later(self, sql: str, *args: Value) -> None:
        raise _SentError(sql, args)


async def statement_of(call: Call, dialect: Dialect) -> tuple[str, tuple[Value, ...]]:
    """The first statement of a call, and its values."""
    try:
        await call(bind(_Noting(), dialect))
    except _SentError as sent:
        return sent.sql, sent.args_sent
    raise AssertionError("The call sent nothing.")


def many_held_jobs(series: str) -> str:
    """A statement that inserts a held job of one key for each row of `series`, a table with a column `n`."""
    return f"""INSERT INTO jobs (id, status, queue, executor, trigger_kind, priority, created_at, attempt,
            log_lines, log_bytes, log_omitted, event_id, concurrency_key, held)
        SELECT 'job_' || n, 'queued', 'main', 'process', 'api', n % 10, n, 0, 0, 0, 0, 'evt_1', 'key', 1 FROM {series}"""
