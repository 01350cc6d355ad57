"""Bodies and query parameters: JSON in, JSON out, every fault named."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import orjson
from aiohttp import hdrs, web

from orchestrator.errors import Fault, InvalidError, LimitExceededError, UnavailableError
from orchestrator.model.json import Json

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)

MAX_BODY_BYTES = 2 * 1024 * 1024
BODY_SECONDS = 30.0
MAX_INTEGER = 2**53  # what JSON numbers hold everywhere
DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)


def encode(document: Json) -> bytes:
    """As JSON. What orjson refuses and others do not (250 levels, numbers beyond 64 bits) is written the slow way."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        return json.dumps(document, separators=(",", ":")).encode()


def answer(document: Json, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=encode(document), status=status, headers=headers, content_type="application/json")


async def read_json(request: web.Request) -> Json:
    """The body. Raises `LimitExceededError` `too_large` and `InvalidError` `invalid_json`; the type sent is not asked."""
    body = await _read_body(request)
    if not body.strip():
        raise InvalidError("The request has no body; send a JSON document.", code="invalid_json")
    return _parse(body)


async def read_optional_json(request: web.Request, default: Json) -> Json:
    """As `read_json`, but for a request without a body."""
    body = await _read_body(request)
    return _parse(body) if body.strip() else default


def _parse(body: bytes) -> Json:
    try:
        document: Json = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        message = f"The request body is not JSON: {error}. NaN and Infinity are not JSON; send null or a string."
        raise InvalidError(message, code="invalid_json") from error
    return document


async def _read_body(request: web.Request) -> bytes:
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity")
    if encoding.lower() != "identity":
        message = f"Bodies in Content-Encoding {encoding} are not read here; send the document uncompressed."
        raise InvalidError(message, code="encoding_unsupported")
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        raise too_large()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError as error:
        message = f"The request body did not arrive within {BODY_SECONDS:.0f} s; send it again."
        raise UnavailableError(message, code="body_timeout") from error


def too_large() -> LimitExceededError:
    return LimitExceededError(
        f"The request body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB; "
        "keep large data in a file or a volume and pass its name.",
        code="too_large",
    )


def integer(request: web.Request, name: str, default: int, *, low: int = 0, high: int = MAX_INTEGER) -> int:
    """A whole number from the query. Raises `InvalidError` naming the parameter."""
    text = request.query.get(name)
    if text is None:
        return default
    if DIGITS.fullmatch(text) is None or not low <= int(text) <= high:
        raise parameter_fault(name, f"must be a whole number from {low} to {high}")
    return int(text)


def flag(request: web.Request, name: str) -> bool:
    """A yes or no from the query. Raises `InvalidError` naming the parameter."""
    text = request.query.get(name, "0")
    if text not in ("0", "1", "false", "true"):
        raise parameter_fault(name, "must be 1, 0, true or false")
    return text in ("1", "true")


def choice(request: web.Request, name: str, choices: type[ChoiceT]) -> ChoiceT | None:
    """One of `choices` from the query, None without. Raises `InvalidError` naming the parameter."""
    text = request.query.get(name)
    if text is None:
        return None
    if text not in tuple(choices):
        raise parameter_fault(name, f"must be one of {', '.join(choices)}")
    return choices(text)


def parameter_fault(name: str, message: str) -> InvalidError:
    return InvalidError(f"The query parameter {name} {message}.", faults=(Fault(path=name, message=message),))
