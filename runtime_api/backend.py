"""The Protocol that the runtime API needs of an engine. This package imports nothing else of Cronium."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Number: TypeAlias = "int | float"
Scope: TypeAlias = Literal["global", "event"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]


class RefusalError(Exception):
    """
    What a script asked for cannot be done: answered as a problem document, never as a 500.

    `status` is the HTTP status, `code` stable (`variable_not_found`, `attempt_over`, `too_large`, `key_reserved`, ...),
    the message a sentence that says what to do; `retry_after_seconds` becomes the header of that name, `more` goes
    into the document beside them.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after_seconds: int | None = None,
        more: Mapping[str, Json] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.more = dict(more or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable as a script sees it; `updated_at` is RFC 3339."""

    key: str
    value: Json
    version: int
    scope: Scope = "global"
    updated_at: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariablePage:
    """Some variables by key; `next_cursor` is None on the last page."""

    items: list[Variable] = field(default_factory=list)
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    On what terms a write is carried out.

    `operation` is the caller's name for it: repeated within the attempt, it has its effect once and is answered as the
    first time. `version`: only if the variable has this one; `only_new`: only if there is none. Otherwise the write is
    refused with 412 `version_mismatch` and `current_version`.
    """

    operation: str | None = None
    version: int | None = None
    only_new: bool = False


class Session(Protocol):
    """
    What one attempt of one job may read and change. Every method may raise `RefusalError`.

    `scope` of variables: None reads the event's own first, then the global one.
    """

    @property
    def execution_id(self) -> str:
        """The job id; requests that name another execution are refused with 403 `not_your_execution`."""
        ...

    async def get_input(self) -> Json:
        """The job's input; null when it has none."""
        ...

    async def set_output(self, value: Json) -> None:
        """Keep the job's output, replacing what was there."""
        ...

    async def get_context(self) -> dict[str, Json]:
        """What ran this: execution, job, attempt, event, run, step, trigger and times (see the OpenAPI document)."""
        ...

    async def get_condition(self) -> bool | None:
        """The job's condition; null when none was set."""
        ...

    async def set_condition(self, condition: bool) -> None:
        """Keep the job's condition."""
        ...

    async def get_variable(self, key: str, scope: Scope | None) -> Variable:
        """The variable; refused with 404 `variable_not_found` when there is none."""
        ...

    async def list_variables(self, scope: Scope, *, prefix: str, cursor: str | None, limit: int) -> VariablePage:
        """The variables of one scope whose key begins with `prefix`, by key."""
        ...

    async def set_variable(self, key: str, value: Json, scope: Scope, terms: Terms) -> int:
        """Write the variable and return its new version."""
        ...

    async def increment_variable(self, key: str, by: Number, scope: Scope, terms: Terms) -> tuple[Number, int]:
        """Add to a number, which starts at 0; the sum and the new version. Refused with 409 `not_a_number`."""
        ...

    async def delete_variable(self, key: str, scope: Scope, terms: Terms) -> None:
        """Remove the variable; refused with 404 `variable_not_found` when there is none."""
        ...

    async def set_progress(self, value: Json) -> None:
        """Show how far the script is. The last one counts; of many in a moment not every one is kept."""
        ...

    async def write_log(self, level: Level, message: str, data: Json, operation: str | None) -> int:
        """Add an entry to the job's log; the number of its line."""
        ...


class Backend(Protocol):
    """What an engine offers to the runtime API."""

    async def authenticate(self, token: str) -> Session | None:
        """
        The session of the attempt that owns `token`; None when it is unknown or its attempt is over.

        Raises `RefusalError` 429 when the attempt has made too many requests.
        """
        ...

    def called(self, operation: str, status: int, seconds: float) -> None:
        """Told after each request: the operation's name (bounded), the HTTP status and how long the answer took."""
        ...
