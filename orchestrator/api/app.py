"""The application: routes, the layers around them, and what happens when it drains."""

from __future__ import annotations

from aiohttp import web

from orchestrator.api.access import Access, Route, guarding
from orchestrator.api.context import CONTEXT, ApiContext, Pulse, Readiness
from orchestrator.api.measuring import measuring
from orchestrator.api.payloads import MAX_BODY_BYTES
from orchestrator.api.problems import answering, name_response
from orchestrator.api.routes import all_routes

__all__ = ["ApiContext", "Pulse", "Readiness", "create_api"]


def create_api(context: ApiContext) -> web.Application:
    """The application behind the door for people, to be served by `open_api_server`."""
    access: dict[web.AbstractRoute, Access] = {}
    app = web.Application(middlewares=[measuring(context), answering, guarding(access)], client_max_size=MAX_BODY_BYTES)
    app[CONTEXT] = context
    for route in all_routes(metrics_public=context.metrics_public):
        for added in _add(app, route):
            access[added] = route.access
    app.on_response_prepare.append(name_response)
    app.on_shutdown.append(_drain)
    return app


def _add(app: web.Application, route: Route) -> list[web.AbstractRoute]:
    resource = app.router.add_resource(route.path)
    methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
    return [resource.add_route(method, route.handler) for method in methods]


async def _drain(app: web.Application) -> None:
    """End every watch: followers hang up and come back to whoever serves next."""
    app[CONTEXT].feed.drain()
