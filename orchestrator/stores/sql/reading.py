"""What a connection that only reads refuses."""

from __future__ import annotations

from orchestrator.errors import InvalidError


def require_query(sql: str) -> None:
    """Raises `InvalidError` (`read_only`) unless the statement is a query."""
    if not sql.lstrip().startswith("SELECT"):
        raise read_only(sql)


def read_only(sql: str) -> InvalidError:
    return InvalidError(f"Writing needs Store.begin, not Store.read: {sql.split(maxsplit=1)[0]}.", code="read_only")
