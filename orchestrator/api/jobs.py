"""Jobs: submit, list, show, cancel."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus

import orjson
from aiohttp import hdrs, web

from orchestrator.api.access import CALLER, Caller
from orchestrator.api.context import CONTEXT
from orchestrator.api.payloads import answer, integer, parameter_fault, read_json
from orchestrator.contracts.store import IdempotencyKey, JobFilter
from orchestrator.errors import Fault, InvalidError
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.jobs.submit import Submission
from orchestrator.model.documents import job_document
from orchestrator.model.jobs import JobId, JobStatus, TriggerKind
from orchestrator.model.json import Json

DEFAULT_PAGE = 50
MAX_PAGE = 200
IDEMPOTENCY_KEY = "Idempotency-Key"
WELL_FORMED_KEY = re.compile(r"[\x21-\x7e]{1,255}")


async def submit_job(request: web.Request) -> web.Response:
    """202 and the job; the body is a job specification. With an `Idempotency-Key`, the same again gives the same job."""
    context, caller = request.app[CONTEXT], request[CALLER]
    document = await read_json(request)
    submission = Submission(
        spec=parse_job_spec(document),
        trigger=TriggerKind.API,
        by=caller.by,
        idempotency=_idempotency_key(request, caller, document),
    )
    job = await context.submitter.submit(submission)
    location = f"/api/v3/jobs/{job.id}"
    return answer(job_document(job), status=HTTPStatus.ACCEPTED, headers={hdrs.LOCATION: location})


async def list_jobs(request: web.Request) -> web.Response:
    """Newest first, `?status=`, `?dead=true`, paged by `?cursor=&limit=`."""
    which = JobFilter(status=_status(request), dead=_flag(request, "dead"))
    limit = integer(request, "limit", DEFAULT_PAGE, low=1, high=MAX_PAGE)
    try:
        async with request.app[CONTEXT].store.read() as repos:
            page = await repos.jobs.page(which, after=request.query.get("cursor"), limit=limit)
    except InvalidError as error:
        fault = Fault(path="cursor", message="must be the next_cursor of an earlier page, unchanged")
        raise InvalidError(error.message, faults=error.faults or (fault,)) from error
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


def _idempotency_key(request: web.Request, caller: Caller, document: Json) -> IdempotencyKey | None:
    text = request.headers.get(IDEMPOTENCY_KEY)
    if text is None:
        return None
    if not WELL_FORMED_KEY.fullmatch(text):
        raise parameter_fault(IDEMPOTENCY_KEY, "must be 1 to 255 printable ASCII characters without spaces")
    digest = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()
    return IdempotencyKey(scope=caller.token_id, key=text, digest=digest)


def job_id_of(request: web.Request) -> JobId:
    return JobId(request.match_info["id"])


def _status(request: web.Request) -> JobStatus | None:
    text = request.query.get("status")
    if text is None:
        return None
    if text not in tuple(JobStatus):
        raise parameter_fault("status", f"must be one of {', '.join(JobStatus)}")
    return JobStatus(text)
