"""Lists that come in pages: the stored lines of a job, and the jobs."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cli.answers import Document, LineView, job_path, read_lines
from orchestrator.cli.client import Client

LINES_PER_PAGE = 5000
JOBS_PER_PAGE = 200


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


def jobs_page(client: Client, *, status: str | None, dead: bool = False, limit: int | None) -> Document:
    """At most `limit` jobs (None: all), newest first, as one page."""
    items: list[Document] = []
    cursor: str | None = None
    while limit is None or len(items) < limit:
        size = JOBS_PER_PAGE if limit is None else min(JOBS_PER_PAGE, limit - len(items))
        wanted = {"status": status, "dead": "true" if dead else None, "limit": size, "cursor": cursor}
        page = client.get("/jobs", wanted)
        found, following = page.get("items"), page.get("next_cursor")
        items += [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
        cursor = following if isinstance(following, str) else None
        if cursor is None or not found:
            break
    return {"items": [dict(item) for item in items], "next_cursor": cursor}
