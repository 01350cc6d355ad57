"""`cronium doctor --clean`: show what a server left behind and nobody needs, and remove it when told to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from orchestrator.cli.checkup import Unneeded, find_unneeded
from orchestrator.cli.failures import EXIT_FAILURE
from orchestrator.cli.render import duration, escape, print_json, size, table
from orchestrator.config import ServerSettings, load_settings
from orchestrator.model.json import Json

COLUMNS = ("KIND", "NAME", "AGE", "SIZE", "NOTE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One thing that can go, as it is shown. None: nobody says."""

    kind: str
    name: str
    age_seconds: float | None
    size_bytes: int | None
    note: str = ""


def clean(*, sure: bool, as_json: bool) -> int:
    """Show what can go; remove it when the user is `sure`, or says so on a terminal. The exit code."""
    settings = load_settings({})
    with find_unneeded(settings) as unneeded:
        found = list(_things(unneeded))
    if not as_json:
        _show(found, settings)
    removed: frozenset[str] = frozenset()
    asked = sure or (not as_json and bool(found) and _may_ask() and click.confirm("Delete all of it?"))
    if found and asked:
        with find_unneeded(settings) as unneeded:  # a server may have run meanwhile: what it needs is not in it
            removed = unneeded.remove(frozenset(thing.name for thing in found))
    left = [thing.name for thing in found if thing.name not in removed]
    if as_json:
        print_json({"found": [_document(thing) for thing in found], "deleted": [*sorted(removed)]})
    elif asked:
        click.echo(f"{len(removed)} deleted" + (f", still there: {escape(', '.join(left))}" if left else ""))
    elif found:
        click.echo("nothing was deleted: `cronium doctor --clean --yes` deletes all of it")
    return EXIT_FAILURE if asked and left else 0


def _show(found: list[Thing], settings: ServerSettings) -> None:
    if not found:
        click.echo(f"nothing is left over of the server in {escape(str(settings.data_dir))}")
        return
    click.echo(table([_row(thing) for thing in found], COLUMNS), nl=False)


def _row(thing: Thing) -> dict[str, str]:
    return {
        "KIND": thing.kind,
        "NAME": thing.name,
        "AGE": "" if thing.age_seconds is None else duration(thing.age_seconds),
        "SIZE": "" if thing.size_bytes is None else size(thing.size_bytes),
        "NOTE": thing.note,
    }


def _document(thing: Thing) -> dict[str, Json]:
    return {
        "kind": thing.kind,
        "name": thing.name,
        "age_seconds": None if thing.age_seconds is None else round(thing.age_seconds),
        "size_bytes": thing.size_bytes,
        "note": thing.note or None,
    }


def _may_ask() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _things(unneeded: Unneeded) -> Iterator[Thing]:
    now = time.time()
    for left in unneeded.on_engine:
        age = None if left.made_at is None else max(0.0, now - left.made_at.timestamp())
        yield Thing(kind=left.kind, name=left.name, age_seconds=age, size_bytes=left.size_bytes, note=left.note)
    for directory in unneeded.directories:
        age = max(0.0, now - directory.lstat().st_mtime)
        yield Thing(kind="directory", name=str(directory), age_seconds=age, size_bytes=_size_of(directory))


def _size_of(directory: Path) -> int:
    """The bytes of its files, as far as they can be seen."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += Path(place, name).lstat().st_size
            except OSError:
                continue  # gone, or closed to us
    return total
