"""The operations: what each asks of the session, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import hdrs, web

from runtime_api.asking import asked_key, asked_limit, asked_operation, asked_scope, asked_terms, asked_text
from runtime_api.backend import Json, RefusalError, Session, Variable
from runtime_api.payloads import (
    MAX_VALUE_BYTES,
    parse_condition,
    parse_condition_text,
    parse_increment,
    parse_increment_text,
    parse_log,
    parse_log_text,
    parse_output,
    parse_progress,
    parse_progress_text,
    parse_text,
    parse_variable,
)

BODY_TIMEOUT_SECONDS = 60

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The `data` of an answer; `text`: what programs without a JSON parser get instead of it."""

    data: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None


async def get_input(session: Session, _: web.Request) -> Reply:
    return Reply(data=await session.get_input())


async def set_output(session: Session, request: web.Request) -> Reply:
    await session.set_output(await _body(request, as_json=parse_output, as_text=parse_text))
    return Reply()


async def get_context(session: Session, _: web.Request) -> Reply:
    return Reply(data=await session.get_context())


async def get_condition(session: Session, _: web.Request) -> Reply:
    return Reply(data=await session.get_condition())


async def set_condition(session: Session, request: web.Request) -> Reply:
    await session.set_condition(await _body(request, as_json=parse_condition, as_text=parse_condition_text))
    return Reply()


async def get_variable(session: Session, request: web.Request) -> Reply:
    found = await session.get_variable(asked_key(request), asked_scope(request))
    return Reply(data=found.value, headers=_tag(found.version))


async def list_variables(session: Session, request: web.Request) -> Reply:
    page = await session.list_variables(
        asked_scope(request) or "global",
        prefix=asked_text(request, "prefix") or "",
        cursor=asked_text(request, "cursor"),
        limit=asked_limit(request),
    )
    items: list[Json] = [_document(item) for item in page.items]
    keys = "".join(f"{item.key}\n" for item in page.items)
    return Reply(data={"items": items, "next_cursor": page.next_cursor}, text=keys)


async def set_variable(session: Session, request: web.Request) -> Reply:
    key, scope, terms = asked_key(request), asked_scope(request) or "global", asked_terms(request)
    value = await _body(request, as_json=parse_variable, as_text=parse_text)
    version = await session.set_variable(key, value, scope, terms)
    return Reply(data={"version": version}, headers=_tag(version))


async def increment_variable(session: Session, request: web.Request) -> Reply:
    key, scope, terms = asked_key(request), asked_scope(request) or "global", asked_terms(request)
    by = await _body(request, as_json=parse_increment, as_text=parse_increment_text)
    value, version = await session.increment_variable(key, by, scope, terms)
    return Reply(data={"value": value, "version": version}, headers=_tag(version), text=str(value))


async def delete_variable(session: Session, request: web.Request) -> Reply:
    await session.delete_variable(asked_key(request), asked_scope(request) or "global", asked_terms(request))
    return Reply()


async def set_progress(session: Session, request: web.Request) -> Reply:
    await session.set_progress(await _body(request, as_json=parse_progress, as_text=parse_progress_text))
    return Reply()


async def write_log(session: Session, request: web.Request) -> Reply:
    operation = asked_operation(request)
    entry = await _body(request, as_json=parse_log, as_text=parse_log_text)
    seq = await session.write_log(entry.level, entry.message, entry.data, operation)
    return Reply(data={"seq": seq}, text=str(seq))


def _document(variable: Variable) -> dict[str, Json]:
    return {
        "key": variable.key,
        "value": variable.value,
        "version": variable.version,
        "scope": variable.scope,
        "updated_at": variable.updated_at,
        "description": variable.description,
    }


def _tag(version: int) -> dict[str, str]:
    return {hdrs.ETAG: f'"{version}"'}


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
            "Write large data to a file in $CRONIUM_ARTIFACTS or an object store and pass on where it is."
        )
        raise RefusalError(413, "too_large", message) from error
    except TimeoutError as error:
        message = f"The request body did not arrive within {BODY_TIMEOUT_SECONDS} s; send it again."
        raise RefusalError(408, "body_timeout", message) from error
    except (ConnectionError, web.RequestPayloadError) as error:
        message = "The request body broke off or is wrongly encoded; send it again."
        raise RefusalError(400, "body_incomplete", message) from error
