"""Replies of the server as the values that they stand for."""

from __future__ import annotations

from orchestrator.caches.documents import unpack
from orchestrator.caches.errors import unavailable
from orchestrator.caches.valkey.server import Reply
from orchestrator.errors import UnavailableError
from orchestrator.model.json import Json


def done(reply: Reply) -> bool:
    """Whether the server did it; None says that a condition of the command kept it from doing so."""
    if reply in (b"OK", None):
        return reply is not None
    raise _unexpected(reply)


def number(reply: Reply) -> int:
    if isinstance(reply, int):
        return reply
    raise _unexpected(reply)


def data(reply: Reply) -> bytes | None:
    if reply is None or isinstance(reply, bytes):
        return reply
    raise _unexpected(reply)


def items(reply: Reply, count: int | None = None) -> list[Reply]:
    """A list, of `count` items if that is given."""
    if isinstance(reply, list) and count in (None, len(reply)):
        return reply
    raise _unexpected(reply)


def value(reply: Reply, key: str) -> Json:
    """A document as its value, and nothing as None."""
    document = data(reply)
    return unpack(document, key) if document is not None else None


def values(reply: Reply, key: str) -> list[Json]:
    return [value(item, key) for item in items(reply)]


def documents(reply: Reply) -> dict[str, bytes]:
    """Fields and documents, which come one after the other."""
    flat = [data(item) or b"" for item in items(reply)]
    if len(flat) % 2:
        raise _unexpected(reply)
    return {field.decode(errors="replace"): document for field, document in zip(flat[::2], flat[1::2], strict=True)}


def cursor(reply: Reply) -> str | None:
    """Where iteration goes on; None at its end."""
    following = data(reply) or b""
    if not following.isdigit():
        raise _unexpected(reply)
    return following.decode() if following != b"0" else None


def _unexpected(reply: Reply) -> UnavailableError:
    return unavailable(f"The cache answered with {type(reply).__name__}, which does not fit: is it Valkey or Redis?")
