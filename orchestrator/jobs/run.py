"""Run one claimed job from start to finish, or adopt one that another orchestrator left running."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.executor import Executor, Exit, Placement, Process, ProcessSpec, Setup, Signal
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import Outcome, Store
from orchestrator.crash import crash_point
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.jobs.artifact_steps import find_given
from orchestrator.jobs.artifacts import NOTHING, Shelf, Taken
from orchestrator.jobs.environment import Surroundings, clean, prepare, token_digest
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.finish import CANCELLED, Ending, end_cancelled, finish, judge, retry
from orchestrator.jobs.logs import LogLimits, LogWriter
from orchestrator.jobs.persist import persist
from orchestrator.jobs.printed import tell_printed
from orchestrator.jobs.redact import Mask
from orchestrator.jobs.retry import next_delay
from orchestrator.jobs.script_log import ScriptLogs
from orchestrator.jobs.setup_log import SetupLog
from orchestrator.jobs.vault import Vault, given_secrets, grant_secrets
from orchestrator.model.jobs import Claim, Job, JobStatus, Reason, Timings, process_name
from orchestrator.model.journal import EntryKind
from orchestrator.model.json import Json
from orchestrator.model.secrets import GivenSecret
from orchestrator.model.specs import ExecutorKind

LOOK_SECONDS = 0.2
NO_FACTS: Mapping[str, Json] = {}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what. `setup` bounds preparing and starting, `grace` lies between TERM and KILL."""

    setup: timedelta = timedelta(minutes=10)
    grace: timedelta = timedelta(seconds=10)
    attach_retry: timedelta = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """
    Supervises claimed jobs, one call of `run` or `adopt` each.

    `again` is told how long it is until another attempt is due; `chance` gives random numbers from 0 to 1.
    """

    store: Store
    clock: Clock
    observer: Observer
    feed: Feed
    executors: Mapping[ExecutorKind, Executor]
    surroundings: Surroundings
    owner: str
    follow: Callable[[], None]
    again: Callable[[timedelta], None]
    chance: Callable[[], float]
    log_limits: LogLimits = field(default_factory=LogLimits)
    patience: Patience = field(default_factory=Patience)
    shelf: Shelf | None = None  # None: what scripts leave is not kept
    vault: Vault | None = None  # None: there are no secrets
    logs: ScriptLogs = field(default_factory=ScriptLogs)  # where scripts find the writer of their log
    leftovers: dict[str, Executor] = field(default_factory=dict)  # processes to be removed, once their executor answers

    async def run(self, claim: Claim, cancel: asyncio.Event) -> None:
        """
        Start the job's script and see it to its end. `cancel` set means: end it.

        Returns when the result is stored, or when another supervisor has taken over. Cancelling this coroutine leaves
        the process running, to be adopted.
        """
        begun = self.clock.now()
        crash_point("attempt.before")
        await self._announce(claim, EntryKind.CLAIMED)
        crash_point("attempt.committed")
        if claim.job.cancel_requested_at is not None:
            await self._finish(claim, self._ended(claim.job, CANCELLED), None)
            return
        try:
            given = await grant_secrets(self.vault, claim.job)
        except StartFailedError as error:
            await self._finish(claim, self._not_started(claim.job, Reason(error.reason), error.message), None)
            return
        writer = await self._writer(claim, given)
        setup = SetupLog(writer)
        try:
            async with setup:
                process = await self._start(claim, cancel, setup, given)
        except StartFailedError as error:
            outcome = self._not_started(claim.job, Reason(error.reason), error.message)
            await self._finish(claim, outcome, None, writer)
            return
        if process is None:
            await self._finish(claim, self._ended(claim.job, CANCELLED), None, writer)
            return
        crash_point("start.done")
        job = await self._mark_started(claim, self.clock.now(), begun=begun, facts=setup.facts)
        await self._supervise(replace(claim, job=job), process, cancel, writer)

    async def adopt(self, claim: Claim, cancel: asyncio.Event) -> None:
        """
        Go on with a job whose supervisor is gone: attach to what runs, collect what has ended.

        What was never started goes back to the queue; only what was started and cannot be found is `lost`.
        """
        if claim.job.executor not in self.executors:
            await self._leave(claim, cancel)
            return
        await self._announce(claim, EntryKind.ADOPTED)
        self.observer.job_adopted(claim.job)
        crash_point("attach.before")
        process = await self._attach(claim) if claim.process is not None else None
        crash_point("attach.done")
        if process is None and claim.job.cancel_requested_at is not None:
            # Whoever broke its start off may have died before that was stored: it may have run, and must not run again.
            await self._finish(claim, self._ended(claim.job, CANCELLED), None)
            return
        if process is None and claim.job.started_at is None:
            log.info("a job was never started, back to the queue", extra={"job_id": claim.job.id})
            await self._release(claim)
            return
        if process is None:
            gone = Exit(
                code=None,
                reason=Reason.LOST,
                note="The script's process is gone or out of reach; what became of it is unknown.",
            )
            outcome = judge(
                claim.job, gone, None, now=self.clock.now(), started_at=claim.job.started_at or claim.job.created_at
            )
            await self._finish(claim, outcome, None)
            return
        if claim.job.started_at is None:
            claim = replace(claim, job=await self._mark_started(claim, self.clock.now()))
        await self._supervise(claim, process, cancel, None)

    async def _leave(self, claim: Claim, cancel: asyncio.Event) -> None:
        """A job of an executor that is not in use here any more: it may well run, so it is neither lost nor run again."""
        log.warning(
            "a job runs with an executor that is not in use here: start again with it, or cancel the job",
            extra={"job_id": claim.job.id, "executor": claim.job.executor},
        )
        await cancel.wait()
        await self._finish(claim, self._ended(claim.job, CANCELLED), None)

    async def _announce(self, claim: Claim, kind: EntryKind) -> None:
        """Write that the job has a supervisor, and under which name its process will be found."""
        job = claim.job

        async def write() -> None:
            async with self.store.begin() as repos:
                if kind is EntryKind.CLAIMED:
                    token = self.surroundings.token(job.id, job.attempt)
                    name = process_name(job.id, job.attempt)
                    await repos.jobs.start_attempt(claim, process=name, token_digest=token_digest(token))
                await repos.journal.append(
                    job.id,
                    kind,
                    at=self.clock.now(),
                    by=self.owner,
                    data={"attempt": job.attempt, "fence": claim.fence},
                )

        await persist(write)
        self.feed.changed(job)

    async def _start(
        self, claim: Claim, cancel: asyncio.Event, setup: Setup, secrets: Sequence[GivenSecret]
    ) -> Process | None:
        """Start the process; None when cancelling came first. What was begun and not awaited is ended later."""
        job = claim.job
        executor = self.executors.get(job.executor)
        if executor is None:
            raise StartFailedError(
                f"The {job.executor} executor is not part of this installation; `cronium doctor` says what is.",
                reason=Reason.INVALID,
            )
        longest = job.spec.setup_timeout or self.patience.setup
        starting = asyncio.ensure_future(self._prepare_and_start(claim, executor, setup, secrets))
        cancelling = asyncio.ensure_future(cancel.wait())
        try:
            await asyncio.wait(
                {starting, cancelling},
                timeout=longest.total_seconds(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if starting.done():
                return starting.result()
        finally:
            cancelling.cancel()
            starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled() and starting.exception() is None:
            return starting.result()  # it was quicker than the cancelling: supervise it, and end it there
        await self._end_surely(claim, executor)
        if cancel.is_set():
            return None
        raise StartFailedError(
            f"Setting the job up took longer than {longest.total_seconds():g} s.", reason=Reason.TIMEOUT
        )

    async def _prepare_and_start(
        self, claim: Claim, executor: Executor, setup: Setup, secrets: Sequence[GivenSecret]
    ) -> Process:
        job = claim.job
        directory = self.surroundings.directory(job)
        try:
            crash_point("files.before")
            spec = await self._prepare(job, executor.placement(directory))
            crash_point("files.prepared")
            if secrets:
                spec = replace(spec, env={**spec.env, **{one.variable: one.value for one in secrets}})
            return await executor.start(spec, setup)
        except UnavailableError as error:
            await self.end(job, executor, claim)  # it may have been started all the same
            raise StartFailedError(error.message, reason=Reason.HOST_UNREACHABLE) from error
        except OSError as error:
            raise StartFailedError(
                f"The job's files could not be written under {directory.parent}: {error}", reason=Reason.LIMIT
            ) from error

    async def _prepare(self, job: Job, placement: Placement) -> ProcessSpec:
        """Prepare in a thread. Cancelling waits for it: files that it writes later would be left behind."""
        shelf = self.shelf
        given = [] if shelf is None else await persist(lambda: find_given(self.store, shelf, job))
        preparing = asyncio.ensure_future(asyncio.to_thread(prepare, job, self.surroundings, placement, *given))
        try:
            return await asyncio.shield(preparing)
        except asyncio.CancelledError:
            await asyncio.wait({preparing}, timeout=self.patience.grace.total_seconds())
            raise

    async def end(self, job: Job, executor: Executor, claim: Claim | None = None) -> None:
        """
        End the attempt's process, if there is one: after a start that was broken off, or when a job is given up.

        With the `claim` it is stored first that it ran: whoever adopts the job must not take it for never started.
        """
        try:
            process = await executor.attach(process_name(job.id, job.attempt))
            if process is not None:
                if claim is not None:
                    await self._mark_started(claim, self.clock.now())
                await process.remove()
        except UnavailableError as error:
            self._leave_over(process_name(job.id, job.attempt), executor, error)

    def _leave_over(self, name: str, executor: Executor, error: UnavailableError) -> None:
        log.warning("cannot be removed yet", extra={"process_name": name, "error": str(error)})
        self.leftovers[name] = executor

    async def clear_leftovers(self) -> None:
        """Try once more to remove what could not be removed when its job was over."""
        for name, executor in list(self.leftovers.items()):
            try:
                process = await executor.attach(name)
                if process is not None:
                    await process.remove()
            except UnavailableError:
                continue  # it was said when it was left
            del self.leftovers[name]
            log.info("removed what was left over", extra={"process_name": name})

    async def abandon(self, claim: Claim) -> None:
        """
        Another supervisor has the job now: remove our attempt's process if the job is done with it.

        While the job runs that very attempt, whoever took it over may be attached to its process.
        """

        async def read() -> Job:
            async with self.store.read() as repos:
                return await repos.jobs.get(claim.job.id)

        job = await persist(read)
        executor = self.executors.get(claim.job.executor)
        if executor is not None and (job.status is not JobStatus.RUNNING or job.attempt != claim.job.attempt):
            await self.end(claim.job, executor)

    async def _end_surely(self, claim: Claim, executor: Executor) -> None:
        """End what was begun, waiting while its executor is away: it may hear of the start only when it is back."""
        job = claim.job
        process = await self._find(process_name(job.id, job.attempt), job, executor)
        if process is not None:
            await self._mark_started(claim, self.clock.now())
        while process is not None:
            try:
                await process.remove()
            except UnavailableError as error:
                log.warning("cannot end it yet", extra={"job_id": job.id, "error": str(error)})
                await asyncio.sleep(self.patience.attach_retry.total_seconds())
            else:
                return

    async def _attach(self, claim: Claim) -> Process | None:
        executor = self.executors.get(claim.job.executor)
        if executor is None or claim.process is None:
            return None
        return await self._find(claim.process, claim.job, executor)

    async def _find(self, name: str, job: Job, executor: Executor) -> Process | None:
        """Find a process, waiting as long as its executor is away: a job is not lost because Docker restarts."""
        while True:
            try:
                return await executor.attach(name)
            except UnavailableError as error:
                log.warning("cannot attach yet", extra={"job_id": job.id, "error": str(error)})
                await asyncio.sleep(self.patience.attach_retry.total_seconds())

    async def _mark_started(
        self, claim: Claim, at: datetime, *, begun: datetime | None = None, facts: Mapping[str, Json] = NO_FACTS
    ) -> Job:
        """Store that the script runs. Nobody knows how long setting it up took who was not there when it was `begun`."""
        setup_ms = None if begun is None else max(0, round((at - begun).total_seconds() * 1000))

        async def write() -> Job:
            async with self.store.begin() as repos:
                job = await repos.jobs.mark_started(claim, at=at, setup_ms=setup_ms)
                data: dict[str, Json] = {"attempt": job.attempt, **facts}
                await repos.journal.append(job.id, EntryKind.STARTED, at=at, by=self.owner, data=data)
                return job

        crash_point("started.before")
        job = await persist(write)
        crash_point("started.committed")
        if job.attempt - job.given_back == 1:
            self.observer.job_started(job, (at - job.created_at).total_seconds())
        self.feed.changed(job)
        return job

    async def _writer(self, claim: Claim, given: Sequence[GivenSecret] | None = None) -> LogWriter:
        """What masks the secrets that the attempt was `given`, None: by whoever supervised it. Waits for their key."""
        if given is None:
            given = await persist(lambda: given_secrets(self.vault, claim.job))
        token, values = self.surroundings.token(claim.job.id, claim.job.attempt), {one.name: one.value for one in given}
        mask = await asyncio.to_thread(Mask, [token], values) if values else Mask([token])
        return LogWriter(
            store=self.store,
            clock=self.clock,
            feed=self.feed,
            observer=self.observer,
            claim=claim,
            mask=mask,
            limits=self.log_limits,
        )

    async def _supervise(self, claim: Claim, process: Process, cancel: asyncio.Event, writer: LogWriter | None) -> None:
        """See a process to its end; without the `writer` of its setup, go on where another supervisor stopped."""
        job, resume = claim.job, writer is None
        writer = writer or await self._writer(claim)
        with self.logs.on(job.id, job.attempt, writer):
            async with asyncio.TaskGroup() as tasks:
                pumping = tasks.create_task(writer.pump(process, resume=resume))
                with self._watching(job) as too_much:
                    exit_, ending = await self._see_end(job, process, cancel, too_much, tasks, resume=resume)
                await pumping
        crash_point("exit.seen")
        for sentence in (exit_.note, exit_.by_others if ending is None else None):
            if sentence is not None:
                await writer.system(sentence)
        await tell_printed(self.store, self.clock, claim, writer, by=self.owner)
        started_at = job.started_at or self.clock.now()
        outcome = judge(job, exit_, ending, now=self.clock.now(), started_at=started_at)
        await self._finish(claim, outcome, process, writer)

    def _watching(self, job: Job) -> AbstractContextManager[asyncio.Event]:
        """An event that is set when the script leaves more artifacts than it may."""
        return (
            nullcontext(asyncio.Event())
            if self.shelf is None
            else self.shelf.watch.on(self.surroundings.artifacts(job))
        )

    async def _see_end(
        self,
        job: Job,
        process: Process,
        cancel: asyncio.Event,
        too_much: asyncio.Event,
        tasks: asyncio.TaskGroup,
        *,
        resume: bool,
    ) -> tuple[Exit, Ending | None]:
        """Wait for the process, and end it when cancelling is asked for, its time is over or it has left too much."""
        exiting = tasks.create_task(process.wait())
        cancelling = tasks.create_task(cancel.wait())
        overflowing = tasks.create_task(too_much.wait())
        deadline = (job.started_at or self.clock.now()) + job.spec.timeout
        # At least a moment: a script that ended while nobody supervised it may need a call to say so.
        left = max(LOOK_SECONDS, (deadline - self.clock.now()).total_seconds())
        await asyncio.wait({exiting, cancelling, overflowing}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        ending: Ending | None = None
        if not exiting.done():
            ending = (
                CANCELLED if cancel.is_set() else TOO_MUCH_LEFT if too_much.is_set() else _timed_out(job.spec.timeout)
            )
            await self._end(process, exiting)
        cancelling.cancel()
        overflowing.cancel()
        exit_ = await exiting
        if ending is None and resume:
            ending = _ended_before(job, exit_, deadline)
        elif (
            ending is not None
            and ending.reason is Reason.TIMEOUT
            and exit_.finished_at
            and exit_.finished_at < deadline
        ):
            ending = None  # it ended in time, we only learned of it late
        return exit_, ending

    async def _end(self, process: Process, exiting: asyncio.Task[Exit]) -> None:
        """TERM, a grace period, KILL of the whole tree; KILL again until it is heard."""
        await self._signal(process, Signal.TERM)
        await asyncio.wait({exiting}, timeout=self.patience.grace.total_seconds())
        while not exiting.done():
            await self._signal(process, Signal.KILL)
            await asyncio.wait({exiting}, timeout=5.0)

    async def _signal(self, process: Process, signal: Signal) -> None:
        crash_point("signal.before")
        try:
            await process.signal(signal)
            crash_point("signal.sent")
        except UnavailableError as error:
            log.warning("cannot signal yet", extra={"process_name": process.name, "error": str(error)})

    async def _take(self, claim: Claim, writer: LogWriter | None) -> Taken:
        """Take over what the script left, and say what of it is not kept."""
        if self.shelf is None:
            return NOTHING
        taken = await self.shelf.take(claim, self.surroundings.artifacts(claim.job), at=self.clock.now())
        if taken.notes:
            writer = writer or await self._writer(claim)  # of a script that is gone: nobody reads on
            for note in taken.notes:
                writer.note(note)
            await writer.flush()
        return taken

    async def _finish(
        self, claim: Claim, outcome: Outcome, process: Process | None, writer: LogWriter | None = None
    ) -> None:
        """Store the result and what was left, or that another attempt follows; only then remove process and files."""
        taken = await self._take(claim, writer)
        if writer is not None and outcome.message is not None:
            outcome = replace(outcome, message=writer.masked(outcome.message))
        delay = next_delay(
            claim.job.spec.retry, claim.job.attempt - claim.job.given_back, outcome, chance=self.chance()
        )
        if delay is None:
            crash_point("finish.before")
            job = await persist(lambda: finish(self.store, self.clock, claim, outcome, taken.artifacts, by=self.owner))
            crash_point("finish.committed")
        else:
            crash_point("retry.before")
            job = await persist(
                lambda: retry(self.store, self.clock, claim, outcome, delay, taken.artifacts, by=self.owner)
            )
            crash_point("retry.committed")
        if job.status.is_final:
            self.observer.job_finished(job)
            self.follow()
        elif delay is not None:
            self.observer.job_retried(job, outcome.reason)
            self.again(delay)
        self.feed.changed(job)
        if process is not None:
            crash_point("remove.before")
            try:
                await process.remove()
                crash_point("remove.done")
            except UnavailableError as error:
                self._leave_over(process.name, self.executors[claim.job.executor], error)
        if taken.artifacts:
            self.observer.artifacts_kept(len(taken.artifacts), sum(one.size for one in taken.artifacts))
        if self.shelf is not None and claim.fence > 1:  # an earlier supervision may have left what counts no more
            await self.shelf.keep_only(job.id, taken)
        await asyncio.to_thread(clean, claim.job, self.surroundings)
        if self.vault is not None:
            await self.vault.forget(claim.job)
        crash_point("clean.done")

    async def _release(self, claim: Claim) -> None:
        async def write() -> Job:
            async with self.store.begin() as repos:
                job = await repos.jobs.release(claim, begun=False)
                if job.cancel_requested_at is not None:
                    return await end_cancelled(repos, job, at=self.clock.now(), by=self.owner)
                data = {"message": "The script was never started; the job waits for another attempt."}
                await repos.journal.append(job.id, EntryKind.QUEUED, at=self.clock.now(), by=self.owner, data=data)
                return job

        crash_point("release.before")
        job = await persist(write)
        crash_point("release.committed")
        if job.status.is_final:
            self.observer.job_finished(job)
            self.follow()
        self.feed.changed(job)
        await asyncio.to_thread(clean, claim.job, self.surroundings)

    def _ended(self, job: Job, ending: Ending) -> Outcome:
        return Outcome(
            status=ending.status,
            reason=ending.reason,
            message=ending.message,
            finished_at=self.clock.now(),
            timings=Timings(queued_ms=job.timings.queued_ms),
        )

    def _not_started(self, job: Job, reason: Reason, message: str) -> Outcome:
        status = JobStatus.TIMED_OUT if reason is Reason.TIMEOUT else JobStatus.FAILED
        return self._ended(job, Ending(status=status, reason=reason, message=message))


TOO_MUCH_LEFT = Ending(
    status=JobStatus.FAILED,
    reason=Reason.LIMIT,
    message="The script left more in $CRONIUM_ARTIFACTS than it may (artifact_max_bytes, artifact_max_files) and was "
    "ended.",
)


def _ended_before(job: Job, exit_: Exit, deadline: datetime) -> Ending | None:
    """
    Why an earlier supervisor had ended the process, where it died before it could store that; None: it had not.

    Whether it came to send the signal is written nowhere, so the times decide. A script that ended with 0 after its
    deadline did its work while nobody was there to end it.
    """
    if exit_.finished_at is None or exit_.reason is not None:
        return None
    if job.cancel_requested_at is not None and exit_.finished_at >= job.cancel_requested_at:
        return CANCELLED
    return _timed_out(job.spec.timeout) if exit_.code != 0 and exit_.finished_at >= deadline else None


def _timed_out(timeout: timedelta) -> Ending:
    return Ending(
        status=JobStatus.TIMED_OUT,
        reason=Reason.TIMEOUT,
        message=f"The script ran longer than its timeout of {timeout.total_seconds():g} s and was ended.",
    )
