"""Who may do what: every route names the scope it needs, and what is not named public needs a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TypeAlias
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.api.context import CONTEXT, ApiContext
from orchestrator.api.limits import address_of
from orchestrator.api.tokens import PREFIX, digest_of
from orchestrator.errors import DeniedError
from orchestrator.model.json import Json
from orchestrator.model.tokens import Scope

CACHED_FOR = timedelta(seconds=5)  # how long a revoked token may still be taken
MAX_TOKEN_CHARS = 128
SUBPROTOCOL = "bearer."


class Open(Enum):
    """The mark of a route that needs no token."""

    PUBLIC = "public"


Access: TypeAlias = Scope | Open


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One line of the table. There is no default for `access`: whoever adds a route decides."""

    method: str
    path: str
    access: Access
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The owner of a token that was accepted."""

    token_id: str
    name: str
    scope: Scope

    @property
    def by(self) -> str:
        """How the journal names the caller."""
        return f"token:{self.name}"


CALLER = web.RequestKey("caller", Caller)


def guarding(routes: Mapping[web.AbstractRoute, Access]) -> Middleware:
    """
    Let a request through when its route allows the caller.

    The decision is taken on the route that was resolved, never on the text of the path, so there is no second reading
    of `//`, `..` or `%2e` to disagree with. What resolves to no route needs a token too: only then is it a 404.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        access = routes.get(request.match_info.route, Scope.READ)
        if is_upgrade(request):
            check_origin(request)
        if isinstance(access, Scope):
            request[CALLER] = caller = await _authenticate_within_limits(request)
            if not caller.scope.allows(access):
                raise DeniedError(
                    f"This needs a token of scope {access}; the token {caller.name!r} has scope {caller.scope}.",
                    code="scope_missing",
                )
        elif limits := request.app[CONTEXT].limits:
            await limits.spend_request(address_of(request))
        return await handler(request)

    return guard


def is_upgrade(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"


def check_origin(request: web.Request) -> None:
    """Browsers send Origin with a WebSocket and let any page open one: only our own pages and named ones may."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin in request.app[CONTEXT].allowed_origins:
        return
    if urlsplit(origin).netloc.lower() != request.host.lower():
        raise DeniedError("Pages of this origin may not open WebSockets here; add it to the allowed origins.")


def offered_subprotocols(request: web.Request) -> tuple[str, ...]:
    """The subprotocols that carry a token; a browser accepts the upgrade only if the one it offered is echoed."""
    offered = ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))
    return tuple(name for part in offered.split(",") if (name := part.strip()).startswith(SUBPROTOCOL))


async def _authenticate_within_limits(request: web.Request) -> Caller:
    """Guesses are counted by address; an address that guesses too often does not shut out those with a token."""
    limits = request.app[CONTEXT].limits
    try:
        caller = await _authenticate(request)
    except DeniedError as error:
        if limits is not None and error.code == "token_invalid":
            await limits.spend_failed_login(address_of(request))
        elif limits is not None:
            await limits.spend_request(address_of(request))
        raise
    if limits is not None:
        await limits.spend_request(caller.token_id)
    return caller


async def _authenticate(request: web.Request) -> Caller:
    token = _token_of(request)
    if not token.startswith(PREFIX) or len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise _invalid()
    context = request.app[CONTEXT]
    digest = digest_of(token)
    key = f"api-token:{digest.hex()}"
    caller = _from_cache(await context.cache.get(key))
    context.observer.cache_asked("tokens", hit=caller is not None)
    if caller is None:
        caller = await _from_store(context, digest)
        entry: Json = {"id": caller.token_id, "name": caller.name, "scope": caller.scope.value}
        await context.cache.set(key, entry, ttl=CACHED_FOR)
    return caller


def _token_of(request: web.Request) -> str:
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise _invalid()
        return token.strip()
    offered = offered_subprotocols(request) if is_upgrade(request) else ()
    if not offered:
        raise DeniedError("This needs a token: Authorization: Bearer crn_...", code="token_missing")
    return offered[0].removeprefix(SUBPROTOCOL)


async def _from_store(context: ApiContext, digest: bytes) -> Caller:
    async with context.store.read() as repos:
        token = await repos.tokens.by_digest(digest)
    if token is None or token.revoked_at is not None:
        raise _invalid()
    return Caller(token_id=token.id, name=token.name, scope=token.scope)


def _from_cache(value: Json) -> Caller | None:
    if not isinstance(value, dict):
        return None
    return Caller(token_id=str(value["id"]), name=str(value["name"]), scope=Scope(str(value["scope"])))


def _invalid() -> DeniedError:
    return DeniedError("The token is not known here or was revoked; get another one.", code="token_invalid")
