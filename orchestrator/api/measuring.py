"""What every request is counted by: method, template of the route, status, time."""

from __future__ import annotations

from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.api.context import ApiContext

UNMATCHED = "unmatched"


def measuring(context: ApiContext) -> Middleware:
    """The layer outside of the one that turns errors into answers: it sees the status that is sent."""

    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = perf_counter()
        response = await handler(request)
        context.observer.request_answered(request.method, _template(request), response.status, perf_counter() - began)
        return response

    return measure


def _template(request: web.Request) -> str:
    """The route as it was added, never the path that was asked for: of those there is no end."""
    resource = request.match_info.route.resource
    return UNMATCHED if resource is None else resource.canonical
