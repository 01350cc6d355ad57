"""The runtime API as a web application: who may call, how answers are written, what a refusal looks like."""

from __future__ import annotations

import logging
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from runtime_api.backend import Backend, Json, RefusalError, Session
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
    app.router.add_get("/health", _health, name="health")
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, _handler(operation, backend), name=operation.name)
    return app


async def _health(request: web.Request) -> web.Response:
    return _answer(request, {"status": "ok"})


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
    except Exception:  # a loop edge: the script gets an answer, the operator the traceback
        logger.exception("Runtime API: %s %s failed", request.method, request.path)
        return _refuse(RefusalError(500, "internal", "The engine failed to answer; its log says why. Try again."))


def _answer(request: web.Request, data: Json) -> web.Response:
    if _wants_text(request):
        return web.Response(body=as_text(data), content_type="text/plain", charset="utf-8")
    return web.Response(body=as_success(data), content_type="application/json")


def _wants_text(request: web.Request) -> bool:
    accepted = {part.partition(";")[0].strip().lower() for part in request.headers.get("Accept", "").split(",")}
    return "text/plain" in accepted and "application/json" not in accepted


def _refuse(refusal: RefusalError, headers: dict[str, str] | None = None) -> web.Response:
    headers = dict(headers or {})
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    body = as_problem(refusal.status, refusal.code, refusal.message)
    return web.Response(body=body, status=refusal.status, headers=headers, content_type="application/problem+json")
