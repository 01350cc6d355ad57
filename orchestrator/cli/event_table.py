"""How events look: a value, a row of a table, everything about one, and the times they fire at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.cli.answers import Document, time_of
from orchestrator.cli.client import Client, path_of
from orchestrator.cli.render import duration, json_text, local_time
from orchestrator.errors import CroniumError, NotFoundError
from orchestrator.model.json import Json

EVENT_COLUMNS = ("NAME", "STATUS", "SCHEDULE", "NEXT", "EXECUTIONS", "ID")
FIRE_COLUMNS = ("UTC", "LOCAL", "IN")
MAX_NAME = 40
SCRIPTS = ("python", "node", "bash", "shell")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """An event as the server shows it; `document` is all of it."""

    id: str
    name: str
    status: str
    schedule: str | None
    executions: int
    max_executions: int | None
    next_fire_at: datetime | None
    document: Document


def event_path(reference: str, *rest: str) -> str:
    """The path of an event by id or name. Raises `NotFoundError` for a word that a path cannot hold."""
    if reference in ("", ".", ".."):
        raise NotFoundError(f"There is no event {reference!r}; `cronium events` lists those there are.")
    return path_of("events", reference, *rest)


def find_event(client: Client, reference: str) -> EventView:
    return read_event(client.get(event_path(reference)))


def read_event(document: Json) -> EventView:
    """Raises `CroniumError` (`bad_answer`) for what is no event."""
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        raise CroniumError("The answer holds no event: is this a Cronium server of another version?", code="bad_answer")
    executions, most = document.get("executions"), document.get("max_executions")
    return EventView(
        id=str(document["id"]),
        name=str(document.get("name") or ""),
        status=str(document.get("status") or "unknown"),
        schedule=_schedule(document.get("schedule")),
        executions=executions if isinstance(executions, int) else 0,
        max_executions=most if isinstance(most, int) else None,
        next_fire_at=time_of(document, "next_fire_at"),
        document=document,
    )


def event_rows(events: Sequence[Document]) -> list[Mapping[str, str]]:
    return [_row(read_event(dict(document))) for document in events]


def event_pairs(event: EventView) -> list[tuple[str, str | None]]:
    """All about an event, in the order in which one asks."""
    document = event.document
    created, updated = time_of(document, "created_at"), time_of(document, "updated_at")
    return [
        ("event", event.name),
        ("id", event.id),
        ("status", event.status),
        ("description", _shown(document.get("description"))),
        ("schedule", event.schedule),
        ("next", local_time(event.next_fire_at) if event.next_fire_at else None),
        ("executions", _executions(event)),
        ("failures to", _webhook(document.get("notify"))),
        *_spec_pairs(document.get("spec")),
        ("created", local_time(created) if created else None),
        ("updated", local_time(updated) if updated else None),
    ]


def script_of(event: EventView) -> str | None:
    """The text of the script that an event runs."""
    spec = event.document.get("spec")
    texts = [spec.get(language) for language in SCRIPTS] if isinstance(spec, dict) else []
    return next((text for text in texts if isinstance(text, str)), None)


def fire_rows(times: Json, now: datetime) -> list[Mapping[str, str]]:
    """A row for each time, in UTC, here, and how long until then."""
    found = [time_of({"at": text}, "at") for text in times] if isinstance(times, list) else []
    return [
        {
            "UTC": at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            "LOCAL": local_time(at),
            "IN": duration(max(0.0, (at - now).total_seconds())),
        }
        for at in found
        if at is not None
    ]


def _row(event: EventView) -> dict[str, str]:
    name = event.name
    return {
        "NAME": name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…",
        "STATUS": event.status,
        "SCHEDULE": event.schedule or "",
        "NEXT": local_time(event.next_fire_at) if event.next_fire_at else "",
        "EXECUTIONS": _executions(event),
        "ID": event.id,
    }


def _schedule(schedule: Json) -> str | None:
    if not isinstance(schedule, dict):
        return None
    cron, every = schedule.get("cron"), schedule.get("every")
    return str(cron) if cron is not None else f"every {every}"


def _executions(event: EventView) -> str:
    return str(event.executions) + (f" of {event.max_executions}" if event.max_executions is not None else "")


def _webhook(notify: Json) -> str | None:
    failure = notify.get("failure") if isinstance(notify, dict) else None
    return _shown(failure.get("webhook")) if isinstance(failure, dict) else None


def _spec_pairs(spec: Json) -> list[tuple[str, str | None]]:
    """What it runs, in the words of its file; of the script the language, since the text has lines of its own."""
    if not isinstance(spec, dict):
        return []
    language = next((key for key in SCRIPTS if key in spec), None)
    rest = [(key, _shown(value)) for key, value in spec.items() if key not in SCRIPTS]
    return [("script", language), *rest]


def _shown(value: Json) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) else json_text(value, indent=None)
