"""Instances in SQL."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.instances import Instance
from orchestrator.stores.codec import micros, moment, pack_text, unpack_text
from orchestrator.stores.sql.connection import Connection, Dialect


@dataclass(frozen=True, slots=True)
class SqlInstances:
    """`InstanceRepository` in SQL."""

    connection: Connection
    dialect: Dialect

    async def register(self, instance: Instance) -> None:
        await self.connection.change(
            """INSERT INTO instances (id, state, sockets, boot_id, seen_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (id) DO UPDATE SET state = excluded.state, sockets = excluded.sockets,
                   boot_id = excluded.boot_id, seen_at = excluded.seen_at""",
            pack_text(instance.id),
            pack_text(instance.state),
            pack_text(instance.sockets),
            pack_text(instance.boot_id),
            micros(instance.seen_at),
        )

    async def bereft(self, queue: str) -> list[Instance]:
        rows = await self.connection.rows(
            f"""SELECT id, state, sockets, boot_id, seen_at FROM instances WHERE EXISTS (
                    SELECT 1 FROM jobs WHERE queue = $1 AND status = 'running' AND lease_until <= {self.dialect.now}
                    AND substr(owner, 1, length(instances.id) + 1) = instances.id || ':'
                ) ORDER BY id""",
            pack_text(queue),
        )
        return [
            Instance(
                id=unpack_text(id_),
                state=unpack_text(state),
                sockets=unpack_text(sockets),
                boot_id=unpack_text(boot_id),
                seen_at=moment(seen_at),
            )
            for id_, state, sockets, boot_id, seen_at in rows
        ]
