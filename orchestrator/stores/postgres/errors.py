"""What Postgres' and asyncpg's errors mean for a caller."""

from __future__ import annotations

import os

import asyncpg

from orchestrator.errors import ConflictError, CroniumError, InvalidError, LimitExceededError, UnavailableError

# Another transaction was in the way, or the statement took too long: the same again may work at once.
_BUSY = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    # A migration changed a table under a prepared statement; asyncpg prepares it anew.
    asyncpg.InvalidCachedStatementError,
)
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
    asyncpg.UndefinedObjectError,  # an option of the URL that the server does not know
    asyncpg.CantChangeRuntimeParamError,
)
_AWAY = (
    OSError,  # TimeoutError among them
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, crashed, starting
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.InternalClientError,  # what asyncpg makes of a server that says goodbye between two statements
)

# What asyncpg raises that is not a fault in the code that calls it.
OURS_TO_HANDLE = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    ValueError,
    OverflowError,
)


def translate(error: Exception, where: str) -> CroniumError:
    """The error of ours for one that asyncpg raised; `where` names the database, without a password."""
    if isinstance(error, _BUSY):
        return UnavailableError(f"Others kept what was needed in {where} for too long; try again.", code="store_busy")
    if isinstance(error, _REFUSED):
        return store_unavailable(
            f"{where} refuses us ({_first_line(error)}): check its URL, the account and the database."
        )
    if isinstance(error, TimeoutError):
        return store_unavailable(f"{where} does not answer in time: check that it runs and can be reached.")
    if isinstance(error, _AWAY) or is_lost(error):
        return store_unavailable(f"{where} cannot be used ({_first_line(error)}): check that it runs.")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return ConflictError(f"It exists already, or refers to what does not exist ({_first_line(error)}).")
    if isinstance(error, asyncpg.ProgramLimitExceededError):
        return LimitExceededError(f"A value is larger than the database takes ({_first_line(error)}).")
    if isinstance(error, asyncpg.DataError | ValueError | UnicodeError | OverflowError):
        return InvalidError("A value cannot be stored: it does not fit its column.")
    return CroniumError(f"A statement failed on {where}; this is a fault in Cronium ({error!r}).")


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, so that nobody said what became of the statement."""
    if isinstance(error, OSError | asyncpg.PostgresConnectionError | asyncpg.OperatorInterventionError):
        return not isinstance(error, asyncpg.QueryCanceledError)
    if isinstance(error, asyncpg.InternalClientError):
        return True
    # What asyncpg says of a connection or pool that is closed has no class of its own.
    return isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)


def is_refusal(error: BaseException | None) -> bool:
    """Whether the server answered and does not want us: waiting will not help."""
    return isinstance(error, _REFUSED)


def _first_line(error: Exception) -> str:
    """What was said; of Postgres' longer answers the first line."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def store_unavailable(message: str) -> UnavailableError:
    return UnavailableError(message, code="store_unavailable")
