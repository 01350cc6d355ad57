"""All repositories, bound to one connection."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.stores.sql.connection import Connection, Dialect
from orchestrator.stores.sql.events import SqlEvents
from orchestrator.stores.sql.idempotency import SqlIdempotency
from orchestrator.stores.sql.instances import SqlInstances
from orchestrator.stores.sql.jobs import SqlJobs
from orchestrator.stores.sql.journal import SqlJournal
from orchestrator.stores.sql.logs import SqlLogs
from orchestrator.stores.sql.outbox import SqlOutbox
from orchestrator.stores.sql.runs import SqlRuns
from orchestrator.stores.sql.tokens import SqlTokens
from orchestrator.stores.sql.variables import SqlVariables


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlRepositories:
    """`Repositories` in SQL."""

    jobs: SqlJobs
    logs: SqlLogs
    journal: SqlJournal
    variables: SqlVariables
    tokens: SqlTokens
    runs: SqlRuns
    events: SqlEvents
    instances: SqlInstances
    outbox: SqlOutbox
    idempotency: SqlIdempotency


def bind(connection: Connection, dialect: Dialect) -> SqlRepositories:
    """Repositories that work through `connection`."""
    return SqlRepositories(
        jobs=SqlJobs(connection, dialect),
        logs=SqlLogs(connection),
        journal=SqlJournal(connection, dialect),
        variables=SqlVariables(connection),
        tokens=SqlTokens(connection),
        runs=SqlRuns(connection, dialect),
        events=SqlEvents(connection, dialect),
        instances=SqlInstances(connection, dialect),
        outbox=SqlOutbox(connection, dialect),
        idempotency=SqlIdempotency(connection),
    )
