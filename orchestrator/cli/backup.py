"""`cronium backup`: a copy of the server's database in one file, checked, while the server goes on."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.progress import shown_progress
from orchestrator.cli.render import duration, escape, print_json, size
from orchestrator.model.json import Json
from orchestrator.model.upkeep import Contents

EXAMPLES = """
\b
Examples:
  cronium backup nightly.db
  cronium backup --data-dir /var/lib/cronium --force /mnt/backups/cronium.db
"""


@click.command(name="backup", epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="The server's data directory.")
@click.option("--force", is_flag=True, help="Replace FILE where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as a JSON object.")
def backup(file: Path, data_dir: Path | None, force: bool, as_json: bool) -> None:
    """Write a backup of the server's database to FILE, while the server goes on.

    FILE has its name only when it is complete and checked. It holds jobs, logs, runs, variables and the digests of
    tokens: keep it as private as the server.
    """
    from orchestrator.config import load_settings
    from orchestrator.maintenance import back_up

    with shown_progress("copying") as progress:
        made = back_up(load_settings({"data_dir": data_dir}), file, replace=force, progress=progress)
    if as_json:
        print_json({"file": str(made.file), **contents_document(made.contents), "seconds": round(made.seconds, 3)})
        return
    click.echo(f"{escape(str(made.file))}: {contents_line(made.contents)}, checked, in {duration(made.seconds)}")


def contents_line(contents: Contents) -> str:
    """How much there is, in a few words."""
    jobs = contents.rows.get("jobs", 0)
    return f"{size(contents.size_bytes)}, {jobs} {'job' if jobs == 1 else 'jobs'}"


def contents_document(contents: Contents) -> dict[str, Json]:
    """What a database file holds, for machines."""
    stamp = contents.stamp
    return {
        "size_bytes": contents.size_bytes,
        "jobs": contents.rows.get("jobs", 0),
        "rows": dict(contents.rows),
        "migration": contents.migration,
        "pending": list(contents.pending),
        "made_at": None if stamp is None else stamp.made_at.isoformat(),
        "version": None if stamp is None else stamp.version,
    }
