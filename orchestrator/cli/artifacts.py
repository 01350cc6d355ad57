"""`cronium artifacts`: the files that a job left."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orchestrator.cli.answers import Document, find_job_id, job_path, time_of
from orchestrator.cli.client import Client, open_client
from orchestrator.cli.download import Fetchable, fetch_below, fetch_to, fetch_to_stdout, read_artifact
from orchestrator.cli.render import escape, local_time, print_json, size, table
from orchestrator.errors import InvalidError, NotFoundError

PAGE = 200
NAMED = 5
COLUMNS = ("NAME", "SIZE", "TYPE", "ATTEMPT", "CREATED")

EXAMPLES = """
\b
Examples:
  cronium artifacts list last
  cronium artifacts get last report.csv
"""
LIST_EXAMPLES = """
\b
Examples:
  cronium artifacts list last
  cronium artifacts list job_01jd3x5r7m8k2n4p6q9s0t1v2w --json
"""
GET_EXAMPLES = """
\b
Examples:
  cronium artifacts get last report.csv
  cronium artifacts get last report.csv -o - | head
  cronium artifacts get last --all -o reports
"""


@click.group(name="artifacts", epilog=EXAMPLES)
def artifacts() -> None:
    """List and fetch the files that a job left in $CRONIUM_ARTIFACTS."""


@artifacts.command(name="list", epilog=LIST_EXAMPLES)
@click.argument("job", metavar="JOB|last")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `items`.")
def list_(job: str, as_json: bool) -> None:
    """List what the latest attempt of a job that has ended left."""
    client = open_client()
    found = _listed(client, find_job_id(client, job))
    if as_json:
        print_json({"items": [dict(document) for document in found]})
        return
    if not found:
        sys.stderr.write("The job left no artifacts.\n")
        return
    click.echo(table([_row(document) for document in found], COLUMNS), nl=False)


@artifacts.command(name="get", epilog=GET_EXAMPLES)
@click.argument("job", metavar="JOB|last")
@click.argument("name", required=False)
@click.option("-o", "--output", metavar="FILE|DIR|-", help="Where to; a directory with --all, - is stdout.")
@click.option("--all", "everything", is_flag=True, help="All artifacts of the job, into a directory.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `items`, each with its `file`.")
def get(job: str, name: str | None, output: str | None, everything: bool, as_json: bool) -> None:
    """Fetch artifacts of a job; each is checked against its SHA-256 before it has its name."""
    if everything == (name is not None):
        raise click.UsageError("Name one artifact, or say --all.")
    if everything and output in (None, "-"):
        raise click.UsageError("--all needs a directory: -o DIR.")
    if as_json and output == "-":
        raise click.UsageError("Only one of --json and -o - can have stdout.")
    client = open_client()
    job_id = find_job_id(client, job)
    listed = _listed(client, job_id)
    if name is None:
        root = Path(str(output))
        files = [(document, fetch_below(client, job_id, read_artifact(document), root)) for document in listed]
    else:
        document = _named(listed, job_id, name)
        artifact = read_artifact(document)
        if output == "-":
            fetch_to_stdout(client, job_id, artifact)
            return
        files = [(document, fetch_to(client, job_id, artifact, _target(artifact, output)))]
    if as_json:
        print_json({"items": [{**document, "file": str(file)} for document, file in files]})
        return
    for _, file in files:
        click.echo(escape(str(file)))


def _target(artifact: Fetchable, output: str | None) -> Path:
    """What was named; without, a file of the artifact's own name that is not there yet."""
    if output is not None:
        path = Path(output)
        return path / artifact.name.rpartition("/")[2] if path.is_dir() else path
    path = Path(artifact.name.rpartition("/")[2])
    if path.exists() or path.is_symlink():
        raise InvalidError(f"{path} is there already: say where to with -o.")
    return path


def _listed(client: Client, job_id: str) -> list[Document]:
    """All artifacts, page by page."""
    found: list[Document] = []
    cursor: str | None = None
    while True:
        page = client.get(job_path(job_id, "artifacts"), {"limit": PAGE, "cursor": cursor})
        items, following = page.get("items"), page.get("next_cursor")
        found += [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        if not isinstance(following, str) or not items:
            return found
        cursor = following


def _named(listed: list[Document], job_id: str, name: str) -> Document:
    for document in listed:
        if document.get("name") == name:
            return document
    names = ", ".join(repr(document.get("name")) for document in listed[:NAMED])
    there = f"it left {names}{' and more' if len(listed) > NAMED else ''}" if listed else "it left none"
    raise NotFoundError(f"Job {job_id} has no artifact {name!r}; {there}.")


def _row(document: Document) -> dict[str, str]:
    artifact, created = read_artifact(document), time_of(document, "created_at")
    return {
        "NAME": artifact.name,
        "SIZE": size(artifact.size),
        "TYPE": str(document.get("media_type", "")),
        "ATTEMPT": str(document.get("attempt", "")),
        "CREATED": local_time(created) if created else "",
    }
