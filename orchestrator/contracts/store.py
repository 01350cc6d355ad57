"""
The seam to what must not be lost. Checked by tests/suites/store_suite.py on every store.

Errors: `UnavailableError` when the store does not answer or is out of space, the others as each method says. No type or
exception of a driver leaves an adapter. Times are aware UTC with microseconds. Text may hold any Unicode scalar value,
NUL included; JSON values come back equal, with object keys in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from orchestrator.model.artifacts import Artifact
from orchestrator.model.backlog import Lane, Waiting
from orchestrator.model.events import Event, EventStatus
from orchestrator.model.instances import Instance
from orchestrator.model.jobs import Claim, EventId, Job, JobId, JobStatus, Reason, RunId, Timings
from orchestrator.model.journal import Entry, EntryKind
from orchestrator.model.json import Json
from orchestrator.model.logs import Cursor, Line
from orchestrator.model.secrets import Grant, SealedValue, Secret
from orchestrator.model.specs import ExecutorKind
from orchestrator.model.tokens import Token
from orchestrator.model.variables import MAX_VARIABLES, Variable
from orchestrator.model.workflows import Run, RunStatus

ItemT = TypeVar("ItemT")
EVERYTHING = "*"
REQUEUE_SCOPE = "requeue"  # of idempotency keys: the job that runs instead of the dead one that the key names


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[ItemT]):
    """One page of a list, newest first; `next_cursor` is None on the last page and opaque otherwise."""

    items: list[ItemT]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs to list; None does not filter. `dead`: only those that failed for good and nobody has requeued."""

    status: JobStatus | None = None
    queue: str | None = None
    run_id: RunId | None = None
    event_id: EventId | None = None
    dead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptOwner:
    """Whom an attempt's token speaks for."""

    job: Job
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended, as `JobRepository.finish` records it."""

    status: JobStatus
    finished_at: datetime
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    timings: Timings = field(default_factory=Timings)


class JobRepository(Protocol):
    """
    Jobs, which are also the queue.

    A claim leases a job to an owner. *Fenced* methods take the fence of a claim and raise `LeaseLostError`, changing
    nothing, unless that claim or adoption is the latest one and the job is running.
    """

    async def insert(self, job: Job) -> Job:
        """Store a new job and return it. One with the same `run_id` and `step` wins: it is returned, nothing stored."""
        ...

    async def get(self, job_id: JobId) -> Job:
        """Raises `NotFoundError`."""
        ...

    async def page(self, which: JobFilter, *, after: str | None, limit: int) -> Page[Job]:
        """
        List jobs, newest first, without gaps or repeats while others are inserted.

        Raises `InvalidError` for a cursor that is not one of ours.
        """
        ...

    async def of_run(self, run_id: RunId) -> list[Job]:
        """All jobs of a run, in the order they were inserted."""
        ...

    async def claim(self, owner: str, queue: str, free: Mapping[ExecutorKind, int], *, lease: timedelta) -> list[Claim]:
        """
        Lease queued jobs of `queue` to `owner` for `lease`, at most `free[kind]` of each kind; mark them running.

        Highest priority first, then oldest. Two concurrent callers never get the same job. Each job's fence and
        attempt grow by one; `Claim.job` shows the state after the claim. Jobs whose cancelling was requested are
        claimed like others: ending them is the claimer's work. Held ones are not.
        """
        ...

    async def adopt(
        self,
        owner: str,
        queue: str,
        *,
        lease: timedelta,
        alone: bool,
        kin: str = "",
        strays_after: timedelta | None = None,
    ) -> list[Claim]:
        """
        Lease running jobs of `queue` whose supervisor is gone to `owner`; their fence grows, their attempt does not.

        Those are the jobs of owners whose names begin with `kin` and whose lease has expired; with `alone`, whether it
        has or not: the caller has proved that no other owner of that kin lives. And, where `strays_after` is given, the
        jobs of any owner whose lease expired longer ago than that.
        """
        ...

    async def renew(self, owner: str, *, lease: timedelta, jobs: frozenset[JobId] | None = None) -> frozenset[JobId]:
        """Prolong the leases of `owner` on `jobs` (None: on all it holds), expired ones too; return those it still holds."""
        ...

    async def start_attempt(self, claim: Claim, *, process: str, token_digest: bytes) -> None:
        """Fenced. Record the attempt's process name and the digest of its token, before the process is started."""
        ...

    async def mark_started(self, claim: Claim, *, at: datetime, setup_ms: int | None) -> Job:
        """
        Fenced. Record that the script runs since `at`, and how long setting it up took, if that is known.

        Returns the job as it is then.
        """
        ...

    async def release(self, claim: Claim, *, after: timedelta | None = None, begun: bool = True) -> Job:
        """
        Fenced. Give the job back to the queue, unleased, for another attempt; ends the attempt's token.

        Nobody claims it before `after` has passed. An attempt that was not `begun`, its script never started, keeps its
        number and is counted in `Job.given_back`.
        """
        ...

    async def processes(self) -> frozenset[str]:
        """The names of the processes of all running jobs."""
        ...

    async def request_cancel(self, job_id: JobId, *, at: datetime) -> Job:
        """Note the wish and return the job; keeps the first time asked. Does nothing to a final job."""
        ...

    async def cancel_requested(self, owner: str) -> frozenset[JobId]:
        """The jobs leased to `owner` whose cancelling was requested."""
        ...

    async def finish(self, claim: Claim, outcome: Outcome) -> Job:
        """Fenced. Enter a final state, end the lease and the attempt's token, return the job as it now is."""
        ...

    async def overdue(self, queue: str) -> list[JobId]:
        """Queued jobs of `queue` that have waited for their first attempt longer than their `queue_timeout`."""
        ...

    async def finish_queued(self, job_id: JobId, outcome: Outcome) -> Job:
        """Enter a final state from `queued`. Raises `ConflictError` when the job is not queued any more."""
        ...

    async def occupy(self, key: str) -> None:
        """
        Keep others from occupying a concurrency key until the end of the transaction.

        Whoever needs several occupies them in the order of their names.
        """
        ...

    async def under_way(self, key: str) -> list[Job]:
        """The jobs of a concurrency key that are not final and not held, oldest first."""
        ...

    async def next_held(self, key: str) -> Job | None:
        """The job of a concurrency key that is to be admitted next: of the highest priority, the oldest."""
        ...

    async def held(self, key: str) -> list[Job]:
        """The held jobs of a concurrency key, in the order in which they are to be admitted."""
        ...

    async def admit(self, job_id: JobId) -> None:
        """Let a held job be claimed. Does nothing to others."""
        ...

    async def owner_of(self, token_digest: bytes) -> AttemptOwner | None:
        """Whom an attempt's token speaks for: None unless that attempt is the job's latest and the job is running."""
        ...

    async def set_output(self, job_id: JobId, attempt: int, value: Json) -> None:
        """Keep what the script put out, replacing what was there. Raises `LeaseLostError` when the attempt is over."""
        ...

    async def set_condition(self, job_id: JobId, attempt: int, *, condition: bool) -> None:
        """Keep the script's condition. Raises `LeaseLostError` when the attempt is over."""
        ...

    async def set_progress(self, job_id: JobId, attempt: int, value: Json) -> None:
        """Keep the script's progress. Raises `LeaseLostError` when the attempt is over."""
        ...

    async def queues(self) -> frozenset[str]:
        """The queues that have a job that is not final."""
        ...

    async def count(self) -> Mapping[JobStatus, int]:
        """How many jobs there are of each status that occurs. Counts every job there is."""
        ...

    async def waiting(self, queue: str, *, at: datetime) -> Mapping[ExecutorKind, Waiting]:
        """
        What is queued at `at`, by executor; nothing for executors that nobody waits for. Looks at no final job.

        A job is due from the time it was created or, where a later one was set, from that.
        """
        ...

    async def running(self, queue: str) -> Mapping[ExecutorKind, int]:
        """How many jobs run, by executor; nothing for executors that run none. Looks at no final job."""
        ...


class LogRepository(Protocol):
    """Lines, in chunks."""

    async def append(self, claim: Claim, lines: Sequence[Line], cursor: Cursor, *, omitted: int = 0) -> None:
        """
        Fenced. Store `lines` (may be empty), the cursor after them, and count `omitted` lines as left out.

        The first line's `seq` is one more than the job's last stored line; otherwise `ConflictError`.
        """
        ...

    async def read(self, job_id: JobId, *, after: int, limit: int) -> list[Line]:
        """
        At most `limit` lines with `seq` > `after`, in order; fewer when they are long, but at least one if there is one.

        Empty for a job that is not there or has no more.
        """
        ...

    async def cursor(self, job_id: JobId) -> tuple[int, Cursor]:
        """The last stored `seq` (0: none) and the cursor of the job's latest attempt."""
        ...


class ArtifactRepository(Protocol):
    """Which files jobs left: of each job those of the latest attempt that has ended."""

    async def replace(self, job_id: JobId, artifacts: Sequence[Artifact]) -> None:
        """
        Make these the artifacts of a job, instead of those of its earlier attempts.

        In the transaction that ends the attempt, behind the write that is fenced.
        """
        ...

    async def get(self, job_id: JobId, name: str) -> Artifact | None: ...

    async def page(self, job_id: JobId, *, after: str | None, limit: int) -> Page[Artifact]:
        """List a job's artifacts by name, in the order of code points. Any text will do for a cursor."""
        ...

    async def made_before(self, moment_: datetime, *, limit: int) -> list[JobId]:
        """
        The jobs of the `limit` artifacts that were made the longest before a moment, in that order, each once.

        Empty only when there is none.
        """
        ...

    async def forget(self, job_id: JobId) -> None:
        """Remove the job's artifacts from the list; does nothing where there are none."""
        ...


class JournalRepository(Protocol):
    """What happened, per subject, numbered without gaps."""

    async def append(
        self, subject: str, kind: EntryKind, *, at: datetime, by: str, data: Mapping[str, Json] | None = None
    ) -> None:
        """Write the next entry of `subject`; in the transaction of the change that it announces."""
        ...

    async def read(self, subject: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Entries with `seq` > `after`, in order."""
        ...


class VariableRepository(Protocol):
    """Variables by scope and key, and what scripts were answered when they wrote."""

    async def get(self, scope: str, key: str) -> Variable | None: ...

    async def lock(self, scope: str, key: str) -> Variable | None:
        """As `get`, but nobody else writes, creates or deletes this variable before the transaction ends."""
        ...

    async def set(
        self,
        scope: str,
        key: str,
        value: Json,
        *,
        at: datetime,
        by: str | None = None,
        description: str | None = None,
        most: int = MAX_VARIABLES,
    ) -> Variable:
        """
        Write the value and return it with its new version; a description of None keeps the one there is.

        Raises `ConflictError` (`too_many_variables`) for a new key in a scope that holds `most`.
        """
        ...

    async def delete(self, scope: str, key: str, *, version: int | None = None) -> Variable | None:
        """
        Remove the variable and return what it was; None where there was none, or none of that `version`.

        Never in a transaction that has locked a variable: two that wait for each other would be the end of one.
        """
        ...

    async def page(self, scope: str, *, prefix: str, after: str | None, limit: int) -> Page[Variable]:
        """
        List the variables whose key begins with `prefix` by key, in the order of code points.

        A page of large values holds fewer than `limit`, but at least one. Any text will do for a cursor.
        """
        ...

    async def hold_attempt(self, job_id: JobId, attempt: int) -> None:
        """
        Keep the attempt from ending before this transaction, which writes for it, and its writes apart from each other.

        Raises `LeaseLostError` when the attempt is over.
        """
        ...

    async def answer_of(self, job_id: JobId, attempt: int, key: str, digest: bytes) -> dict[str, Json] | None:
        """
        What the attempt's request of this idempotency key was answered; None when there was none.

        Raises `ConflictError` (`idempotency_key_reused`) if that was another request: one with another digest.
        """
        ...

    async def keep_answer(
        self, job_id: JobId, attempt: int, key: str, digest: bytes, answer: Mapping[str, Json]
    ) -> None:
        """Keep what a request is answered, in the transaction of what it does; after `hold_attempt` and `answer_of`."""
        ...

    async def forget_answers(self) -> int:
        """Forget what attempts that are over were answered; how many answers those were."""
        ...


class SecretRepository(Protocol):
    """
    Secrets by scope and name, the versions of their values under encryption, and which attempt was given which.

    A value is current while its secret has its version.
    """

    async def occupy_key(self, proposed: str) -> str:
        """
        The id of the key that values are sealed with: `proposed` where there was none, or no value is left.

        Nobody changes it until the end of the transaction.
        """
        ...

    async def set_key(self, key_id: str) -> None:
        """From now on values are sealed with this key. In a transaction that has occupied it."""
        ...

    async def key_ids(self) -> frozenset[str]:
        """The ids of the keys that stored values need."""
        ...

    async def write(self, scope: str, name: str, *, description: str | None, at: datetime) -> Secret:
        """
        Make a secret, or the next version of one that is there; a description of None leaves the one there is.

        The caller keeps a value of that version, in the same transaction. Versions are never given out again while a
        value of theirs is there.
        """
        ...

    async def keep(self, value: SealedValue) -> None: ...

    async def get(self, scope: str, name: str) -> Secret | None: ...

    async def page(self, scope: str | None, *, after: str | None, limit: int) -> Page[Secret]:
        """List secrets by scope and name, in the order of code points: of one scope, or all. Any text will do for a cursor."""
        ...

    async def delete(self, scope: str, name: str) -> bool:
        """Whether there was one. Its values stay until they are pruned."""
        ...

    async def use(self, scope: str, name: str, *, at: datetime) -> Secret | None:
        """Note that a secret was used and return it. Nobody writes or deletes it until the end of the transaction."""
        ...

    async def grant(self, job_id: JobId, attempt: int, grants: Sequence[Grant]) -> None:
        """Record what an attempt is given, instead of what was recorded of it before. In a transaction that has used it."""
        ...

    async def granted(self, job_id: JobId, attempt: int) -> list[tuple[str, SealedValue]]:
        """What an attempt was given, in the versions it was given: variables and sealed values."""
        ...

    async def prune(self) -> None:
        """Forget the grants of attempts that are over, and the values that are neither current nor granted."""
        ...

    async def under_other_keys(self, key_id: str, *, limit: int) -> list[SealedValue]:
        """Values that are wrapped by another key, locked to others until the end of the transaction."""
        ...

    async def rewrap(self, value: SealedValue) -> None:
        """Store the key and the wrapping of a value."""
        ...


class TokenRepository(Protocol):
    """Tokens of people and programs."""

    async def insert(self, token: Token) -> None: ...

    async def by_digest(self, digest: bytes) -> Token | None:
        """The token, revoked or not; None when there is none."""
        ...

    async def has_admin(self) -> bool:
        """Whether an admin token that was not revoked exists."""
        ...


class RunRepository(Protocol):
    """Runs of workflows. Their steps are jobs."""

    async def insert(self, run: Run) -> Run: ...

    async def get(self, run_id: RunId) -> Run:
        """Raises `NotFoundError`. Inside `Store.begin` the run stays locked to others until the end."""
        ...

    async def set_status(self, run_id: RunId, status: RunStatus, *, at: datetime) -> Run:
        """Change the status of a run that is not final; `started_at` is kept from the first change to `running`."""
        ...

    async def finish(
        self,
        run_id: RunId,
        status: RunStatus,
        *,
        at: datetime,
        output: Mapping[str, Json] | None,
        error: str | None,
    ) -> Run:
        """Enter a final status. Raises `ConflictError` when the run is final already."""
        ...

    async def request_cancel(self, run_id: RunId, *, at: datetime) -> Run:
        """Note the wish; keeps the first time asked. Does nothing to a final run."""
        ...

    async def queues(self) -> frozenset[str]:
        """The queues that have a run that is not final."""
        ...

    async def unfinished(self, queue: str) -> list[RunId]:
        """The runs of `queue` that are not final, oldest first."""
        ...


class EventRepository(Protocol):
    """Events, and the times their schedules have fired for."""

    async def insert(self, event: Event) -> None:
        """Raises `ConflictError` (`event_name_taken`) when an event that is not archived has this name."""
        ...

    async def get(self, event_id: EventId) -> Event:
        """Raises `NotFoundError`. Inside `Store.begin` the event stays locked to others until the end."""
        ...

    async def by_name(self, name: str) -> Event | None:
        """The event of this name that is not archived."""
        ...

    async def page(self, *, status: EventStatus | None, after: str | None, limit: int) -> Page[Event]:
        """
        List events, newest first: those of a status, or all that are not archived.

        Raises `InvalidError` for a cursor that is not one of ours.
        """
        ...

    async def update(self, event: Event) -> None:
        """
        Store status, schedule state, executions and `updated_at` of an event that this transaction has read.

        Nothing else of an event changes. Raises `NotFoundError`.
        """
        ...

    async def due(self, queue: str, *, at: datetime, limit: int) -> list[EventId]:
        """Active events of `queue` whose `next_fire_at` is not after `at`, the longest due first."""
        ...

    async def next_due(self, queue: str) -> datetime | None:
        """The earliest `next_fire_at` of the active events of `queue`."""
        ...

    async def fire(self, event_id: EventId, fire_time: datetime, job_id: JobId) -> bool:
        """
        Record that `fire_time` became `job_id`; False, recording nothing, when it has fired before.

        In a transaction that has read the event.
        """
        ...

    async def fires(self, event_id: EventId) -> list[tuple[datetime, JobId]]:
        """The times an event has fired for, and what they became, in order."""
        ...


class InstanceRepository(Protocol):
    """The instances that work with this store."""

    async def register(self, instance: Instance) -> None:
        """Store an instance, replacing what is known of it."""
        ...

    async def bereft(self, queue: str) -> list[Instance]:
        """The instances that own leases on running jobs of `queue` which have expired."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxItem:
    """Something that must follow a committed change; `key` makes it unique, `tries` counts deliveries that ended, well or not."""

    id: int
    key: str
    kind: str
    queue: str
    payload: Mapping[str, Json]
    tries: int


class OutboxRepository(Protocol):
    """What must follow, at least once. Written in the transaction of its cause."""

    async def add(self, key: str, kind: str, *, queue: str, payload: Mapping[str, Json], at: datetime) -> None:
        """Add an item due from `at`; does nothing when one with this key exists or existed."""
        ...

    async def due(self, queue: str, *, at: datetime, limit: int) -> list[OutboxItem]:
        """Undelivered items due at `at`, oldest first."""
        ...

    async def take(self, queue: str, *, at: datetime, lease: timedelta, limit: int) -> list[OutboxItem]:
        """
        As `due`, for the caller alone: each item is due again when `lease` has passed, unless it is delivered.

        Two concurrent callers never get the same item.
        """
        ...

    async def lane(self, queue: str) -> Lane:
        """What is neither delivered nor given up. Looks at nothing else."""
        ...

    async def delivered(self, item_id: int, *, at: datetime) -> None: ...

    async def retry(self, item_id: int, *, at: datetime, error: str) -> None:
        """Count a failed try and make the item due again from `at`."""
        ...

    async def give_up(self, item_id: int, *, at: datetime, error: str) -> None:
        """Count a failed try and make the item never due again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """A caller's name for a request: `scope` keeps callers apart, `digest` tells whether two requests are the same."""

    scope: str
    key: str
    digest: bytes


class IdempotencyRepository(Protocol):
    """Requests that were carried out, by the keys that their callers gave them."""

    async def remember(self, key: IdempotencyKey, subject: str, *, at: datetime, keep: timedelta) -> str | None:
        """
        Remember for `keep` that the request made `subject`, in the transaction that makes it; None.

        If the key is remembered already: what that request made. Raises `ConflictError` (`idempotency_key_reused`) if
        that was another request. Of two callers at once the second waits for the first.
        """
        ...


class Repositories(Protocol):
    """All repositories, bound to one transaction (`Store.begin`) or to committed data (`Store.read`)."""

    @property
    def jobs(self) -> JobRepository: ...
    @property
    def logs(self) -> LogRepository: ...
    @property
    def artifacts(self) -> ArtifactRepository: ...
    @property
    def journal(self) -> JournalRepository: ...
    @property
    def variables(self) -> VariableRepository: ...
    @property
    def secrets(self) -> SecretRepository: ...
    @property
    def tokens(self) -> TokenRepository: ...
    @property
    def runs(self) -> RunRepository: ...
    @property
    def events(self) -> EventRepository: ...
    @property
    def instances(self) -> InstanceRepository: ...
    @property
    def outbox(self) -> OutboxRepository: ...
    @property
    def idempotency(self) -> IdempotencyRepository: ...


class Bell(Protocol):
    """
    Wake-ups among the orchestrators that share a store.

    A hint and never the truth: one may be lost, so whoever listens also looks unasked, and looks at everything when it
    hears `EVERYTHING`.
    """

    def ring(self, topic: str) -> None:
        """
        Wake those who listen in other orchestrators, soon. Never waits and never fails; call it after the commit.

        `topic` is short (500 characters at most) and has no newline. Topics rung at nearly the same time may arrive as one.
        """
        ...

    def listen(self, heard: Callable[[str], None]) -> AbstractContextManager[None]:
        """
        Call `heard` with each topic that another orchestrator rings, while the block is open.

        `EVERYTHING` is heard when wake-ups may have been missed: after a connection was lost and made again.
        """
        ...


class Store(Protocol):
    """What must not be lost."""

    @property
    def driver(self) -> str:
        """`sqlite` or `postgres`: a label for logs and metrics."""
        ...

    @property
    def bell(self) -> Bell:
        """Wakes the other orchestrators on this store; silent where there can be none."""
        ...

    def begin(self) -> AbstractAsyncContextManager[Repositories]:
        """
        One transaction: the only way to write.

        Leaving the block commits, durably; an exception rolls back, changes nothing and goes on to the caller. So does
        a statement that the database refused (`ConflictError`, `UnavailableError`), even if the block swallows its
        error. No network call inside. Concurrent blocks do not see each other's changes before they are committed; of
        blocks that wait for each other one may end with `UnavailableError`. A block inside a block of the same task
        raises `ConflictError`, and so do its repositories after its end.
        """
        ...

    def read(self) -> AbstractAsyncContextManager[Repositories]:
        """Read committed data. Writing through these repositories raises an error."""
        ...

    async def check(self) -> None:
        """Raises `UnavailableError` when the store cannot be read or written."""
        ...
