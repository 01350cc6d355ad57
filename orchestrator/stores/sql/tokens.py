"""Tokens of people and programs in SQL."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.tokens import Scope, Token
from orchestrator.stores.codec import micros, micros_or_none, moment, moment_or_none, pack_text, unpack_text
from orchestrator.stores.sql.connection import Connection


@dataclass(frozen=True, slots=True)
class SqlTokens:
    """`TokenRepository` in SQL."""

    connection: Connection

    async def insert(self, token: Token) -> None:
        await self.connection.change(
            "INSERT INTO tokens (id, name, scope, digest, created_at, revoked_at) VALUES ($1, $2, $3, $4, $5, $6)",
            token.id,
            pack_text(token.name),
            token.scope.value,
            token.digest,
            micros(token.created_at),
            micros_or_none(token.revoked_at),
        )

    async def by_digest(self, digest: bytes) -> Token | None:
        rows = await self.connection.rows(
            "SELECT id, name, scope, digest, created_at, revoked_at FROM tokens WHERE digest = $1", digest
        )
        if not rows:
            return None
        id_, name, scope, stored, created_at, revoked_at = rows[0]
        return Token(
            id=id_,
            name=unpack_text(name),
            scope=Scope(scope),
            digest=stored,
            created_at=moment(created_at),
            revoked_at=moment_or_none(revoked_at),
        )

    async def has_admin(self) -> bool:
        return bool(
            await self.connection.rows("SELECT 1 FROM tokens WHERE scope = 'admin' AND revoked_at IS NULL LIMIT 1")
        )
