"""The life of a job as plain dicts: what a store must answer, without a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import AttemptOwner, JobFilter, OutboxItem, Outcome, Page
from orchestrator.errors import ConflictError, LeaseLostError, NotFoundError
from orchestrator.model.jobs import Claim, Job, JobId, JobStatus, Timings
from orchestrator.model.journal import Entry
from orchestrator.model.logs import Cursor, Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A job, and what is kept of it that nobody is told."""

    job: Job
    fence: int = 0
    owner: str | None = None
    lease_until: datetime | None = None
    due_at: datetime | None = None
    give_up_at: datetime | None = None
    process: str | None = None
    digest: bytes | None = None
    cursor: Cursor = field(default_factory=Cursor)
    lines: tuple[Line, ...] = ()

    @property
    def runs(self) -> bool:
        return self.job.status is JobStatus.RUNNING

    @property
    def waits(self) -> bool:
        return self.job.status is JobStatus.QUEUED


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something in the outbox; its place in the dict is its id."""

    kind: str
    queue: str
    payload: Mapping[str, object]
    due_at: datetime
    tries: int = 0
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class ModelJobs:
    """The part of `JobRepository` that a job's life consists of."""

    clock: Clock
    rows: dict[JobId, Row]

    async def insert(self, job):
        for row in self.rows.values():
            if job.run_id is not None and (row.job.run_id, row.job.step) == (job.run_id, job.step):
                return row.job
        patience = job.spec.queue_timeout
        self.rows[job.id] = Row(job=job, give_up_at=None if patience is None else self.clock.now() + patience)
        return job

    async def get(self, job_id):
        if job_id not in self.rows:
            raise NotFoundError(job_id)
        return self.rows[job_id].job

    async def page(self, which: JobFilter, *, after, limit):
        """Everything on one page: how a list is cut is asked of the store alone."""
        wanted = {"status": which.status, "queue": which.queue, "run_id": which.run_id}
        named = {name: value for name, value in wanted.items() if value is not None}
        jobs = [row.job for row in self.rows.values()]
        found = [job for job in jobs if all(getattr(job, name) == value for name, value in named.items())]
        return Page(items=found[::-1], next_cursor=None)

    async def of_run(self, run_id):
        return [row.job for row in self.rows.values() if row.job.run_id == run_id]

    async def claim(self, owner, queue, free, *, lease):
        now = self.clock.now()
        waiting = [row for row in self.rows.values() if row.waits and row.job.queue == queue]
        due = [row for row in waiting if row.due_at is None or row.due_at <= now]
        due.sort(key=lambda row: (-row.job.priority, row.job.created_at))
        room, taken = Counter(free), []
        for row in due:
            if room[row.job.executor] > 0:
                room[row.job.executor] -= 1
                taken.append(self.take(row.job.id, owner, lease))
        return taken

    def take(self, job_id: JobId, owner: str, lease: timedelta) -> Claim:
        """Start another attempt of a queued job for `owner`."""
        row, now = self.rows[job_id], self.clock.now()
        waited = max(timedelta(), now - row.job.created_at) // timedelta(milliseconds=1)
        queued_ms = waited if row.job.timings.queued_ms is None else row.job.timings.queued_ms
        job = replace(
            row.job,
            status=JobStatus.RUNNING,
            attempt=row.job.attempt + 1,
            started_at=None,
            timings=replace(row.job.timings, queued_ms=queued_ms, setup_ms=None),
        )
        self.rows[job_id] = Row(job=job, fence=row.fence + 1, owner=owner, lease_until=now + lease, lines=row.lines)
        return self._claim_of(job_id)

    async def adopt(self, owner, queue, *, lease, alone, kin="", strays_after=None):
        now, found = self.clock.now(), []
        for row in self._running():
            expired = row.lease_until <= now
            stray = strays_after is not None and row.lease_until <= now - strays_after
            if row.job.queue == queue and ((row.owner.startswith(kin) and (alone or expired)) or stray):
                self._keep(row, owner=owner, lease_until=now + lease, fence=row.fence + 1)
                found.append(self._claim_of(row.job.id))
        return found

    async def renew(self, owner, *, lease, jobs=None):
        held = [row for row in self._running() if row.owner == owner and (jobs is None or row.job.id in jobs)]
        for row in held:
            self._keep(row, lease_until=self.clock.now() + lease)
        return frozenset(row.job.id for row in held)

    async def start_attempt(self, claim, *, process, token_digest):
        self._keep(self.fenced(claim), process=process, digest=token_digest)

    async def mark_started(self, claim, *, at, setup_ms):
        row = self.fenced(claim)
        return self._change(row, started_at=at, timings=replace(row.job.timings, setup_ms=setup_ms))

    async def release(self, claim, *, after=None, begun=True):
        row = self.fenced(claim)
        job = replace(
            row.job,
            status=JobStatus.QUEUED,
            given_back=row.job.given_back if begun else row.job.given_back + 1,
            started_at=None,
            timings=replace(row.job.timings, setup_ms=None),
            output=None,
            has_output=False,
            condition=None,
            progress=None,
        )
        due_at = None if after is None else self.clock.now() + after
        self.rows[job.id] = Row(job=job, fence=row.fence, due_at=due_at, cursor=row.cursor, lines=row.lines)
        return job

    async def processes(self):
        return frozenset(row.process for row in self._running() if row.process is not None)

    async def request_cancel(self, job_id, *, at):
        job = await self.get(job_id)
        if not job.status.is_final and job.cancel_requested_at is None:
            self._change(self.rows[job_id], cancel_requested_at=at)
        return await self.get(job_id)

    async def cancel_requested(self, owner):
        held = [row.job for row in self._running() if row.owner == owner]
        return frozenset(job.id for job in held if job.cancel_requested_at is not None)

    async def finish(self, claim, outcome):
        return self._end(self.fenced(claim), outcome)

    async def overdue(self, queue):
        waiting = [row for row in self.rows.values() if row.waits and row.job.queue == queue]
        late = [row for row in waiting if row.give_up_at is not None and row.give_up_at <= self.clock.now()]
        return [row.job.id for row in sorted(late, key=lambda row: row.give_up_at)]

    async def finish_queued(self, job_id, outcome):
        await self.get(job_id)
        if not self.rows[job_id].waits:
            raise ConflictError(job_id)
        return self._end(self.rows[job_id], outcome)

    async def owner_of(self, token_digest):
        for row in self._running():
            if row.digest == token_digest:
                return AttemptOwner(job=row.job, attempt=row.job.attempt)
        return None

    async def set_output(self, job_id, attempt, value):
        self._change(self._speaking(job_id, attempt), output=value, has_output=True)

    async def set_condition(self, job_id, attempt, *, condition):
        self._change(self._speaking(job_id, attempt), condition=condition)

    async def set_progress(self, job_id, attempt, value):
        self._change(self._speaking(job_id, attempt), progress=value)

    async def queues(self):
        return frozenset(row.job.queue for row in self.rows.values() if not row.job.status.is_final)

    async def count(self):
        return dict(Counter(row.job.status for row in self.rows.values()))

    def fenced(self, claim: Claim) -> Row:
        """The row that the claim may write."""
        row = self.rows[claim.job.id]
        if not row.runs or row.fence != claim.fence:
            raise LeaseLostError(claim.job.id)
        return row

    def _speaking(self, job_id: JobId, attempt: int) -> Row:
        row = self.rows.get(job_id)
        if row is None or not row.runs or row.job.attempt != attempt:
            raise LeaseLostError(job_id)
        return row

    def _running(self) -> list[Row]:
        return [row for row in self.rows.values() if row.runs]

    def _claim_of(self, job_id: JobId) -> Claim:
        row = self.rows[job_id]
        return Claim(job=row.job, fence=row.fence, process=row.process)

    def _keep(self, row: Row, **changes) -> None:
        self.rows[row.job.id] = replace(row, **changes)

    def _change(self, row: Row, **changes) -> Job:
        self.rows[row.job.id] = replace(row, job=replace(row.job, **changes))
        return self.rows[row.job.id].job

    def _end(self, row: Row, outcome: Outcome) -> Job:
        self._keep(row, owner=None, lease_until=None, digest=None)
        return self._change(
            self.rows[row.job.id],
            status=outcome.status,
            finished_at=outcome.finished_at,
            reason=outcome.reason,
            message=outcome.message,
            exit_code=outcome.exit_code,
            timings=_merged(row.job.timings, outcome.timings),
        )


def _merged(before: Timings, told: Timings) -> Timings:
    """What was told, and where nothing was, what was known."""
    names = ("queued_ms", "setup_ms", "execution_ms", "cleanup_ms")
    known = {name: value for name in names if (value := getattr(told, name)) is not None}
    return replace(before, **known)


@dataclass(frozen=True, slots=True)
class ModelLogs:
    """`LogRepository`."""

    jobs: ModelJobs

    async def append(self, claim, lines, cursor, *, omitted=0):
        row = self.jobs.fenced(claim)
        if lines and lines[0].seq != len(row.lines) + 1:
            raise ConflictError(claim.job.id)
        log = replace(
            row.job.log,
            lines=row.job.log.lines + len(lines),
            bytes=row.job.log.bytes + sum(len(line.text.encode()) for line in lines),
            omitted_lines=row.job.log.omitted_lines + omitted,
        )
        grown = replace(row, job=replace(row.job, log=log), lines=(*row.lines, *lines), cursor=cursor)
        self.jobs.rows[row.job.id] = grown

    async def read(self, job_id, *, after, limit):
        return list(self.jobs.rows[job_id].lines[max(after, 0) :][:limit])

    async def cursor(self, job_id):
        row = self.jobs.rows[job_id]
        return len(row.lines), row.cursor


@dataclass(frozen=True, slots=True)
class ModelJournal:
    """`JournalRepository`."""

    entries: dict[str, tuple[Entry, ...]]

    async def append(self, subject, kind, *, at, by, data=None):
        before = self.entries.get(subject, ())
        entry = Entry(subject=subject, seq=len(before) + 1, at=at, kind=kind, by=by, data=data or {})
        self.entries[subject] = (*before, entry)

    async def read(self, subject, *, after=0, limit=1000):
        return list(self.entries.get(subject, ())[after:][:limit])


@dataclass(frozen=True, slots=True)
class ModelOutbox:
    """`OutboxRepository`. Ids are places, not those of a store."""

    items: dict[str, Item]

    async def add(self, key, kind, *, queue, payload, at):
        self.items.setdefault(key, Item(kind=kind, queue=queue, payload=payload, due_at=at))

    async def due(self, queue, *, at, limit):
        places = {key: place for place, key in enumerate(self.items)}
        due = [key for key, item in self.items.items() if item.queue == queue and item.due_at <= at]
        waiting = [key for key in due if not self.items[key].delivered]
        waiting.sort(key=lambda key: self.items[key].due_at)
        return [self._told(key, places[key]) for key in waiting[:limit]]

    async def delivered(self, item_id, *, at):
        self._change(item_id, delivered=True)

    async def retry(self, item_id, *, at, error):
        self._change(item_id, due_at=at)

    def _told(self, key: str, place: int) -> OutboxItem:
        item = self.items[key]
        return OutboxItem(id=place, key=key, kind=item.kind, queue=item.queue, payload=item.payload, tries=item.tries)

    def _change(self, item_id: int, **changes) -> None:
        key = list(self.items)[item_id]
        item = self.items[key]
        if not item.delivered:
            self.items[key] = replace(item, tries=item.tries + 1, **changes)


class Model:
    """What the store must hold. A copy stands for a transaction: it is kept, or thrown away."""

    def __init__(self, clock: Clock, tables: Iterable[dict] = ({}, {}, {})) -> None:
        rows, entries, items = map(dict, tables)
        self.clock = clock
        self.jobs = ModelJobs(clock, rows)
        self.logs = ModelLogs(self.jobs)
        self.journal = ModelJournal(entries)
        self.outbox = ModelOutbox(items)

    def copy(self) -> Model:
        return Model(self.clock, (self.jobs.rows, self.journal.entries, self.outbox.items))
