"""The OpenAPI document of the runtime API, made from the table of operations and the models that parse the bodies."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from runtime_api.asking import DEFAULT_PAGE, MAX_PAGE
from runtime_api.payloads import Problem
from runtime_api.routes import OPERATIONS, Operation
from runtime_api.schemas import ANSWERS

Part = dict[str, Any]

VERSION = "3"
# What every operation may answer besides success: its token is wrong, another's, used too often; or we are not well.
USUAL_REFUSALS = (400, 401, 403, 422, 429, 503)
BODY_REFUSALS = (408, 413, 415)
PHRASES = {
    400: "The request cannot be read.",
    401: "The token is missing, unknown or its attempt is over.",
    403: "The token belongs to another execution.",
    404: "There is no such variable.",
    408: "The body did not arrive in time.",
    409: "What is there does not allow it (`not_a_number`, `too_many_variables`, `idempotency_key_reused`, ...).",
    412: "The variable has another version: `current_version`, null where there is none.",
    413: "Too large: `too_large`.",
    415: "Bodies are application/json or text/plain.",
    422: "The request says something that is not possible; `code` and `detail` say what.",
    429: "Too many requests of this attempt: `rate_limited`, with Retry-After.",
    503: "The store does not answer: `store_unavailable`, with Retry-After.",
}
HEADERS_OF_REFUSALS: dict[int, Part] = {
    429: {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}},
    503: {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}},
}
PARAMETERS: dict[str, Part] = {
    "id": {
        "in": "path",
        "required": True,
        "description": "The execution id, or `current`.",
        "schema": {"type": "string", "minLength": 1, "enum": ["current"]},
    },
    "key": {
        "in": "path",
        "required": True,
        "description": "The variable's key, percent-encoded; 1 to 255 printable characters.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^/]+$"},
    },
    "scope": {
        "in": "query",
        "description": "Whose variable: everybody's, or those of the job's event.",
        "schema": {"enum": ["global", "event"]},
    },
    "prefix": {"in": "query", "description": "Only keys that begin with this.", "schema": {"type": "string"}},
    "cursor": {"in": "query", "description": "`next_cursor` of the page before.", "schema": {"type": "string"}},
    "limit": {
        "in": "query",
        "description": "How many at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
    },
    "If-Match": {
        "in": "header",
        "description": 'Write only if the variable has this version: `"3"`.',
        "schema": {"type": "string", "pattern": '^"[0-9]{1,18}"$'},
    },
    "If-None-Match": {
        "in": "header",
        "description": "Write only if there is no such variable.",
        "schema": {"enum": ["*"]},
    },
    "Idempotency-Key": {
        "in": "header",
        "description": "The caller's name for this write: repeated within the attempt, it has its effect once.",
        "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
    },
}
TEXT_BODY: Part = {"text/plain": {"schema": {"type": "string"}}}


def document() -> Part:
    """OpenAPI 3.1: every operation with what it reads, answers and refuses."""
    paths: dict[str, Part] = {
        "/health": {"get": _open("health", "Whether the runtime API answers.", {**_success("status"), **TEXT_BODY})},
        "/openapi.json": {
            "get": _open("openapi", "This document.", {"application/json": {"schema": {"type": "object"}}})
        },
    }
    for operation in OPERATIONS:
        paths.setdefault(_path(operation), {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cronium runtime API",
            "version": VERSION,
            "description": "What a running script may ask. The token is that of its attempt and ends with it.",
        },
        "servers": [{"url": "/", "description": "CRONIUM_RUNTIME_API: a Unix socket, or an address."}],
        "security": [{"attempt": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"attempt": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _schema(Problem), "JsonValue": {}},
        },
    }


def _open(name: str, summary: str, content: Part) -> Part:
    """An operation that needs no token."""
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {"200": {"description": summary, "content": content}},
    }


def _operation(operation: Operation) -> Part:
    takes_body = operation.body is not None or operation.any_body
    said: Part = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(name) for name in ("id", *_keys(operation), *operation.asks)],
        "responses": {
            "200": {
                "description": operation.summary,
                "content": {**_success(operation.answer), **TEXT_BODY},
                **({"headers": _etag()} if operation.answer in ("version", "sum") else {}),
            },
            **{str(status): _refusal(status) for status in _refusals(operation, takes_body=takes_body)},
        },
    }
    if takes_body:
        schema = {} if operation.body is None else _schema(operation.body)
        said["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": schema}, **TEXT_BODY},
        }
    return said


def _refusals(operation: Operation, *, takes_body: bool) -> list[int]:
    return sorted({*USUAL_REFUSALS, *operation.refusals, *(BODY_REFUSALS if takes_body else ())})


def _refusal(status: int) -> Part:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    headers = HEADERS_OF_REFUSALS.get(status)
    return {"description": PHRASES[status], "content": content, **({"headers": headers} if headers else {})}


def _success(answer: str) -> Part:
    schema = {
        "type": "object",
        "properties": {"success": {"const": True}, "data": ANSWERS[answer]},
        "required": ["success", "data"],
        "additionalProperties": False,
    }
    return {"application/json": {"schema": schema}}


def _etag() -> Part:
    return {"ETag": {"required": True, "schema": {"type": "string", "pattern": '^"[0-9]+"$'}}}


def _parameter(name: str) -> Part:
    return {"name": name, **PARAMETERS[name]}


def _keys(operation: Operation) -> tuple[str, ...]:
    return ("key",) if "{key" in operation.path else ()


def _path(operation: Operation) -> str:
    return operation.path.replace("{key:[^/]+}", "{key}")


def _schema(model: type[BaseModel]) -> Part:
    """The model's schema; what it defines beside itself, JsonValue, is among the components."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema
