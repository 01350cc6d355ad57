"""The refusals that all caches share."""

from __future__ import annotations

from orchestrator.errors import ConflictError, InvalidError, LimitExceededError, UnavailableError


def wrong_kind(key: str) -> ConflictError:
    return ConflictError(
        f"What the cache keeps at {key!r} is of another kind than this needs: use another key, or delete it first.",
        code="cache_type",
    )


def overflow(key: str) -> LimitExceededError:
    return LimitExceededError(f"The number at {key!r} in the cache would become too large.", code="cache_overflow")


def too_large(key: str, size: int, max_items: int) -> LimitExceededError:
    return LimitExceededError(
        f"{key!r} would have {size} items, more than the whole cache may keep ({max_items}): keep less in one place.",
        code="cache_full",
    )


def unavailable(message: str) -> UnavailableError:
    return UnavailableError(message, code="cache_unavailable")


def invalid_cursor(cursor: str) -> InvalidError:
    return InvalidError(f"{cursor!r} is not a cursor that a page of keys gave.")
