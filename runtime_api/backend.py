"""The Protocol that the runtime API needs of an engine. This package imports nothing else of Cronium."""

from __future__ import annotations

from typing import Protocol, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class RefusalError(Exception):
    """
    What a script asked for cannot be done: answered as a problem document, never as a 500.

    `status` is the HTTP status, `code` stable (`variable_not_found`, `attempt_over`, `too_large`, `key_reserved`, ...),
    the message a sentence that says what to do; `retry_after_seconds` becomes the header of that name.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds


class Session(Protocol):
    """What one attempt of one job may read and change. Every method may raise `RefusalError`."""

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

    async def get_variable(self, key: str) -> Json:
        """The variable's value; refused with 404 `variable_not_found` when there is none."""
        ...

    async def set_variable(self, key: str, value: Json) -> int:
        """Write the variable and return its new version."""
        ...


class Backend(Protocol):
    """What an engine offers to the runtime API."""

    async def authenticate(self, token: str) -> Session | None:
        """The session of the attempt that owns `token`; None when it is unknown or its attempt is over."""
        ...

    def called(self, operation: str, status: int, seconds: float) -> None:
        """Told after each request: the operation's name (bounded), the HTTP status and how long the answer took."""
        ...
