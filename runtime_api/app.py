"""The runtime API as a web application: who may call, how answers are written, what a refusal looks like."""

from __future__ import annotations

import logging
import time
from functools import cache

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from runtime_api.backend import Backend, RefusalError, Session
from runtime_api.openapi import document
from runtime_api.operations import Reply
from runtime_api.payloads import MAX_BODY_BYTES, as_problem, as_success, as_text
from runtime_api.routes import OPERATIONS, Operation

logger = logging.getLogger(__name__)


def create_app(backend: Backend) -> web.Application:
    """
    The application, to be served on a socket of its own.

    Every answer is `{"success": true, "data": ...}`, or the bare value where the caller accepts `text/plain`; every
    refusal is a problem document; the backend is told of each request by the operation's name, or `unknown`.
    """
    app = web.Application(middlewares=[_answering(backend)], client_max_size=MAX_BODY_BYTES)
    app.router.add_route("GET", "/health", _health, name="health")
    app.router.add_route("GET", "/openapi.json", _openapi, name="openapi")
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, _handler(operation, backend), name=operation.name)
    return app


async def _health(request: web.Request) -> web.Response:
    return _answer(request, Reply(data={"status": "ok"}))


async def _openapi(_: web.Request) -> web.Response:
    return web.Response(body=_document(), content_type="application/json")


@cache
def _document() -> bytes:
    return orjson.dumps(document())


def _handler(operation: Operation, backend: Backend) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        session = await _session(request, backend)
        return _answer(request, await operation.run(session, request))

    return handle


async def _session(request: web.Request, backend: Backend) -> Session:
    """The session the request's token opens. Raises `RefusalError` 401, or 403 when it names another execution."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    session = await backend.authenticate(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
    if session is None:
        message = (
            "The execution token is missing or unknown, or its attempt is over; "
            "a running script finds its own in CRONIUM_EXECUTION_TOKEN."
        )
        raise RefusalError(401, "token_invalid", message)
    named = request.match_info["id"]
    if named not in {"current", session.execution_id}:
        message = f"The token belongs to another execution than {named}; name your own or `current`."
        raise RefusalError(403, "not_your_execution", message)
    return session


def _answering(backend: Backend) -> Middleware:
    @web.middleware
    async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        response = await _respond(request, handler)
        backend.called(request.match_info.route.name or "unknown", response.status, time.perf_counter() - began)
        return response

    return answering


async def _respond(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusalError as refusal:
        return _refuse(refusal)
    except web.HTTPNotFound:
        message = f"There is no {request.path}; GET /health answers here, and executions are under /executions/."
        return _refuse(RefusalError(404, "route_not_found", message))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path} does not take {request.method}; it takes {allowed}."
        return _refuse(RefusalError(405, "method_not_allowed", message), {"Allow": allowed})
    except web.HTTPException as error:  # what aiohttp itself refuses, such as an Expect that it does not know
        return _refuse(RefusalError(error.status, "bad_request", f"The request was refused: {error.reason}."))
    except Exception:  # a loop edge: the script gets an answer, the operator the traceback
        logger.exception("Runtime API: %s %s failed", request.method, request.path)
        return _refuse(RefusalError(500, "internal", "The engine failed to answer; its log says why. Try again."))


def _answer(request: web.Request, reply: Reply) -> web.Response:
    if _wants_text(request):
        body = as_text(reply.data if reply.text is None else reply.text)
        return web.Response(body=body, headers=reply.headers, content_type="text/plain", charset="utf-8")
    return web.Response(body=as_success(reply.data), headers=reply.headers, content_type="application/json")


def _wants_text(request: web.Request) -> bool:
    accepted = {part.partition(";")[0].strip().lower() for part in request.headers.get("Accept", "").split(",")}
    return "text/plain" in accepted and "application/json" not in accepted


def _refuse(refusal: RefusalError, headers: dict[str, str] | None = None) -> web.Response:
    headers = dict(headers or {})
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    if "current_version" in refusal.more and refusal.more["current_version"] is not None:
        headers[hdrs.ETAG] = f'"{refusal.more["current_version"]}"'
    body = as_problem(refusal.status, refusal.code, _sayable(refusal.message), refusal.more)
    return web.Response(body=body, status=refusal.status, headers=headers, content_type="application/problem+json")


def _sayable(text: str) -> str:
    """A path may hold bytes that are no UTF-8; a document may not."""
    return text.encode(errors="replace").decode()
