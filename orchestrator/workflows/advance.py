"""Advance a run: on each finished step decide, in one transaction, what starts, what is skipped and whether it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import OutboxItem, Repositories, Store
from orchestrator.errors import InvalidError
from orchestrator.jobs.admit import Stored
from orchestrator.jobs.cancel import Canceller
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.jobs.submit import Submission, Submitter
from orchestrator.model.jobs import Job, JobStatus, Reason, RunId, TriggerKind
from orchestrator.model.journal import EntryKind
from orchestrator.model.json import Json
from orchestrator.model.specs import JobSpec, Language, Script
from orchestrator.model.workflows import Run, RunStatus, Step, Workflow
from orchestrator.workflows.artifacts import given_artifacts
from orchestrator.workflows.conditions import render
from orchestrator.workflows.definition import workflow_from_document
from orchestrator.workflows.plan import StepState, next_steps, scope_for

ENGINE = "engine"
STEP_ENTRIES = {JobStatus.SUCCEEDED: EntryKind.STEP_COMPLETED, JobStatus.SKIPPED: EntryKind.STEP_SKIPPED}
RUN_ENTRIES = {
    RunStatus.SUCCEEDED: EntryKind.WORKFLOW_SUCCEEDED,
    RunStatus.FAILED: EntryKind.WORKFLOW_FAILED,
    RunStatus.CANCELLED: EntryKind.WORKFLOW_CANCELLED,
}


@dataclass(slots=True)
class _Changes:
    """What to announce after the commit."""

    started: list[Stored]
    settled: list[Job]
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Advancer:
    """Starts runs and takes them further."""

    store: Store
    clock: Clock
    feed: Feed
    submitter: Submitter
    canceller: Canceller

    async def start(self, workflow: Workflow, given: Mapping[str, Json], *, by: str) -> Run:
        """Store a run of `workflow` with complete inputs and start its first steps."""
        now = self.clock.now()
        run = Run(
            id=RunId(self.submitter.new_id("run")),
            workflow_name=workflow.name,
            status=RunStatus.QUEUED,
            document=workflow.document,
            input=given,
            queue=self.submitter.queue,
            created_at=now,
        )
        async with self.store.begin() as repos:
            await repos.runs.insert(run)
            await repos.runs.set_status(run.id, RunStatus.RUNNING, at=now)
            await repos.journal.append(run.id, EntryKind.RUN_STARTED, at=now, by=by, data={"workflow": workflow.name})
            changes = await self._advance(repos, run.id)
        self._announce(changes)
        return changes.run

    async def follow(self, item: OutboxItem) -> None:
        """The outbox handler: the payload is `{"run_id": ...}`. Does nothing where there is nothing to do."""
        async with self.store.begin() as repos:
            changes = await self._advance(repos, RunId(str(item.payload["run_id"])))
        self._announce(changes)

    async def cancel(self, run_id: RunId, *, by: str) -> Run:
        """Start no further step, end those that run; the run is `cancelled` when they have ended."""
        async with self.store.begin() as repos:
            await repos.runs.request_cancel(run_id, at=self.clock.now())
            jobs = [job for job in await repos.jobs.of_run(run_id) if not job.status.is_final]
        for job in jobs:
            await self.canceller.cancel(job.id, by=by)
        async with self.store.begin() as repos:
            changes = await self._advance(repos, run_id)
        self._announce(changes)
        return changes.run

    async def _advance(self, repos: Repositories, run_id: RunId) -> _Changes:
        run = await repos.runs.get(run_id)
        changes = _Changes(started=[], settled=[], run=run)
        if run.status.is_final:
            return changes
        workflow = workflow_from_document(run.document)
        while True:
            jobs = await repos.jobs.of_run(run_id)
            states = {job.step: _state(job) for job in jobs if job.step is not None}
            await self._note_finished(repos, run, jobs)
            plan = next_steps(workflow, states, run=run)
            if plan.finished is not None:
                changes.run = await self._finish(repos, run, workflow, states, plan.finished)
                return changes
            for step in plan.start:
                await self._start_step(repos, run, step, scope_for(workflow, states, run=run), jobs, changes)
            for step, why in plan.skip:
                await self._settle(repos, run, step, JobStatus.SKIPPED, None, why, changes)
            for step, why in plan.fail:
                await self._settle(repos, run, step, JobStatus.FAILED, Reason.INVALID, why, changes)
            if not (plan.start or plan.skip or plan.fail):
                return changes

    async def _start_step(
        self,
        repos: Repositories,
        run: Run,
        step: Step,
        scope: Mapping[str, Json],
        jobs: Sequence[Job],
        changes: _Changes,
    ) -> None:
        try:
            spec = replace(step_spec(step, run, scope), artifacts=given_artifacts(step, jobs))
        except InvalidError as error:
            why = "; ".join(f"{fault.path}: {fault.message}" for fault in error.faults) or error.message
            await self._settle(repos, run, step, JobStatus.FAILED, Reason.INVALID, why, changes)
            return
        submission = Submission(spec=spec, trigger=TriggerKind.WORKFLOW, by=ENGINE, run_id=run.id, step=step.name)
        stored = await self.submitter.enqueue(repos, submission)
        await self._note(repos, run, EntryKind.STEP_STARTED, {"step": step.name, "job_id": stored.job.id})
        changes.started.append(stored)

    async def _settle(
        self,
        repos: Repositories,
        run: Run,
        step: Step,
        status: JobStatus,
        reason: Reason | None,
        why: str,
        changes: _Changes,
    ) -> None:
        """Store a step that never ran as a job that is final from the beginning."""
        now = self.clock.now()
        spec = JobSpec(script=Script(language=Language.SHELL, text=""), name=step.name)
        job = self.submitter.build(
            Submission(spec=spec, trigger=TriggerKind.WORKFLOW, by=ENGINE, run_id=run.id, step=step.name), runs=False
        )
        job = replace(job, status=status, reason=reason, message=why, finished_at=now)
        stored = await repos.jobs.insert(job)
        if stored.id != job.id:
            return
        changes.settled.append(stored)
        kind = EntryKind.STEP_SKIPPED if status is JobStatus.SKIPPED else EntryKind.STEP_FAILED
        await self._note(repos, run, kind, {"step": step.name, "job_id": job.id, "message": why})

    async def _note_finished(self, repos: Repositories, run: Run, jobs: list[Job]) -> None:
        """Write the journal entries of steps that ended since the last look."""
        noted = await self._noted(repos, run.id)
        for job in jobs:
            if job.status.is_final and job.id not in noted:
                kind = STEP_ENTRIES.get(job.status, EntryKind.STEP_FAILED)
                data: dict[str, Json] = {"step": job.step, "job_id": job.id, "status": job.status, "reason": job.reason}
                await self._note(repos, run, kind, data)

    async def _noted(self, repos: Repositories, run_id: RunId) -> set[str]:
        """The jobs whose end the run's journal tells already."""
        noted: set[str] = set()
        after = 0
        while entries := await repos.journal.read(run_id, after=after):
            noted |= {str(entry.data.get("job_id")) for entry in entries if entry.kind is not EntryKind.STEP_STARTED}
            after = entries[-1].seq
        return noted

    async def _finish(
        self, repos: Repositories, run: Run, workflow: Workflow, states: Mapping[str, StepState], status: RunStatus
    ) -> Run:
        """Work out the outputs and end the run; outputs that cannot be worked out fail it."""
        output: dict[str, Json] | None = None
        error = failure_of(states) if status is RunStatus.FAILED else None
        if status is RunStatus.SUCCEEDED:
            try:
                rendered = render(dict(workflow.outputs), scope_for(workflow, states, run=run))
                output = rendered if isinstance(rendered, dict) else {}
            except InvalidError as fault:
                status, error = RunStatus.FAILED, f"outputs: {fault.message}"
        finished = await repos.runs.finish(run.id, status, at=self.clock.now(), output=output, error=error)
        await self._note(repos, run, RUN_ENTRIES[status], {"error": error})
        return finished

    async def _note(self, repos: Repositories, run: Run, kind: EntryKind, data: Mapping[str, Json]) -> None:
        await repos.journal.append(run.id, kind, at=self.clock.now(), by=ENGINE, data=data)

    def _announce(self, changes: _Changes) -> None:
        for job in (*(stored.job for stored in changes.started), *changes.settled):
            self.feed.changed(job)
        for stored in changes.started:
            self.submitter.announce(stored)
        self.feed.run_changed(changes.run)


def step_spec(step: Step, run: Run, scope: Mapping[str, Json]) -> JobSpec:
    """The job specification of a step: templates filled in, then checked. Raises `InvalidError`."""
    filled: dict[str, Json] = {}
    for key, value in step.spec.items():
        filled[key] = value if key in ("python", "node", "bash", "shell") else render(value, scope)
    filled.setdefault("input", dict(run.input))
    filled.setdefault("name", step.name)
    return parse_job_spec(filled, path=f"steps.{step.name}")


def failure_of(states: Mapping[str, StepState]) -> str:
    """Which steps made the run fail, in a sentence."""
    failed = [name for name, state in states.items() if state.status in (JobStatus.FAILED, JobStatus.TIMED_OUT)]
    return f"Failed: {', '.join(failed)}." if failed else "A step did not succeed."


def _state(job: Job) -> StepState:
    return StepState(status=job.status, output=job.output, condition=job.condition)
