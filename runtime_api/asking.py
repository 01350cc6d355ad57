"""What a request asks besides its body: scope, page, the terms of a write."""

from __future__ import annotations

import re
from typing import get_args

from aiohttp import hdrs, web

from runtime_api.backend import RefusalError, Scope, Terms

IDEMPOTENCY_KEY = "Idempotency-Key"
DEFAULT_PAGE = 50
MAX_PAGE = 200
WELL_FORMED_KEY = re.compile(r"[\x21-\x7e]{1,255}")
VERSION_TAG = re.compile(r'"([0-9]{1,18})"', re.ASCII)
DIGITS = re.compile(r"[0-9]{1,4}", re.ASCII)
SCOPES: tuple[Scope, ...] = get_args(Scope)


def asked_scope(request: web.Request) -> Scope | None:
    """`?scope=`; None without. Raises `RefusalError` 422 `invalid_parameter`."""
    text = request.query.get("scope")
    for scope in SCOPES:
        if text == scope:
            return scope
    if text is None:
        return None
    raise _wrong("scope", f"must be {' or '.join(SCOPES)}")


def asked_limit(request: web.Request) -> int:
    text = request.query.get("limit", str(DEFAULT_PAGE))
    if not DIGITS.fullmatch(text) or not 1 <= int(text) <= MAX_PAGE:
        raise _wrong("limit", f"must be a whole number from 1 to {MAX_PAGE}")
    return int(text)


def asked_text(request: web.Request, name: str) -> str | None:
    """A parameter that may be any text that UTF-8 can say."""
    text = request.query.get(name)
    if text is not None and any("\ud800" <= character <= "\udfff" for character in text):
        raise _wrong(name, "must be UTF-8, percent-encoded")
    return text


def asked_key(request: web.Request) -> str:
    key = request.match_info["key"]
    if any("\ud800" <= character <= "\udfff" for character in key):
        raise _wrong("key", "must be UTF-8, percent-encoded")
    return key


def asked_operation(request: web.Request) -> str | None:
    """`Idempotency-Key`. Raises `RefusalError` 422 `invalid_parameter`."""
    text = request.headers.get(IDEMPOTENCY_KEY)
    if text is not None and not WELL_FORMED_KEY.fullmatch(text):
        raise _wrong(IDEMPOTENCY_KEY, "must be 1 to 255 printable ASCII characters without spaces")
    return text


def asked_terms(request: web.Request) -> Terms:
    """`Idempotency-Key`, `If-Match: "<version>"`, `If-None-Match: *`. Raises `RefusalError` 422 `invalid_parameter`."""
    version, absent = request.headers.get(hdrs.IF_MATCH), request.headers.get(hdrs.IF_NONE_MATCH)
    if version is not None and absent is not None:
        raise _wrong(hdrs.IF_MATCH, "cannot be combined with If-None-Match")
    if absent is not None and absent.strip() != "*":
        raise _wrong(hdrs.IF_NONE_MATCH, "must be *: write only if there is no such variable")
    match = None if version is None else VERSION_TAG.fullmatch(version.strip())
    if version is not None and match is None:
        raise _wrong(hdrs.IF_MATCH, 'must be one version in quotes, such as "3", as ETag gave it')
    return Terms(
        operation=asked_operation(request),
        version=None if match is None else int(match[1]),
        only_new=absent is not None,
    )


def _wrong(name: str, message: str) -> RefusalError:
    return RefusalError(422, "invalid_parameter", f"{name} {message}.")
