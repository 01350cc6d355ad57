"""Lists that come in pages: the stored lines of a job, jobs, events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.cli.answers import Document, LineView, job_path, read_lines
from orchestrator.cli.client import Client, Query

LINES_PER_PAGE = 5000
ITEMS_PER_PAGE = 200


def stored_lines(client: Client, job_id: str, *, after: int) -> Iterator[list[LineView]]:
    """The lines that are stored by now, page by page."""
    while True:
        page = client.get(job_path(job_id, "logs"), {"after": after, "limit": LINES_PER_PAGE})
        lines = [line for line in read_lines(page) if line.seq > after]
        if not lines:
            return
        yield lines
        after = lines[-1].seq
        if page.get("complete") is True:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Some of a list, newest first; `next_cursor` None: there are no more."""

    items: list[Document]
    next_cursor: str | None = None


def jobs_page(
    client: Client, *, status: str | None, dead: bool = False, event: str | None = None, limit: int | None
) -> Document:
    """At most `limit` jobs (None: all), newest first, as one page."""
    wanted = {"status": status, "dead": "true" if dead else None, "event_id": event}
    page = _page(client, "/jobs", wanted, limit)
    return {"items": [dict(item) for item in page.items], "next_cursor": page.next_cursor}


def events_page(client: Client, *, status: str | None, archived: bool, limit: int | None) -> Items:
    """At most `limit` events (None: all), newest first; without a status those that are not archived, or all."""
    page = _page(client, "/events", {"status": status}, limit)
    if status is not None or not archived:
        return page
    return Items(items=page.items + _page(client, "/events", {"status": "archived"}, None).items)


def _page(client: Client, path: str, wanted: Query, limit: int | None) -> Items:
    items: list[Document] = []
    cursor: str | None = None
    while limit is None or len(items) < limit:
        size = ITEMS_PER_PAGE if limit is None else min(ITEMS_PER_PAGE, limit - len(items))
        page = client.get(path, {**wanted, "limit": size, "cursor": cursor})
        found, following = page.get("items"), page.get("next_cursor")
        items += [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
        cursor = following if isinstance(following, str) else None
        if cursor is None or not found:
            break
    return Items(items=items, next_cursor=cursor)
