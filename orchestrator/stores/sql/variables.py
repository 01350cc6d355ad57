"""Variables in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.json import Json
from orchestrator.model.variables import Variable
from orchestrator.stores.codec import from_json, micros, moment, pack_text, to_json
from orchestrator.stores.sql.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class SqlVariables:
    """`VariableRepository` in SQL."""

    connection: Connection

    async def get(self, scope: str, key: str) -> Variable | None:
        rows = await self.connection.rows(
            "SELECT value, version, updated_at FROM variables WHERE scope = $1 AND key = $2",
            pack_text(scope),
            pack_text(key),
        )
        return _variable(scope, key, rows[0]) if rows else None

    async def set(self, scope: str, key: str, value: Json, *, at: datetime) -> Variable:
        rows = await self.connection.rows(
            """INSERT INTO variables (scope, key, value, updated_at, version) VALUES ($1, $2, $3, $4, 1)
               ON CONFLICT (scope, key) DO UPDATE SET
                   value = excluded.value, updated_at = excluded.updated_at, version = variables.version + 1
               RETURNING value, version, updated_at""",
            pack_text(scope),
            pack_text(key),
            to_json(value),
            micros(at),
        )
        return _variable(scope, key, rows[0])


def _variable(scope: str, key: str, row: Row) -> Variable:
    value, version, updated_at = row
    return Variable(scope=scope, key=key, value=from_json(value), version=version, updated_at=moment(updated_at))
