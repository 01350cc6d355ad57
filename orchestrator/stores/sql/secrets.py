"""Secrets, their sealed values, and who was given which, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.contracts.store import Page
from orchestrator.model.jobs import JobId
from orchestrator.model.secrets import Grant, SealedValue, Secret
from orchestrator.stores.codec import (
    micros,
    moment,
    moment_or_none,
    pack_or_none,
    pack_text,
    unpack_or_none,
    unpack_text,
)
from orchestrator.stores.sql.connection import Connection, Dialect, Row

_COLUMNS = "scope, name, description, version, created_at, updated_at, last_used_at"
_VALUE = "secret_values.scope, secret_values.name, secret_values.version, key_id, wrapped, sealed"
_SEPARATOR = "/"


@dataclass(frozen=True, slots=True)
class SqlSecrets:
    """`SecretRepository` in SQL."""

    connection: Connection
    dialect: Dialect

    async def occupy_key(self, proposed: str) -> str:
        await self.connection.change(
            "INSERT INTO secret_key (one, key_id) VALUES (1, $1) ON CONFLICT (one) DO NOTHING", proposed
        )
        rows = await self.connection.rows(f"SELECT key_id FROM secret_key WHERE one = 1 {self.dialect.for_update}")
        key_id: str = rows[0][0]
        if key_id != proposed and not await self.connection.rows("SELECT 1 FROM secret_values LIMIT 1"):
            await self.set_key(proposed)
            return proposed
        return key_id

    async def set_key(self, key_id: str) -> None:
        await self.connection.change("UPDATE secret_key SET key_id = $1 WHERE one = 1", key_id)

    async def key_ids(self) -> frozenset[str]:
        return frozenset(row[0] for row in await self.connection.rows("SELECT DISTINCT key_id FROM secret_values"))

    async def write(self, scope: str, name: str, *, description: str | None, at: datetime) -> Secret:
        rows = await self.connection.rows(
            f"""INSERT INTO secrets (scope, name, description, created_at, updated_at, version) VALUES ($1, $2, $3, $4, $4,
                    (SELECT COALESCE(MAX(version), 0) + 1 FROM secret_values WHERE scope = $1 AND name = $2))
                ON CONFLICT (scope, name) DO UPDATE SET
                    description = COALESCE(excluded.description, secrets.description),
                    updated_at = excluded.updated_at, version = secrets.version + 1
                RETURNING {_COLUMNS}""",
            pack_text(scope),
            pack_text(name),
            pack_or_none(description),
            micros(at),
        )
        return _secret(rows[0])

    async def keep(self, value: SealedValue) -> None:
        await self.connection.change(
            """INSERT INTO secret_values (scope, name, version, key_id, wrapped, sealed)
               VALUES ($1, $2, $3, $4, $5, $6)""",
            pack_text(value.scope),
            pack_text(value.name),
            value.version,
            value.key_id,
            value.wrapped,
            value.sealed,
        )

    async def get(self, scope: str, name: str) -> Secret | None:
        rows = await self.connection.rows(
            f"SELECT {_COLUMNS} FROM secrets WHERE scope = $1 AND name = $2", pack_text(scope), pack_text(name)
        )
        return _secret(rows[0]) if rows else None

    async def page(self, scope: str | None, *, after: str | None, limit: int) -> Page[Secret]:
        behind, _, name = (after or "").partition(_SEPARATOR)
        rows = await self.connection.rows(
            f"""SELECT {_COLUMNS} FROM secrets WHERE (scope > $1 OR (scope = $1 AND name > $2)) AND ($3 = '' OR scope = $3)
                ORDER BY scope, name LIMIT $4""",
            pack_text(behind),
            pack_text(name),
            pack_text(scope or ""),
            limit + 1,
        )
        items = [_secret(row) for row in rows[:limit]]
        last = f"{items[-1].scope}{_SEPARATOR}{items[-1].name}" if len(rows) > limit else None
        return Page(items=items, next_cursor=last)

    async def delete(self, scope: str, name: str) -> bool:
        gone = await self.connection.change(
            "DELETE FROM secrets WHERE scope = $1 AND name = $2", pack_text(scope), pack_text(name)
        )
        return bool(gone)

    async def use(self, scope: str, name: str, *, at: datetime) -> Secret | None:
        rows = await self.connection.rows(
            f"UPDATE secrets SET last_used_at = $1 WHERE scope = $2 AND name = $3 RETURNING {_COLUMNS}",
            micros(at),
            pack_text(scope),
            pack_text(name),
        )
        return _secret(rows[0]) if rows else None

    async def grant(self, job_id: JobId, attempt: int, grants: Sequence[Grant]) -> None:
        await self.connection.change(
            "DELETE FROM secret_grants WHERE job_id = $1 AND attempt = $2", pack_text(job_id), attempt
        )
        for grant in grants:
            await self.connection.later(
                """INSERT INTO secret_grants (job_id, attempt, variable, scope, name, version)
                   VALUES ($1, $2, $3, $4, $5, $6)""",
                pack_text(job_id),
                attempt,
                pack_text(grant.variable),
                pack_text(grant.scope),
                pack_text(grant.name),
                grant.version,
            )

    async def granted(self, job_id: JobId, attempt: int) -> list[tuple[str, SealedValue]]:
        rows = await self.connection.rows(
            f"""SELECT variable, {_VALUE} FROM secret_grants JOIN secret_values
                    ON secret_values.scope = secret_grants.scope AND secret_values.name = secret_grants.name
                        AND secret_values.version = secret_grants.version
                WHERE job_id = $1 AND attempt = $2 ORDER BY variable""",
            pack_text(job_id),
            attempt,
        )
        return [(unpack_text(row[0]), _value(row[1:])) for row in rows]

    async def prune(self) -> None:
        await self.connection.change(
            """DELETE FROM secret_grants WHERE NOT EXISTS (
                   SELECT 1 FROM jobs WHERE jobs.id = secret_grants.job_id AND jobs.status = 'running'
                       AND jobs.attempt = secret_grants.attempt)"""
        )
        await self.connection.change(
            """DELETE FROM secret_values WHERE NOT EXISTS (
                   SELECT 1 FROM secrets WHERE secrets.scope = secret_values.scope
                       AND secrets.name = secret_values.name AND secrets.version = secret_values.version)
               AND NOT EXISTS (
                   SELECT 1 FROM secret_grants WHERE secret_grants.scope = secret_values.scope
                       AND secret_grants.name = secret_values.name
                       AND secret_grants.version = secret_values.version)"""
        )

    async def under_other_keys(self, key_id: str, *, limit: int) -> list[SealedValue]:
        rows = await self.connection.rows(
            f"""SELECT {_VALUE} FROM secret_values WHERE key_id <> $1
                ORDER BY scope, name, version LIMIT $2 {self.dialect.for_update}""",
            key_id,
            limit,
        )
        return [_value(row) for row in rows]

    async def rewrap(self, value: SealedValue) -> None:
        await self.connection.change(
            "UPDATE secret_values SET key_id = $1, wrapped = $2 WHERE scope = $3 AND name = $4 AND version = $5",
            value.key_id,
            value.wrapped,
            pack_text(value.scope),
            pack_text(value.name),
            value.version,
        )


def _secret(row: Row) -> Secret:
    scope, name, description, version, created_at, updated_at, last_used_at = row
    return Secret(
        scope=unpack_text(scope),
        name=unpack_text(name),
        description=unpack_or_none(description),
        version=version,
        created_at=moment(created_at),
        updated_at=moment(updated_at),
        last_used_at=moment_or_none(last_used_at),
    )


def _value(row: Row) -> SealedValue:
    scope, name, version, key_id, wrapped, sealed = row
    return SealedValue(
        scope=unpack_text(scope), name=unpack_text(name), version=version, key_id=key_id, wrapped=wrapped, sealed=sealed
    )
