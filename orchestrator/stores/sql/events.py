"""Events and fires in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.contracts.store import Page
from orchestrator.errors import ConflictError, InvalidError, NotFoundError
from orchestrator.model.events import Event, EventStatus
from orchestrator.model.jobs import EventId, JobId
from orchestrator.stores.codec import (
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    pack_text,
    page_cursor,
    parse_page_cursor,
    unpack_text,
)
from orchestrator.stores.documents import event_document, parse_event_document
from orchestrator.stores.sql.connection import Connection, Dialect, Row, Value

_COLUMNS = "id, name, status, queue, created_at, updated_at, anchor, executions, next_fire_at, document"


@dataclass(frozen=True, slots=True)
class SqlEvents:
    """`EventRepository` in SQL."""

    connection: Connection
    dialect: Dialect

    async def insert(self, event: Event) -> None:
        stored = await self.connection.change(
            f"""INSERT INTO events ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                ON CONFLICT (name) WHERE status <> 'archived' DO NOTHING""",
            event.id,
            pack_text(event.name),
            event.status.value,
            pack_text(event.queue),
            micros(event.created_at),
            micros(event.updated_at),
            micros(event.anchor),
            event.executions,
            micros_or_none(event.next_fire_at),
            event_document(event),
        )
        if not stored:
            raise _name_taken(event)

    async def get(self, event_id: EventId) -> Event:
        rows = await self.connection.rows(
            f"SELECT {_COLUMNS} FROM events WHERE id = $1 {self.dialect.for_update}", pack_text(event_id)
        )
        if not rows:
            raise _missing(event_id)
        return _event(rows[0])

    async def by_name(self, name: str) -> Event | None:
        rows = await self.connection.rows(
            f"SELECT {_COLUMNS} FROM events WHERE name = $1 AND status <> 'archived'", pack_text(name)
        )
        return _event(rows[0]) if rows else None

    async def page(self, *, status: EventStatus | None, after: str | None, limit: int) -> Page[Event]:
        if limit < 1:
            raise InvalidError(f"The limit of a page must be 1 or more, not {limit}.")
        which = "status <> $1" if status is None else "status = $1"
        args: list[Value] = [(status or EventStatus.ARCHIVED).value]
        if after is not None:
            which += " AND number < $2"
            args.append(parse_page_cursor(after))
        rows = await self.connection.rows(
            f"SELECT number, {_COLUMNS} FROM events WHERE {which} ORDER BY number DESC LIMIT ${len(args) + 1}",
            *args,
            limit + 1,
        )
        items = [_event(row[1:]) for row in rows[:limit]]
        return Page(items=items, next_cursor=page_cursor(rows[limit - 1][0]) if len(rows) > limit else None)

    async def update(self, event: Event) -> None:
        changed = await self.connection.change(
            """UPDATE events SET status = $1, updated_at = $2, anchor = $3, executions = $4, next_fire_at = $5
               WHERE id = $6""",
            event.status.value,
            micros(event.updated_at),
            micros(event.anchor),
            event.executions,
            micros_or_none(event.next_fire_at),
            pack_text(event.id),
        )
        if not changed:
            raise _missing(event.id)

    async def due(self, queue: str, *, at: datetime, limit: int) -> list[EventId]:
        rows = await self.connection.rows(
            """SELECT id FROM events WHERE queue = $1 AND status = 'active' AND next_fire_at IS NOT NULL
               AND next_fire_at <= $2 ORDER BY next_fire_at, number LIMIT $3""",
            pack_text(queue),
            micros(at),
            limit,
        )
        return [EventId(row[0]) for row in rows]

    async def next_due(self, queue: str) -> datetime | None:
        rows = await self.connection.rows(
            """SELECT MIN(next_fire_at) FROM events WHERE queue = $1 AND status = 'active'
               AND next_fire_at IS NOT NULL""",
            pack_text(queue),
        )
        return moment_or_none(rows[0][0])

    async def fire(self, event_id: EventId, fire_time: datetime, job_id: JobId) -> bool:
        stored = await self.connection.change(
            """INSERT INTO fires (event_id, fire_time, job_id) VALUES ($1, $2, $3)
               ON CONFLICT (event_id, fire_time) DO NOTHING""",
            pack_text(event_id),
            micros(fire_time),
            job_id,
        )
        return stored == 1

    async def fires(self, event_id: EventId) -> list[tuple[datetime, JobId]]:
        rows = await self.connection.rows(
            "SELECT fire_time, job_id FROM fires WHERE event_id = $1 ORDER BY fire_time", pack_text(event_id)
        )
        return [(moment(at), JobId(job_id)) for at, job_id in rows]


def _name_taken(event: Event) -> ConflictError:
    return ConflictError(
        f"There is an event {event.name!r} already; archive it first or choose another name.", code="event_name_taken"
    )


def _missing(event_id: EventId) -> NotFoundError:
    return NotFoundError(f"There is no event {event_id!r}; `cronium events` lists those there are.")


def _event(row: Row) -> Event:
    id_, name, status, queue, created_at, updated_at, anchor, executions, next_fire_at, document = row
    said = parse_event_document(document)
    return Event(
        id=EventId(id_),
        name=unpack_text(name),
        status=EventStatus(status),
        spec=said.spec,
        queue=unpack_text(queue),
        created_at=moment(created_at),
        updated_at=moment(updated_at),
        anchor=moment(anchor),
        description=said.description,
        schedule=said.schedule,
        max_executions=said.max_executions,
        failure_webhook=said.failure_webhook,
        executions=executions,
        next_fire_at=moment_or_none(next_fire_at),
    )
