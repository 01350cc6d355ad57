"""Jobs: submit, list, show, cancel."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import hdrs, web

from orchestrator.api.access import CALLER
from orchestrator.api.context import CONTEXT
from orchestrator.api.idempotency import idempotency_key
from orchestrator.api.lists import page_limit, with_cursor_named
from orchestrator.api.payloads import answer, choice, parameter_fault, read_json
from orchestrator.contracts.store import JobFilter
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.jobs.submit import Submission
from orchestrator.model.documents import job_document
from orchestrator.model.jobs import JobId, JobStatus, TriggerKind


async def submit_job(request: web.Request) -> web.Response:
    """202 and the job; the body is a job specification. With an `Idempotency-Key`, the same again gives the same job."""
    context, caller = request.app[CONTEXT], request[CALLER]
    document = await read_json(request)
    submission = Submission(
        spec=parse_job_spec(document),
        trigger=TriggerKind.API,
        by=caller.by,
        idempotency=idempotency_key(request, document),
    )
    job = await context.submitter.submit(submission)
    location = f"/api/v3/jobs/{job.id}"
    return answer(job_document(job), status=HTTPStatus.ACCEPTED, headers={hdrs.LOCATION: location})


async def list_jobs(request: web.Request) -> web.Response:
    """Newest first, `?status=`, `?dead=true`, `?event_id=` (an id or a name), paged by `?cursor=&limit=`."""
    context, event = request.app[CONTEXT], request.query.get("event_id")
    status, dead, limit = choice(request, "status", JobStatus), _flag(request, "dead"), page_limit(request)
    event_id = None if event is None else (await context.registrar.find(event)).id
    which = JobFilter(status=status, dead=dead, event_id=event_id)
    with with_cursor_named():
        async with context.store.read() as repos:
            page = await repos.jobs.page(which, after=request.query.get("cursor"), limit=limit)
    return answer({"items": [job_document(job) for job in page.items], "next_cursor": page.next_cursor})


async def show_job(request: web.Request) -> web.Response:
    async with request.app[CONTEXT].store.read() as repos:
        job = await repos.jobs.get(job_id_of(request))
    return answer(job_document(job))


async def cancel_job(request: web.Request) -> web.Response:
    """202 and the job as it now is: a running one ends a little later, a final one is unchanged."""
    job = await request.app[CONTEXT].canceller.cancel(job_id_of(request), by=request[CALLER].by)
    return answer(job_document(job), status=HTTPStatus.ACCEPTED)


async def retry_job(request: web.Request) -> web.Response:
    """202 and the job that runs instead of one that has failed for good; the same one when asked again."""
    job = await request.app[CONTEXT].requeuer.requeue(job_id_of(request), by=request[CALLER].by)
    location = f"/api/v3/jobs/{job.id}"
    return answer(job_document(job), status=HTTPStatus.ACCEPTED, headers={hdrs.LOCATION: location})


def _flag(request: web.Request, name: str) -> bool:
    text = request.query.get(name, "false")
    if text not in ("true", "false"):
        raise parameter_fault(name, "must be true or false")
    return text == "true"


def job_id_of(request: web.Request) -> JobId:
    return JobId(request.match_info["id"])
