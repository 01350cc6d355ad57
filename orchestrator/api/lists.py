"""Lists that are answered page by page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from orchestrator.api.payloads import integer
from orchestrator.errors import Fault, InvalidError

DEFAULT_PAGE = 50
MAX_PAGE = 200


def page_limit(request: web.Request) -> int:
    return integer(request, "limit", DEFAULT_PAGE, low=1, high=MAX_PAGE)


@contextmanager
def with_cursor_named() -> Iterator[None]:
    """What the store finds wrong with a page is its cursor: say so."""
    try:
        yield
    except InvalidError as error:
        fault = Fault(path="cursor", message="must be the next_cursor of an earlier page, unchanged")
        raise InvalidError(error.message, faults=error.faults or (fault,)) from error
