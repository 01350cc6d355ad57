"""Variables, and the answers to scripts' writes, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.contracts.store import Page
from orchestrator.errors import ConflictError, InvalidError, LeaseLostError
from orchestrator.model.jobs import JobId
from orchestrator.model.json import Json
from orchestrator.model.variables import MAX_VARIABLES, Variable
from orchestrator.stores.codec import (
    from_json,
    micros,
    moment,
    object_from_json,
    pack_or_none,
    pack_text,
    to_json,
    unpack_or_none,
    unpack_text,
)
from orchestrator.stores.sql.connection import Connection, Row
from orchestrator.stores.sql.job_rows import STATUS

_COLUMNS = "key, value, version, updated_at, description, updated_by"
_PAGE_CHARACTERS = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SqlVariables:
    """`VariableRepository` in SQL. Locks are taken in the order job, scope, variable."""

    connection: Connection

    async def get(self, scope: str, key: str) -> Variable | None:
        rows = await self.connection.rows(
            f"SELECT {_COLUMNS} FROM variables WHERE scope = $1 AND key = $2", pack_text(scope), pack_text(key)
        )
        return _variable(scope, rows[0]) if rows else None

    async def lock(self, scope: str, key: str) -> Variable | None:
        found = await self._touch(scope, key)
        if found is None:
            await self._hold_scope(scope)
            found = await self._touch(scope, key)  # it may have come while the scope was waited for
        return found

    async def set(
        self,
        scope: str,
        key: str,
        value: Json,
        *,
        at: datetime,
        by: str | None = None,
        description: str | None = None,
        most: int = MAX_VARIABLES,
    ) -> Variable:
        document = to_json(value)
        found = await self._change(scope, key, document, at, by, description)
        if found is not None:
            return found
        variables, floor = await self._hold_scope(scope)
        found = await self._change(scope, key, document, at, by, description)
        if found is not None:
            return found
        if variables >= most:
            raise ConflictError(
                f"The scope {scope!r} holds {variables} variables and takes no more; delete some, or keep many values in "
                "one variable, a file or a database.",
                code="too_many_variables",
            )
        await self.connection.later(
            "UPDATE variable_scopes SET variables = variables + 1 WHERE scope = $1", pack_text(scope)
        )
        rows = await self.connection.rows(
            f"""INSERT INTO variables (scope, key, value, updated_at, version, description, updated_by)
                VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_COLUMNS}""",
            pack_text(scope),
            pack_text(key),
            document,
            micros(at),
            floor + 1,
            pack_or_none(description),
            pack_or_none(by),
        )
        return _variable(scope, rows[0])

    async def delete(self, scope: str, key: str, *, version: int | None = None) -> Variable | None:
        await self._hold_scope(scope)
        rows = await self.connection.rows(
            f"""DELETE FROM variables WHERE scope = $1 AND key = $2 {"" if version is None else "AND version = $3"}
                RETURNING {_COLUMNS}""",
            pack_text(scope),
            pack_text(key),
            *(() if version is None else (version,)),
        )
        if not rows:
            return None
        gone = _variable(scope, rows[0])
        await self.connection.later(
            """UPDATE variable_scopes SET variables = variables - 1,
                   floor = CASE WHEN floor > $1 THEN floor ELSE $1 END
               WHERE scope = $2""",
            gone.version,
            pack_text(scope),
        )
        return gone

    async def page(self, scope: str, *, prefix: str, after: str | None, limit: int) -> Page[Variable]:
        if limit < 1:
            raise InvalidError(f"The limit of a page must be 1 or more, not {limit}.")
        begins = pack_text(prefix)
        sizes = await self.connection.rows(
            """SELECT key, LENGTH(value) FROM variables
               WHERE scope = $1 AND key > $2 AND SUBSTR(key, 1, $3) = $4 ORDER BY key LIMIT $5""",
            pack_text(scope),
            pack_text(after or ""),
            len(begins),
            begins,
            limit + 1,
        )
        taken = _fitting([int(size) for _, size in sizes[:limit]])
        if not taken:
            return Page(items=[], next_cursor=None)
        rows = await self.connection.rows(
            f"""SELECT {_COLUMNS} FROM variables
                WHERE scope = $1 AND key > $2 AND key <= $3 AND SUBSTR(key, 1, $4) = $5 ORDER BY key LIMIT $6""",
            pack_text(scope),
            pack_text(after or ""),
            sizes[taken - 1][0],
            len(begins),
            begins,
            taken,
        )
        last = unpack_text(sizes[taken - 1][0])
        return Page(items=[_variable(scope, row) for row in rows], next_cursor=last if len(sizes) > taken else None)

    async def hold_attempt(self, job_id: JobId, attempt: int) -> None:
        held = await self.connection.change(
            f"UPDATE jobs SET attempt = attempt WHERE id = $1 AND attempt = $2 AND {STATUS} = 'running'",
            job_id,
            attempt,
        )
        if not held:
            raise LeaseLostError(f"Attempt {attempt} of job {job_id} is over; what it says now is not kept.")

    async def answer_of(self, job_id: JobId, attempt: int, key: str, digest: bytes) -> dict[str, Json] | None:
        rows = await self.connection.rows(
            "SELECT digest, answer FROM runtime_answers WHERE job_id = $1 AND attempt = $2 AND key = $3",
            job_id,
            attempt,
            pack_text(key),
        )
        if not rows:
            return None
        stored, answer = rows[0]
        if bytes(stored) != digest:
            raise ConflictError(
                f"The idempotency key {key!r} was used for another request of this attempt: choose a new one.",
                code="idempotency_key_reused",
            )
        return object_from_json(answer)

    async def keep_answer(
        self, job_id: JobId, attempt: int, key: str, digest: bytes, answer: Mapping[str, Json]
    ) -> None:
        await self.connection.change(
            "INSERT INTO runtime_answers (job_id, attempt, key, digest, answer) VALUES ($1, $2, $3, $4, $5)",
            job_id,
            attempt,
            pack_text(key),
            digest,
            to_json(answer),
        )

    async def forget_answers(self) -> int:
        return await self.connection.change(
            f"""DELETE FROM runtime_answers WHERE NOT EXISTS (SELECT 1 FROM jobs
                WHERE jobs.id = runtime_answers.job_id AND jobs.attempt = runtime_answers.attempt
                    AND {STATUS} = 'running')"""
        )

    async def _touch(self, scope: str, key: str) -> Variable | None:
        """Read the variable so that others wait before they change it."""
        rows = await self.connection.rows(
            f"UPDATE variables SET version = version WHERE scope = $1 AND key = $2 RETURNING {_COLUMNS}",
            pack_text(scope),
            pack_text(key),
        )
        return _variable(scope, rows[0]) if rows else None

    async def _change(
        self, scope: str, key: str, document: str, at: datetime, by: str | None, description: str | None
    ) -> Variable | None:
        rows = await self.connection.rows(
            f"""UPDATE variables SET value = $1, updated_at = $2, updated_by = $3, version = version + 1,
                    description = COALESCE($4, description)
                WHERE scope = $5 AND key = $6 RETURNING {_COLUMNS}""",
            document,
            micros(at),
            pack_or_none(by),
            pack_or_none(description),
            pack_text(scope),
            pack_text(key),
        )
        return _variable(scope, rows[0]) if rows else None

    async def _hold_scope(self, scope: str) -> tuple[int, int]:
        """How many variables the scope has, and its floor. Nobody else creates or deletes one in it until the end."""
        [(variables, floor)] = await self.connection.rows(
            """INSERT INTO variable_scopes (scope, variables, floor) VALUES ($1, 0, 0)
               ON CONFLICT (scope) DO UPDATE SET variables = variable_scopes.variables RETURNING variables, floor""",
            pack_text(scope),
        )
        return variables, floor


def _fitting(sizes: list[int]) -> int:
    """How many values fit into a page; one at least, where there is one."""
    room = _PAGE_CHARACTERS
    for index, size in enumerate(sizes):
        room -= size
        if room < 0:
            return max(1, index)
    return len(sizes)


def _variable(scope: str, row: Row) -> Variable:
    key, value, version, updated_at, description, updated_by = row
    return Variable(
        scope=scope,
        key=unpack_text(key),
        value=from_json(value),
        version=version,
        updated_at=moment(updated_at),
        description=unpack_or_none(description),
        updated_by=unpack_or_none(updated_by),
    )
