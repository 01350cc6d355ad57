"""A caller's own name for a request, under which it is carried out once."""

from __future__ import annotations

import hashlib
import re

import orjson
from aiohttp import web

from orchestrator.api.access import CALLER
from orchestrator.api.payloads import parameter_fault
from orchestrator.contracts.store import IdempotencyKey
from orchestrator.model.json import Json

IDEMPOTENCY_KEY = "Idempotency-Key"
WELL_FORMED_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key(request: web.Request, meant: Json) -> IdempotencyKey | None:
    """The key a request carries, if any; `meant` is what the request asks for, by which another one is recognised."""
    text = request.headers.get(IDEMPOTENCY_KEY)
    if text is None:
        return None
    if not WELL_FORMED_KEY.fullmatch(text):
        raise parameter_fault(IDEMPOTENCY_KEY, "must be 1 to 255 printable ASCII characters without spaces")
    digest = hashlib.sha256(orjson.dumps(meant, option=orjson.OPT_SORT_KEYS)).digest()
    return IdempotencyKey(scope=request[CALLER].token_id, key=text, digest=digest)
