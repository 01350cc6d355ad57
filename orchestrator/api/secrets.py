"""Secrets: set, list, show, delete, rotate their key. No answer, error or entry holds a value. `{id}` is a name."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from orchestrator.api.access import CALLER
from orchestrator.api.context import CONTEXT
from orchestrator.api.lists import page_limit
from orchestrator.api.payloads import answer, flag, read_json, read_optional_json
from orchestrator.errors import Fault, InvalidError, NotFoundError
from orchestrator.jobs.vault import Vault
from orchestrator.model.documents import time_text
from orchestrator.model.json import Json
from orchestrator.model.secrets import GLOBAL_SCOPE, Secret

SET_KEYS = {"name": True, "value": True, "description": False, "event": False}  # whether it must be there


async def set_secret(request: web.Request) -> web.Response:
    """201 and all about the secret but its value: `{"name", "value", "description"?, "event"?}`; 200 for a new value."""
    body = _body(await read_json(request), SET_KEYS)
    secret = await _vault(request).set(
        body["name"],
        body["value"],
        scope=await _scope(request, body.get("event")),
        description=body.get("description"),
        by=request[CALLER].by,
    )
    return answer(
        secret_document(secret),
        status=HTTPStatus.CREATED if secret.version == 1 else HTTPStatus.OK,
        headers={hdrs.LOCATION: f"/api/v3/secrets/{secret.name}"},
    )


async def list_secrets(request: web.Request) -> web.Response:
    """By scope and name, `?event=` (an id or a name) those of an event alone; paged by `?cursor=&limit=`."""
    _vault(request)
    event, limit = request.query.get("event"), page_limit(request)
    scope = None if event is None else await _scope(request, event)
    async with request.app[CONTEXT].store.read() as repos:
        page = await repos.secrets.page(scope, after=request.query.get("cursor"), limit=limit)
    items: list[Json] = [secret_document(secret) for secret in page.items]
    return answer({"items": items, "next_cursor": page.next_cursor})


async def show_secret(request: web.Request) -> web.Response:
    """All about a secret but its value; `?event=` for one of an event."""
    scope = await _scope(request, request.query.get("event"))
    return answer(secret_document(await _vault(request).get(request.match_info["id"], scope=scope)))


async def delete_secret(request: web.Request) -> web.Response:
    """What it was; `?event=` for one of an event. Attempts that run keep it."""
    scope = await _scope(request, request.query.get("event"))
    secret = await _vault(request).delete(request.match_info["id"], scope=scope, by=request[CALLER].by)
    return answer(secret_document(secret))


async def rotate_key(request: web.Request) -> web.Response:
    """Wrap all values by another master key: `{"key_id", "rewrapped"}`. With `?forget=1` the old ones are removed."""
    _body(await read_optional_json(request, {}), {})
    done = await _vault(request).rotate(forget=flag(request, "forget"), by=request[CALLER].by)
    return answer({"key_id": done.key_id, "rewrapped": done.rewrapped})


def secret_document(secret: Secret) -> dict[str, Json]:
    return {
        "name": secret.name,
        "event_id": None if secret.scope == GLOBAL_SCOPE else secret.scope,
        "description": secret.description,
        "version": secret.version,
        "created_at": time_text(secret.created_at),
        "updated_at": time_text(secret.updated_at),
        "last_used_at": None if secret.last_used_at is None else time_text(secret.last_used_at),
    }


def _vault(request: web.Request) -> Vault:
    vault = request.app[CONTEXT].vault
    if vault is None:
        raise NotFoundError("This server keeps no secrets.")
    return vault


async def _scope(request: web.Request, event: str | None) -> str:
    return GLOBAL_SCOPE if event is None else (await request.app[CONTEXT].registrar.find(event)).id


def _body(body: Json, keys: Mapping[str, bool]) -> dict[str, str]:
    """An object of texts. What is wrong is named by its key: what stands there may be the secret."""
    if not isinstance(body, dict):
        raise InvalidError(
            "The request body must be a JSON object.", faults=(Fault(path="", message="Must be an object."),)
        )
    faults = [Fault(path="", message="Holds a key that is not known here.")] if set(body) - set(keys) else []
    for key, needed in keys.items():
        if not isinstance(body.get(key), str) and (needed or body.get(key) is not None):
            faults.append(Fault(path=key, message="Must be text."))
    if faults:
        known = ", ".join(f"`{key}`" for key in keys) or "nothing"
        raise InvalidError(f"The request body is wrong; it takes {known}.", faults=tuple(faults))
    return {key: value for key, value in body.items() if isinstance(value, str)}
