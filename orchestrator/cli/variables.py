"""`cronium variables`: values that scripts share - listed, read, written, deleted, in files and back, and who names them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orchestrator.cli.answers import Document, time_of
from orchestrator.cli.client import Client, open_client, path_of
from orchestrator.cli.output import say
from orchestrator.cli.render import escape, json_text, local_time, print_json, table
from orchestrator.cli.variable_files import FORMATS, Entry, format_of, parse_value
from orchestrator.errors import CroniumError, InvalidError, NotFoundError
from orchestrator.model.json import Json

PAGE = 200
SHOWN_CHARS = 60
COLUMNS = ("KEY", "VALUE", "VERSION", "UPDATED", "BY")

EXAMPLES = """
\b
Examples:
  cronium variables list
  cronium variables set region eu-1
  cronium variables get region
  cronium variables export > variables.json
"""
LIST_EXAMPLES = """
\b
Examples:
  cronium variables list --prefix db.
  cronium variables list --scope event:nightly --json
"""
GET_EXAMPLES = """
\b
Examples:
  cronium variables get region
  cronium variables get region --json
"""
SET_EXAMPLES = """
\b
Examples:
  cronium variables set limits '{"rows": 100}' --description 'What one run may read'
  cronium variables set version 1.10 --text
  cronium variables set region eu-2 --if-version 3
  cronium variables set letter - < letter.txt
"""
DELETE_EXAMPLES = """
\b
Examples:
  cronium variables delete region
  cronium variables delete region --if-version 3
"""
EXPORT_EXAMPLES = """
\b
Examples:
  cronium variables export > variables.json
  cronium variables export --format env --prefix DB_ > db.env
"""
IMPORT_EXAMPLES = """
\b
Examples:
  cronium variables import variables.json
  cronium variables import db.env --scope event:nightly --keep
  cronium variables import - --format csv < table.csv
"""
USAGE_EXAMPLES = """
\b
Examples:
  cronium variables usage region
"""

scope_option = click.option(
    "--scope",
    default="global",
    metavar="SCOPE",
    show_default=True,
    help="`global`, or `event:NAME` for those of an event.",
)
version_option = click.option(
    "--if-version", type=click.IntRange(1), metavar="N", help="Only if the variable has this version."
)


@click.group(name="variables", epilog=EXAMPLES)
def variables() -> None:
    """List, read and change the values that scripts share.

    They are no secrets: whoever may read on this server reads them. A script finds those of its event first.
    """


@variables.command(name="list", epilog=LIST_EXAMPLES)
@scope_option
@click.option("--prefix", default=None, metavar="TEXT", help="Only keys that begin so.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `items`.")
def list_(scope: str, prefix: str | None, as_json: bool) -> None:
    """List the variables of a scope by key."""
    found = _listed(open_client(), scope, prefix)
    if as_json:
        print_json({"items": [dict(document) for document in found]})
        return
    sys.stdout.write(table([_row(document) for document in found], COLUMNS))
    if not found:
        say("there are no such variables; `cronium variables set KEY VALUE` makes one")


@variables.command(name="get", epilog=GET_EXAMPLES)
@click.argument("key", metavar="KEY")
@scope_option
@click.option("--json", "as_json", is_flag=True, help="Print all about the variable as a JSON object.")
def get(key: str, scope: str, as_json: bool) -> None:
    """Print the value of a variable: a text as it is, all else as JSON."""
    document = open_client().get(_path(key), {"scope": scope})
    if as_json:
        print_json(dict(document))
        return
    value = document.get("value")
    sys.stdout.write(f"{value}\n" if isinstance(value, str) else f"{json_text(value, indent=None)}\n")


@variables.command(name="set", epilog=SET_EXAMPLES)
@click.argument("key", metavar="KEY")
@click.argument("value", metavar="VALUE|-")
@scope_option
@click.option("--text", "as_text", is_flag=True, help="Take the value for a text, also if it is JSON.")
@click.option("--description", metavar="TEXT", help="What the variable is for.")
@version_option
@click.option("--new", "only_new", is_flag=True, help="Only if there is no such variable.")
def set_(
    key: str, value: str, scope: str, as_text: bool, description: str | None, if_version: int | None, only_new: bool
) -> None:
    """Write a variable. The value is JSON if it parses as JSON, else a text; - reads it from standard input."""
    if only_new and if_version is not None:
        raise click.UsageError("Only one of --new and --if-version can say when to write.")
    text = _read("-").removesuffix("\n") if value == "-" else value
    entry = Entry(key=key, value=text if as_text else parse_value(text), description=description)
    document = _put(open_client(), entry, scope, _headers(if_version, only_new=only_new))
    say(f"{escape(key)} has version {document.get('version')}")


@variables.command(name="delete", epilog=DELETE_EXAMPLES)
@click.argument("key", metavar="KEY")
@scope_option
@version_option
def delete(key: str, scope: str, if_version: int | None) -> None:
    """Delete a variable."""
    open_client().delete(_path(key), {"scope": scope}, headers=_headers(if_version))
    say(f"{escape(key)} is deleted")


@variables.command(name="export", epilog=EXPORT_EXAMPLES)
@scope_option
@click.option("--prefix", default=None, metavar="TEXT", help="Only keys that begin so.")
@click.option("--format", "kind", type=click.Choice([*FORMATS]), default="json", show_default=True, help="Of the file.")
def export(scope: str, prefix: str | None, kind: str) -> None:
    """Print the variables of a scope as a file that `import` reads. The format env has no descriptions."""
    found = _listed(open_client(), scope, prefix)
    sys.stdout.write(FORMATS[kind].dump([_entry(document) for document in found]))


@variables.command(name="import", epilog=IMPORT_EXAMPLES)
@click.argument("file", metavar="FILE|-")
@scope_option
@click.option("--format", "kind", type=click.Choice([*FORMATS]), help="Of the file (default: as its name ends).")
@click.option("--keep", is_flag=True, help="Leave variables that are there as they are.")
def import_(file: str, scope: str, kind: str | None, keep: bool) -> None:
    """Write the variables of a file, one after the other; an error ends it, and what was written stays."""
    entries = FORMATS[kind or format_of(file)].parse(_read(file))
    client = open_client()
    kept = 0
    for number, entry in enumerate(entries):
        try:
            _put(client, entry, scope, _headers(None, only_new=keep))
        except CroniumError as error:
            if keep and error.code == "version_mismatch":
                kept += 1
                continue
            say(f"{number - kept} of {len(entries)} variables were written before {escape(entry.key)}")
            raise
    say(f"{len(entries) - kept} variables were written" + (f", {kept} were left as they are" if kept else ""))


@variables.command(name="usage", epilog=USAGE_EXAMPLES)
@click.argument("key", metavar="KEY")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `events`.")
def usage(key: str, as_json: bool) -> None:
    """List the events whose definition holds a key as text. Scripts in files and images are not searched."""
    answer = open_client().get(_path(key, "usage"))
    if as_json:
        print_json(dict(answer))
        return
    events = answer.get("events")
    rows = [_usage_row(event) for event in events if isinstance(event, dict)] if isinstance(events, list) else []
    sys.stdout.write(table(rows, ("EVENT", "STATUS", "IN")))
    if not rows:
        say(f"no event holds {escape(key)}")


def _path(key: str, *rest: str) -> str:
    if key in ("", ".", ".."):  # a path cannot hold them
        raise NotFoundError(f"There is no variable {key!r}.", code="variable_not_found")
    return path_of("variables", key, *rest)


def _headers(if_version: int | None, *, only_new: bool = False) -> dict[str, str]:
    if only_new:
        return {"If-None-Match": "*"}
    return {} if if_version is None else {"If-Match": f'"{if_version}"'}


def _put(client: Client, entry: Entry, scope: str, headers: dict[str, str]) -> Document:
    body: dict[str, Json] = {"value": entry.value}
    if entry.description is not None:
        body["description"] = entry.description
    return client.put(_path(entry.key), body, {"scope": scope}, headers=headers)


def _listed(client: Client, scope: str, prefix: str | None) -> list[Document]:
    found: list[Document] = []
    cursor: str | None = None
    while True:
        page = client.get("/variables", {"scope": scope, "prefix": prefix, "limit": PAGE, "cursor": cursor})
        items, following = page.get("items"), page.get("next_cursor")
        found += [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        if not isinstance(following, str) or not items:
            return found
        cursor = following


def _row(document: Document) -> dict[str, str]:
    at = time_of(document, "updated_at")
    value = json_text(document.get("value"), indent=None)
    return {
        "KEY": escape(str(document.get("key"))),
        "VALUE": escape(value if len(value) <= SHOWN_CHARS else f"{value[: SHOWN_CHARS - 3]}..."),
        "VERSION": str(document.get("version")),
        "UPDATED": "" if at is None else local_time(at),
        "BY": escape(str(document.get("updated_by") or "")),
    }


def _entry(document: Document) -> Entry:
    description = document.get("description")
    return Entry(
        key=str(document.get("key")),
        value=document.get("value"),
        description=description if isinstance(description, str) else None,
    )


def _usage_row(event: Document) -> dict[str, str]:
    where = event.get("where")
    parts = ", ".join(str(part) for part in where) if isinstance(where, list) else ""
    return {"EVENT": escape(str(event.get("name"))), "STATUS": str(event.get("status")), "IN": escape(parts)}


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"{file} is not UTF-8: {error}.") from error
