"""All repositories, bound to one connection."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.stores.sql.artifacts import SqlArtifacts
from orchestrator.stores.sql.connection import Connection, Dialect
from orchestrator.stores.sql.events import SqlEvents
from orchestrator.stores.sql.idempotency import SqlIdempotency
from orchestrator.stores.sql.instances import SqlInstances
from orchestrator.stores.sql.jobs import SqlJobs
from orchestrator.stores.sql.journal import SqlJournal
from orchestrator.stores.sql.logs import SqlLogs
from orchestrator.stores.sql.outbox import SqlOutbox
from orchestrator.stores.sql.runs import SqlRuns
from orchestrator.stores.sql.secrets import SqlSecrets
from orchestrator.stores.sql.tokens import SqlTokens
from orchestrator.stores.sql.variables import SqlVariables


@dataclass(frozen=True, slots=True)
class SqlRepositories:
    """`Repositories` in SQL. Each is made when it is asked for: a transaction uses two or three of them."""

    connection: Connection
    dialect: Dialect

    @property
    def jobs(self) -> SqlJobs:
        return SqlJobs(self.connection, self.dialect)

    @property
    def logs(self) -> SqlLogs:
        return SqlLogs(self.connection)

    @property
    def artifacts(self) -> SqlArtifacts:
        return SqlArtifacts(self.connection)

    @property
    def journal(self) -> SqlJournal:
        return SqlJournal(self.connection, self.dialect)

    @property
    def variables(self) -> SqlVariables:
        return SqlVariables(self.connection)

    @property
    def secrets(self) -> SqlSecrets:
        return SqlSecrets(self.connection, self.dialect)

    @property
    def tokens(self) -> SqlTokens:
        return SqlTokens(self.connection)

    @property
    def runs(self) -> SqlRuns:
        return SqlRuns(self.connection, self.dialect)

    @property
    def events(self) -> SqlEvents:
        return SqlEvents(self.connection, self.dialect)

    @property
    def instances(self) -> SqlInstances:
        return SqlInstances(self.connection, self.dialect)

    @property
    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self.connection, self.dialect)

    @property
    def idempotency(self) -> SqlIdempotency:
        return SqlIdempotency(self.connection)


def bind(connection: Connection, dialect: Dialect) -> SqlRepositories:
    """Repositories that work through `connection`."""
    return SqlRepositories(connection, dialect)
