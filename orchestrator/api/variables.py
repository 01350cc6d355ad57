"""Variables: list, read, write, delete, and what names them. `?scope=` is `global` or `event:` and an event's id or name."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import hdrs, web

from orchestrator.api.access import CALLER, Route
from orchestrator.api.context import CONTEXT
from orchestrator.api.lists import page_limit
from orchestrator.api.payloads import answer, parameter_fault, read_json
from orchestrator.api.problems import problem
from orchestrator.contracts.store import Repositories
from orchestrator.errors import Fault, InvalidError
from orchestrator.jobs.variable_usage import find_usage
from orchestrator.jobs.variables import Condition, Mismatch, Writer, check_key, missing, remove, write
from orchestrator.model.documents import time_text
from orchestrator.model.json import Json
from orchestrator.model.tokens import Scope
from orchestrator.model.variables import EVENT_SCOPE, GLOBAL_SCOPE, Variable, event_scope

VERSION_TAG = re.compile(r'"([0-9]{1,18})"', re.ASCII)
BODY_KEYS = ("value", "description")

Changing: TypeAlias = Callable[[Repositories, str], Awaitable[Variable | Mismatch]]


async def list_variables(request: web.Request) -> web.Response:
    """By key, paged by `?cursor=&limit=`, with `?prefix=`; pages of large values are short."""
    limit, prefix = page_limit(request), _text(request, "prefix") or ""
    after, scope = _text(request, "cursor"), await _scope(request)
    async with request.app[CONTEXT].store.read() as repos:
        page = await repos.variables.page(scope, prefix=prefix, after=after, limit=limit)
    return answer({"items": [variable_document(one) for one in page.items], "next_cursor": page.next_cursor})


async def show_variable(request: web.Request) -> web.Response:
    key, scope = _key(request), await _scope(request)
    async with request.app[CONTEXT].store.read() as repos:
        found = await repos.variables.get(scope, key)
    if found is None:
        raise missing(key)
    return _shown(found)


async def write_variable(request: web.Request) -> web.Response:
    """
    The variable as it is then. The body is `{"value": ..., "description": "..."}`; without a description it is kept.

    `If-Match: "<version>"` and `If-None-Match: *` make it conditional: 412 with `current_version` in `ETag`.
    """
    key, condition = _key(request), _condition(request)
    value, description = _body(await read_json(request))

    async def change(repos: Repositories, scope: str) -> Variable | Mismatch:
        writer = Writer(by=request[CALLER].by, at=request.app[CONTEXT].clock.now())
        return await write(repos, scope, key, value, writer, description=description, condition=condition)

    done = await _changed(request, change)
    return _refused(request, key, done) if isinstance(done, Mismatch) else _shown(done)


async def delete_variable(request: web.Request) -> web.Response:
    """What it was; conditional as writing is."""
    key, condition = _key(request), _condition(request)

    async def change(repos: Repositories, scope: str) -> Variable | Mismatch:
        return await remove(repos, scope, key, condition=condition)

    done = await _changed(request, change)
    return _refused(request, key, done) if isinstance(done, Mismatch) else _shown(done)


async def show_usage(request: web.Request) -> web.Response:
    """The events whose definition holds the key as text: a plain search, which also finds what merely reads like it."""
    key = _key(request)
    events = await find_usage(request.app[CONTEXT].store, key)
    found: list[Json] = [
        {"event_id": one.id, "name": one.name, "status": one.status.value, "where": [*where]} for one, where in events
    ]
    return answer({"key": key, "events": found})


def variable_document(variable: Variable) -> dict[str, Json]:
    return {
        "scope": variable.scope,
        "key": variable.key,
        "value": variable.value,
        "version": variable.version,
        "description": variable.description,
        "updated_at": time_text(variable.updated_at),
        "updated_by": variable.updated_by,
    }


VARIABLE_ROUTES = (
    Route(method="GET", path="/api/v3/variables", access=Scope.READ, handler=list_variables),
    Route(method="GET", path="/api/v3/variables/{id:[^/]+}", access=Scope.READ, handler=show_variable),
    Route(method="PUT", path="/api/v3/variables/{id:[^/]+}", access=Scope.WRITE, handler=write_variable),
    Route(method="DELETE", path="/api/v3/variables/{id:[^/]+}", access=Scope.WRITE, handler=delete_variable),
    Route(method="GET", path="/api/v3/variables/{id:[^/]+}/usage", access=Scope.READ, handler=show_usage),
)


async def _changed(request: web.Request, change: Changing) -> Variable | Mismatch:
    scope = await _scope(request)
    async with request.app[CONTEXT].store.begin() as repos:
        return await change(repos, scope)


async def _scope(request: web.Request) -> str:
    """The scope that `?scope=` means. Raises `NotFoundError` for an event that is not there."""
    text = _text(request, "scope") or GLOBAL_SCOPE
    if text == GLOBAL_SCOPE:
        return GLOBAL_SCOPE
    kind, _, reference = text.partition(":")
    if kind != EVENT_SCOPE or not reference:
        raise parameter_fault("scope", "must be `global`, or `event:` with an event's id or name behind it")
    return event_scope((await request.app[CONTEXT].registrar.find(reference)).id)


def _key(request: web.Request) -> str:
    key = request.match_info["id"]
    check_key(key)
    return key


def _text(request: web.Request, name: str) -> str | None:
    text = request.query.get(name)
    if text is not None and any("\ud800" <= character <= "\udfff" for character in text):
        raise parameter_fault(name, "must be UTF-8, percent-encoded")
    return text


def _condition(request: web.Request) -> Condition | None:
    version, absent = request.headers.get(hdrs.IF_MATCH), request.headers.get(hdrs.IF_NONE_MATCH)
    if version is not None and absent is not None:
        raise parameter_fault(hdrs.IF_MATCH, "cannot be combined with If-None-Match")
    if absent is not None:
        if absent.strip() != "*":
            raise parameter_fault(hdrs.IF_NONE_MATCH, "must be *: write only if there is no such variable")
        return Condition(version=None)
    if version is None:
        return None
    match = VERSION_TAG.fullmatch(version.strip())
    if match is None:
        raise parameter_fault(hdrs.IF_MATCH, 'must be one version in quotes, such as "3", as ETag gave it')
    return Condition(version=int(match[1]))


def _body(body: Json) -> tuple[Json, str | None]:
    if not isinstance(body, dict) or "value" not in body:
        message = 'Must be a JSON object such as {"value": ..., "description": "..."}.'
        raise InvalidError(f"The request body is wrong: {message}", faults=(Fault(path="", message=message),))
    faults = [
        Fault(path=key, message="Is not known here: a variable has `value` and `description`.")
        for key in body
        if key not in BODY_KEYS
    ]
    description = body.get("description")
    if description is not None and not isinstance(description, str):
        faults.append(Fault(path="description", message="Must be a text."))
    if faults or not (description is None or isinstance(description, str)):
        raise InvalidError("The request body holds what a variable does not have.", faults=tuple(faults))
    return body["value"], description


def _shown(variable: Variable) -> web.Response:
    return answer(variable_document(variable), headers={hdrs.ETAG: f'"{variable.version}"'})


def _refused(request: web.Request, key: str, mismatch: Mismatch) -> web.Response:
    headers = {} if mismatch.version is None else {str(hdrs.ETAG): f'"{mismatch.version}"'}
    detail = mismatch.sentence(key)
    return problem(request, HTTPStatus.PRECONDITION_FAILED, "version_mismatch", detail, headers=headers)
