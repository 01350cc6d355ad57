"""Errors as the outside sees them: problem details (RFC 9457), made here and nowhere else."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from orchestrator.api.payloads import encode, too_large
from orchestrator.errors import (
    ConflictError,
    CroniumError,
    DeniedError,
    Fault,
    InvalidError,
    LeaseLostError,
    LimitExceededError,
    NotFoundError,
    UnavailableError,
)

REQUEST_ID = web.RequestKey("request_id", str)
REQUEST_ID_HEADER = "X-Request-Id"
WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
RETRY_AFTER_SECONDS = 1

# By code where a code says more than its kind of error, else by kind.
STATUS_BY_CODE = {
    "token_missing": HTTPStatus.UNAUTHORIZED,
    "token_invalid": HTTPStatus.UNAUTHORIZED,
    "invalid_json": HTTPStatus.BAD_REQUEST,
    "body_timeout": HTTPStatus.REQUEST_TIMEOUT,
    "encoding_unsupported": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "upgrade_required": HTTPStatus.UPGRADE_REQUIRED,
}
STATUS_BY_KIND: Mapping[type[CroniumError], HTTPStatus] = {
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    InvalidError: HTTPStatus.UNPROCESSABLE_ENTITY,
    DeniedError: HTTPStatus.FORBIDDEN,
    LeaseLostError: HTTPStatus.CONFLICT,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    LimitExceededError: HTTPStatus.TOO_MANY_REQUESTS,
}

log = logging.getLogger(__name__)


@web.middleware
async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost layer: names the request and turns whatever goes wrong into a problem."""
    request[REQUEST_ID] = _request_id(request)
    try:
        return await handler(request)
    except CroniumError as error:
        return _of_error(request, error)
    except web.HTTPRequestEntityTooLarge:
        return _of_error(request, too_large())
    except web.HTTPException as refusal:
        return _of_refusal(request, refusal)
    except web.RequestPayloadError as error:
        return problem(request, HTTPStatus.BAD_REQUEST, "invalid_body", f"The request body cannot be read: {error}.")
    except Exception as error:
        if isinstance(error, ConnectionError) and request.transport is None:
            return unexpected(request)  # the client has gone: nobody reads this, and nothing is wrong
        log.exception("a request failed", extra={"request_id": request[REQUEST_ID], "route": _route(request)})
        return unexpected(request)


async def name_response(request: web.Request, response: web.StreamResponse) -> None:
    """Sent with every answer, streams and upgrades included."""
    response.headers[REQUEST_ID_HEADER] = request.get(REQUEST_ID) or _request_id(request)
    response.headers[hdrs.SERVER] = "cronium"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def problem(
    request: web.Request,
    status: int,
    code: str,
    detail: str,
    *,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    document = encode(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
            "errors": [{"path": fault.path, "message": fault.message} for fault in faults],
            "request_id": request[REQUEST_ID],
        }
    )
    return web.Response(body=document, status=status, headers=headers, content_type="application/problem+json")


def unexpected(request: web.Request) -> web.Response:
    detail = (
        f"Something went wrong that should not. The server's log says what, under request id {request[REQUEST_ID]}."
    )
    return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail)


def _of_error(request: web.Request, error: CroniumError) -> web.Response:
    status = _status(error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed", exc_info=error, extra={"request_id": request[REQUEST_ID]})
        return unexpected(request)
    faults = error.faults if isinstance(error, InvalidError) else ()
    return problem(request, status, error.code, error.message, faults=faults, headers=_headers(status, error))


def _status(error: CroniumError) -> HTTPStatus:
    if error.code in STATUS_BY_CODE:
        return STATUS_BY_CODE[error.code]
    for kind, status in STATUS_BY_KIND.items():
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def _headers(status: HTTPStatus, error: CroniumError) -> Mapping[str, str]:
    if status is HTTPStatus.UNAUTHORIZED:
        return {hdrs.WWW_AUTHENTICATE: 'Bearer realm="cronium"'}
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        wanted = error.retry_after_seconds if isinstance(error, LimitExceededError) else None
        return {hdrs.RETRY_AFTER: str(wanted or RETRY_AFTER_SECONDS)}
    if status is HTTPStatus.UPGRADE_REQUIRED:
        return {hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "Upgrade"}
    return {}


def _of_refusal(request: web.Request, refusal: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses, mostly routes that are not there."""
    if isinstance(refusal, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refusal.allowed_methods))
        detail = f"{request.method} is not possible here; use {allowed}."
        return problem(request, refusal.status, "method_not_allowed", detail, headers={"Allow": allowed})
    if refusal.status == HTTPStatus.NOT_FOUND:
        return problem(request, refusal.status, "not_found", f"There is nothing at {request.path}.")
    phrase = HTTPStatus(refusal.status).phrase
    return problem(request, refusal.status, phrase.lower().replace(" ", "_"), f"{refusal.reason or phrase}.")


def _request_id(request: web.Request) -> str:
    """The caller's name for the request where it is a sane one, else a new one."""
    given = request.headers.get(REQUEST_ID_HEADER, "")
    return given if WELL_FORMED_ID.fullmatch(given) else f"req_{secrets.token_hex(10)}"


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource is not None else '?'}"
