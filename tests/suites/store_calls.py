"""A call of every method of every repository, for promises that hold for all of them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import get_type_hints

from orchestrator.contracts.store import IdempotencyKey, JobFilter, Repositories
from orchestrator.model.events import Event
from orchestrator.model.jobs import Claim, JobId
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Cursor
from orchestrator.model.specs import ExecutorKind
from orchestrator.model.tokens import Scope, Token
from orchestrator.model.workflows import Run, RunStatus
from tests.fakes import FakeClock
from tests.suites.store_making import (
    LEASE,
    make_artifact,
    make_event,
    make_instance,
    make_job,
    make_lines,
    make_run,
    outcome,
    sealed,
)

Call = Callable[[Repositories], Awaitable[object]]


def reading_calls(claim: Claim, run: Run, event: Event) -> dict[str, Call]:
    """By `repository.method`. They find something where `claim` is of a stored job, and `run` and `event` are stored."""
    return {
        "jobs.get": lambda repos: repos.jobs.get(claim.job.id),
        "jobs.page": lambda repos: repos.jobs.page(JobFilter(), after=None, limit=10),
        "jobs.of_run": lambda repos: repos.jobs.of_run(run.id),
        "jobs.cancel_requested": lambda repos: repos.jobs.cancel_requested("one"),
        "jobs.overdue": lambda repos: repos.jobs.overdue("main"),
        "jobs.processes": lambda repos: repos.jobs.processes(),
        "jobs.owner_of": lambda repos: repos.jobs.owner_of(b"t"),
        "jobs.under_way": lambda repos: repos.jobs.under_way("key"),
        "jobs.next_held": lambda repos: repos.jobs.next_held("key"),
        "jobs.held": lambda repos: repos.jobs.held("key"),
        "jobs.queues": lambda repos: repos.jobs.queues(),
        "jobs.count": lambda repos: repos.jobs.count(),
        "jobs.waiting": lambda repos: repos.jobs.waiting("main", at=run.created_at),
        "jobs.running": lambda repos: repos.jobs.running("main"),
        "logs.read": lambda repos: repos.logs.read(claim.job.id, after=0, limit=10),
        "logs.cursor": lambda repos: repos.logs.cursor(claim.job.id),
        "artifacts.get": lambda repos: repos.artifacts.get(claim.job.id, "report.csv"),
        "artifacts.page": lambda repos: repos.artifacts.page(claim.job.id, after=None, limit=10),
        "artifacts.made_before": lambda repos: repos.artifacts.made_before(run.created_at, limit=10),
        "journal.read": lambda repos: repos.journal.read(claim.job.id),
        "variables.get": lambda repos: repos.variables.get("global", "k"),
        "variables.page": lambda repos: repos.variables.page("global", prefix="", after=None, limit=10),
        "variables.answer_of": lambda repos: repos.variables.answer_of(claim.job.id, 1, "k", b"d"),
        "secrets.key_ids": lambda repos: repos.secrets.key_ids(),
        "secrets.get": lambda repos: repos.secrets.get("global", "S"),
        "secrets.page": lambda repos: repos.secrets.page(None, after=None, limit=10),
        "secrets.under_other_keys": lambda repos: repos.secrets.under_other_keys("k1", limit=10),
        "secrets.granted": lambda repos: repos.secrets.granted(claim.job.id, 1),
        "tokens.by_digest": lambda repos: repos.tokens.by_digest(b"d"),
        "tokens.has_admin": lambda repos: repos.tokens.has_admin(),
        "runs.get": lambda repos: repos.runs.get(run.id),
        "runs.queues": lambda repos: repos.runs.queues(),
        "runs.unfinished": lambda repos: repos.runs.unfinished("main"),
        "events.get": lambda repos: repos.events.get(event.id),
        "events.by_name": lambda repos: repos.events.by_name(event.name),
        "events.page": lambda repos: repos.events.page(status=None, after=None, limit=10),
        "events.due": lambda repos: repos.events.due("main", at=event.created_at, limit=10),
        "events.next_due": lambda repos: repos.events.next_due("main"),
        "events.fires": lambda repos: repos.events.fires(event.id),
        "instances.bereft": lambda repos: repos.instances.bereft("main"),
        "outbox.due": lambda repos: repos.outbox.due("main", at=run.created_at, limit=10),
        "outbox.lane": lambda repos: repos.outbox.lane("main"),
    }


def fenced_calls(claim: Claim, clock: FakeClock) -> dict[str, Call]:
    """What a supervisor writes; each is refused by itself when the claim is not the latest."""
    return {
        "jobs.start_attempt": lambda repos: repos.jobs.start_attempt(claim, process="late", token_digest=b"late"),
        "jobs.mark_started": lambda repos: repos.jobs.mark_started(claim, at=clock.now(), setup_ms=77),
        "jobs.release": lambda repos: repos.jobs.release(claim),
        "jobs.finish": lambda repos: repos.jobs.finish(claim, outcome(clock)),
        "logs.append": lambda repos: repos.logs.append(
            claim, make_lines(clock, claim.job.log.lines + 1, ["late"]), Cursor(), omitted=1
        ),
    }


def saying_calls(claim: Claim) -> dict[str, Call]:
    """What the script of the claim's attempt says."""
    job_id, attempt = claim.job.id, claim.job.attempt
    return {
        "jobs.set_output": lambda repos: repos.jobs.set_output(job_id, attempt, "late"),
        "jobs.set_condition": lambda repos: repos.jobs.set_condition(job_id, attempt, condition=True),
        "jobs.set_progress": lambda repos: repos.jobs.set_progress(job_id, attempt, "late"),
        "variables.hold_attempt": lambda repos: repos.variables.hold_attempt(job_id, attempt),
    }


def other_writing_calls(claim: Claim, run: Run, event: Event, clock: FakeClock) -> dict[str, Call]:
    """Writes that name no claim."""
    now, free = clock.now(), dict.fromkeys(ExecutorKind, 10)
    token = Token(id="tok_call", name="x", scope=Scope.RUN, digest=b"call", created_at=now)
    return {
        "jobs.insert": lambda repos: repos.jobs.insert(make_job(clock)),
        "jobs.claim": lambda repos: repos.jobs.claim("one", "main", free, lease=LEASE),
        "jobs.adopt": lambda repos: repos.jobs.adopt("two", "main", lease=LEASE, alone=True),
        "jobs.renew": lambda repos: repos.jobs.renew("one", lease=LEASE),
        "jobs.request_cancel": lambda repos: repos.jobs.request_cancel(claim.job.id, at=now),
        "jobs.occupy": lambda repos: repos.jobs.occupy("key"),
        "jobs.admit": lambda repos: repos.jobs.admit(claim.job.id),
        "jobs.finish_queued": lambda repos: repos.jobs.finish_queued(claim.job.id, outcome(clock)),
        "artifacts.replace": lambda repos: repos.artifacts.replace(claim.job.id, [make_artifact(clock, claim.job.id)]),
        "artifacts.forget": lambda repos: repos.artifacts.forget(claim.job.id),
        "journal.append": lambda repos: repos.journal.append("s", EntryKind.QUEUED, at=now, by="me"),
        "variables.set": lambda repos: repos.variables.set("global", "k", 1, at=now),
        "variables.lock": lambda repos: repos.variables.lock("global", "k"),
        "variables.delete": lambda repos: repos.variables.delete("global", "k"),
        "variables.keep_answer": lambda repos: repos.variables.keep_answer(claim.job.id, 1, "new", b"d", {}),
        "variables.forget_answers": lambda repos: repos.variables.forget_answers(),
        "secrets.occupy_key": lambda repos: repos.secrets.occupy_key("k1"),
        "secrets.set_key": lambda repos: repos.secrets.set_key("k1"),
        "secrets.write": lambda repos: repos.secrets.write("global", "S", description=None, at=now),
        "secrets.keep": lambda repos: repos.secrets.keep(sealed("S", 1)),
        "secrets.delete": lambda repos: repos.secrets.delete("global", "not there"),
        "secrets.use": lambda repos: repos.secrets.use("global", "S", at=now),
        "secrets.grant": lambda repos: repos.secrets.grant(claim.job.id, 1, []),
        "secrets.prune": lambda repos: repos.secrets.prune(),
        "secrets.rewrap": lambda repos: repos.secrets.rewrap(sealed("S", 1)),
        "idempotency.remember": lambda repos: repos.idempotency.remember(
            IdempotencyKey(scope="s", key="k", digest=b"d"), "job_1", at=now, keep=timedelta(hours=1)
        ),
        "tokens.insert": lambda repos: repos.tokens.insert(token),
        "runs.insert": lambda repos: repos.runs.insert(make_run(clock)),
        "runs.set_status": lambda repos: repos.runs.set_status(run.id, RunStatus.RUNNING, at=now),
        "runs.finish": lambda repos: repos.runs.finish(run.id, RunStatus.FAILED, at=now, output={}, error="e"),
        "runs.request_cancel": lambda repos: repos.runs.request_cancel(run.id, at=now),
        "events.insert": lambda repos: repos.events.insert(make_event(clock)),
        "events.update": lambda repos: repos.events.update(event),
        "events.fire": lambda repos: repos.events.fire(event.id, now, JobId("job_1")),
        "instances.register": lambda repos: repos.instances.register(make_instance(clock)),
        "outbox.add": lambda repos: repos.outbox.add("k", "advance_run", queue="main", payload={}, at=now),
        "outbox.take": lambda repos: repos.outbox.take("main", at=now, lease=LEASE, limit=10),
        "outbox.delivered": lambda repos: repos.outbox.delivered(1, at=now),
        "outbox.retry": lambda repos: repos.outbox.retry(1, at=now, error="e"),
        "outbox.give_up": lambda repos: repos.outbox.give_up(1, at=now, error="e"),
    }


def writing_calls(claim: Claim, run: Run, event: Event, clock: FakeClock) -> dict[str, Call]:
    """Every method that writes, by `repository.method`."""
    return fenced_calls(claim, clock) | saying_calls(claim) | other_writing_calls(claim, run, event, clock)


def promised_methods(*, fenced: bool = False) -> set[str]:
    """The methods that the contract promises, as `repository.method`; with `fenced` those that it calls so."""
    repositories = {
        name: get_type_hints(member.fget)["return"]
        for name, member in vars(Repositories).items()
        if isinstance(member, property)
    }
    return {
        f"{repository}.{name}"
        for repository, protocol in repositories.items()
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
        if not fenced or (member.__doc__ or "").strip().startswith("Fenced")
    }
