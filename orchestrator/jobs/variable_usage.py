"""Where a variable's key occurs: a plain search through what events run, not an analysis of scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator

from orchestrator.contracts.store import Store
from orchestrator.model.documents import event_document
from orchestrator.model.events import Event
from orchestrator.model.json import Json

PAGE = 100


async def find_usage(store: Store, key: str) -> list[tuple[Event, tuple[str, ...]]]:
    """The events that are not archived and hold `key`, newest first, and the parts of their definition that do."""
    found = []
    cursor: str | None = None
    while True:
        async with store.read() as repos:
            page = await repos.events.page(status=None, after=cursor, limit=PAGE)
        for event in page.items:
            where = tuple(_parts_with(event, key))
            if where:
                found.append((event, where))
        cursor = page.next_cursor
        if cursor is None:
            return found


def _parts_with(event: Event, key: str) -> Iterator[str]:
    spec = event_document(event)["spec"]
    if not isinstance(spec, dict):
        return
    for part, value in spec.items():
        if key in _text(value):
            yield part


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
