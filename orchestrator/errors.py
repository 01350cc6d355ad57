"""Every deliberate error, as one tree split by what the caller can do about it.

CroniumError
 +- NotFound         the thing named does not exist
 +- Conflict         it exists, but not in a state that allows this
 +- Invalid          the request is wrong; `faults` lists each place
 +- Denied           the caller may not do this
 +- LeaseLost        another supervisor owns the job now; stop writing
 +- Unavailable      something we depend on does not answer; try again later
 +- LimitExceeded    too large or too many
 +- StartFailed      an executor could not start a process; `reason` says which kind of failure

Doors map `code` to an HTTP status and an exit code once. A script that fails is a result, not an exception.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong in a document: where (a path such as `steps.extract.timeout`), on which line, and what."""

    path: str
    message: str
    line: int | None = None


class CroniumError(Exception):
    """Base of the tree. `code` is stable; the message names the thing and the fix."""

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class NotFoundError(CroniumError):
    code = "not_found"


class ConflictError(CroniumError):
    code = "conflict"


class InvalidError(CroniumError):
    """`source` names the file that the faults are in, where somebody knows it."""

    code = "invalid"

    def __init__(self, message: str, *, faults: tuple[Fault, ...] = (), code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.faults = faults
        self.source: str | None = None


class DeniedError(CroniumError):
    code = "denied"


class LeaseLostError(CroniumError):
    code = "lease_lost"


class UnavailableError(CroniumError):
    code = "unavailable"


class LimitExceededError(CroniumError):
    """`retry_after_seconds` says when it may work again, where waiting helps."""

    code = "limit_exceeded"

    def __init__(self, message: str, *, code: str | None = None, retry_after_seconds: int | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class StartFailedError(CroniumError):
    """`reason` is a value of `model.jobs.Reason` (kept as text so that this file imports nothing)."""

    code = "start_failed"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
