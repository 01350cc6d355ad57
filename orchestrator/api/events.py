"""Events: create, list, show, run, activate, pause, archive, and when they fire. `{id}` is an id or a name."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from itertools import islice

from aiohttp import hdrs, web

from orchestrator.api.access import CALLER
from orchestrator.api.context import CONTEXT
from orchestrator.api.idempotency import idempotency_key
from orchestrator.api.lists import page_limit, with_cursor_named
from orchestrator.api.payloads import answer, choice, integer, read_json, read_optional_json
from orchestrator.errors import Fault, InvalidError
from orchestrator.jobs.event_document import parse_event
from orchestrator.jobs.schedule import fire_times
from orchestrator.model.documents import entry_document, event_document, job_document, time_text
from orchestrator.model.events import Event, EventStatus
from orchestrator.model.json import Json

DEFAULT_FIRES = 10
MAX_FIRES = 100
MAX_ENTRIES = 1000
MOMENT = timedelta(microseconds=1)


async def create_event(request: web.Request) -> web.Response:
    """201 and the event; the body is what an event file says."""
    wish = parse_event(await read_json(request))
    event = await request.app[CONTEXT].registrar.create(wish, by=request[CALLER].by)
    return answer(
        event_document(event), status=HTTPStatus.CREATED, headers={hdrs.LOCATION: f"/api/v3/events/{event.id}"}
    )


async def list_events(request: web.Request) -> web.Response:
    """Newest first, without what they run; `?status=`, without it all but the archived ones; paged as jobs are."""
    status, limit = choice(request, "status", EventStatus), page_limit(request)
    with with_cursor_named():
        async with request.app[CONTEXT].store.read() as repos:
            page = await repos.events.page(status=status, after=request.query.get("cursor"), limit=limit)
    items: list[Json] = [event_document(event, whole=False) for event in page.items]
    return answer({"items": items, "next_cursor": page.next_cursor})


async def show_event(request: web.Request) -> web.Response:
    return answer(event_document(await _event(request)))


async def run_event(request: web.Request) -> web.Response:
    """202 and the job. The body, where there is one, is `{"input": ...}` and replaces the event's input."""
    event = await _event(request)
    body = _run_body(await read_optional_json(request, {}))
    job = await request.app[CONTEXT].registrar.run(
        event.id,
        by=request[CALLER].by,
        input=body.get("input"),
        given_input="input" in body,
        idempotency=idempotency_key(request, {"run": event.id, **body}),
    )
    return answer(job_document(job), status=HTTPStatus.ACCEPTED, headers={hdrs.LOCATION: f"/api/v3/jobs/{job.id}"})


def _run_body(body: Json) -> dict[str, Json]:
    if not isinstance(body, dict):
        message = 'Must be a JSON object such as {"input": ...}.'
        raise InvalidError(f"The request body is wrong: {message}", faults=(Fault(path="", message=message),))
    faults = tuple(
        Fault(path=key, message="Is not known here: a run takes only `input`.") for key in body if key != "input"
    )
    if faults:
        raise InvalidError("The request body holds what a run does not take; only `input` is.", faults=faults)
    return body


async def activate_event(request: web.Request) -> web.Response:
    event = await request.app[CONTEXT].registrar.activate(reference_of(request), by=request[CALLER].by)
    return answer(event_document(event))


async def pause_event(request: web.Request) -> web.Response:
    event = await request.app[CONTEXT].registrar.pause(reference_of(request), by=request[CALLER].by)
    return answer(event_document(event))


async def archive_event(request: web.Request) -> web.Response:
    """The event, which fires and is run no more; its name is free again."""
    event = await request.app[CONTEXT].registrar.archive(reference_of(request), by=request[CALLER].by)
    return answer(event_document(event))


async def show_fire_times(request: web.Request) -> web.Response:
    """
    The next `?count=` times the schedule fires for, no more than the event has executions left.

    Those of a paused event are the times it would fire for were it activated now; an archived one has none.
    """
    wanted = integer(request, "count", DEFAULT_FIRES, low=1, high=MAX_FIRES)
    event = await _event(request)
    times = [] if event.status is EventStatus.ARCHIVED else _times(event, wanted, request)
    return answer({"event_id": event.id, "status": event.status.value, "times": times})


def _times(event: Event, wanted: int, request: web.Request) -> list[Json]:
    if event.schedule is None:
        return []
    if event.max_executions is not None:
        wanted = min(wanted, max(0, event.max_executions - event.executions))
    anchor = after = request.app[CONTEXT].clock.now()
    if event.next_fire_at is not None:  # also one that is overdue and fires at any moment
        anchor, after = event.anchor, event.next_fire_at - MOMENT
    return [time_text(at) for at in islice(fire_times(event.schedule, anchor=anchor, after=after), wanted)]


async def show_event_journal(request: web.Request) -> web.Response:
    """Entries after `?after=`; `complete`: the event is archived and these were the last ones."""
    after = integer(request, "after", 0)
    limit = integer(request, "limit", MAX_ENTRIES, low=1, high=MAX_ENTRIES)
    event = await _event(request)
    async with request.app[CONTEXT].store.read() as repos:
        entries = await repos.journal.read(event.id, after=after, limit=limit)
    return answer(
        {
            "entries": [entry_document(entry) for entry in entries],
            "next_after": entries[-1].seq if entries else after,
            "complete": event.status is EventStatus.ARCHIVED and len(entries) < limit,
        }
    )


async def _event(request: web.Request) -> Event:
    return await request.app[CONTEXT].registrar.find(reference_of(request))


def reference_of(request: web.Request) -> str:
    return request.match_info["id"]
