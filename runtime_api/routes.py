"""The operations: for each its name, its method and path, and what it asks of the session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from runtime_api.backend import Json, RefusalError, Session
from runtime_api.payloads import (
    MAX_VALUE_BYTES,
    parse_condition,
    parse_condition_text,
    parse_output,
    parse_text,
    parse_variable,
)

BODY_TIMEOUT_SECONDS = 60

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing a script can ask for; what `run` returns is the `data` of the answer."""

    name: str
    method: str
    path: str
    run: Callable[[Session, web.Request], Awaitable[Json]]


async def get_input(session: Session, _: web.Request) -> Json:
    return await session.get_input()


async def set_output(session: Session, request: web.Request) -> Json:
    await session.set_output(await _body(request, as_json=parse_output, as_text=parse_text))
    return None


async def get_context(session: Session, _: web.Request) -> Json:
    return await session.get_context()


async def get_condition(session: Session, _: web.Request) -> Json:
    return await session.get_condition()


async def set_condition(session: Session, request: web.Request) -> Json:
    await session.set_condition(await _body(request, as_json=parse_condition, as_text=parse_condition_text))
    return None


async def get_variable(session: Session, request: web.Request) -> Json:
    return await session.get_variable(request.match_info["key"])


async def set_variable(session: Session, request: web.Request) -> Json:
    value = await _body(request, as_json=parse_variable, as_text=parse_text)
    return {"version": await session.set_variable(request.match_info["key"], value)}


# A key is one segment of the path and may hold anything else percent-encoded, slashes and braces too.
_VARIABLE = "/executions/{id}/variables/{key:[^/]+}"

OPERATIONS = (
    Operation(name="get_input", method="GET", path="/executions/{id}/input", run=get_input),
    Operation(name="set_output", method="POST", path="/executions/{id}/output", run=set_output),
    Operation(name="get_context", method="GET", path="/executions/{id}/context", run=get_context),
    Operation(name="get_condition", method="GET", path="/executions/{id}/condition", run=get_condition),
    Operation(name="set_condition", method="POST", path="/executions/{id}/condition", run=set_condition),
    Operation(name="get_variable", method="GET", path=_VARIABLE, run=get_variable),
    Operation(name="set_variable", method="PUT", path=_VARIABLE, run=set_variable),
)


async def _body(
    request: web.Request, *, as_json: Callable[[bytes], Parsed], as_text: Callable[[bytes], Parsed]
) -> Parsed:
    """Read and parse the body by its content type; one that says nothing is taken for JSON."""
    kind = request.content_type
    if kind == "text/plain":
        return as_text(await _read(request))
    if kind in {"application/json", "application/octet-stream"} or kind.endswith("+json"):
        return as_json(await _read(request))
    message = f"A body of type {kind} is not understood; send Content-Type: application/json or text/plain."
    raise RefusalError(415, "unsupported_media_type", message)


async def _read(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        message = (
            f"The request body is larger than {MAX_VALUE_BYTES} bytes (1 MiB). "
            "Write large data to a file or an object store and pass on where it is."
        )
        raise RefusalError(413, "too_large", message) from error
    except TimeoutError as error:
        message = f"The request body did not arrive within {BODY_TIMEOUT_SECONDS} s; send it again."
        raise RefusalError(408, "body_timeout", message) from error
    except (ConnectionError, web.RequestPayloadError) as error:
        message = "The request body broke off or is wrongly encoded; send it again."
        raise RefusalError(400, "body_incomplete", message) from error
