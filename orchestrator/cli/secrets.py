"""`cronium secrets`: what scripts are given and logs must not show."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orchestrator.cli.answers import Document, time_of
from orchestrator.cli.client import open_client, path_of
from orchestrator.cli.render import escape, local_time, print_json, table
from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

COLUMNS = ("NAME", "EVENT", "VERSION", "UPDATED", "LAST USED", "DESCRIPTION")
MAX_READ_BYTES = 1024 * 1024
PAGE = 200

EXAMPLES = """
\b
Examples:
  cronium secrets set API_KEY
  cronium secrets set db-password --from-file /run/secrets/db
  cronium secrets list
"""
SET_EXAMPLES = """
\b
Examples:
  cronium secrets set API_KEY
  printf %s "$KEY" | cronium secrets set API_KEY
  cronium secrets set tls-key --from-file key.pem --description 'of www'
"""
LIST_EXAMPLES = """
\b
Examples:
  cronium secrets list
  cronium secrets list --event nightly --json
"""
DELETE_EXAMPLES = """
\b
Examples:
  cronium secrets delete API_KEY
  cronium secrets delete API_KEY --event nightly
"""
ROTATE_EXAMPLES = """
\b
Examples:
  cronium secrets rotate-key
  cronium secrets rotate-key --forget-old
"""


@click.group(name="secrets", epilog=EXAMPLES)
def secrets() -> None:
    """Set, list and delete secrets. Their values go in, and come out only in the jobs that name them."""


event_option = click.option("--event", metavar="NAME", help="One of this event alone (its name or id), not of all.")


@secrets.command(name="set", epilog=SET_EXAMPLES)
@click.argument("name", metavar="NAME")
@click.option("--from-file", "file", metavar="FILE", help="The value is what this file holds.")
@click.option("--description", metavar="TEXT", help="What it is for. Everybody may read it.")
@event_option
@click.option("--json", "as_json", is_flag=True, help="Print all about it but the value, as JSON.")
def set_(name: str, file: str | None, description: str | None, event: str | None, as_json: bool) -> None:
    """Make a secret or give it a new value.

    The value is read from FILE, from stdin, or asked for without being shown; never from the command line, which others can
    see. Of a value of one line the newline at its end is left out. Jobs that run keep the value they were given.
    """
    said: dict[str, Json] = {"name": name, "value": _value(name, file), "description": description, "event": event}
    secret = open_client().post("/secrets", {key: value for key, value in said.items() if value is not None})
    if as_json:
        print_json(dict(secret))
        return
    click.echo(
        f"{escape(name)} is set (version {secret.get('version')}); a job is given it by `secrets: [{escape(name)}]`"
    )


@secrets.command(name="list", epilog=LIST_EXAMPLES)
@event_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `items`.")
def list_(event: str | None, as_json: bool) -> None:
    """List secrets by name, without their values."""
    client = open_client()
    found: list[Json] = []
    cursor: str | None = None
    while True:
        page = client.get("/secrets", {"event": event, "cursor": cursor, "limit": PAGE})
        items, following = page.get("items"), page.get("next_cursor")
        found += items if isinstance(items, list) else []
        if not isinstance(following, str):
            break
        cursor = following
    if as_json:
        print_json({"items": found})
        return
    if not found:
        sys.stderr.write("There are no secrets; `cronium secrets set NAME` makes one.\n")
        return
    click.echo(table([_row(item) for item in found if isinstance(item, dict)], COLUMNS), nl=False)


@secrets.command(name="delete", epilog=DELETE_EXAMPLES)
@click.argument("name", metavar="NAME")
@event_option
@click.option("--json", "as_json", is_flag=True, help="Print what it was, without the value, as JSON.")
def delete(name: str, event: str | None, as_json: bool) -> None:
    """Delete a secret. Jobs that run keep it; later ones that name it fail."""
    path = path_of("secrets", name, "delete")
    secret = open_client().post(path if event is None else f"{path}?{_query(event=event)}")
    if as_json:
        print_json(dict(secret))
        return
    click.echo(f"{escape(name)} is deleted")


@secrets.command(name="rotate-key", epilog=ROTATE_EXAMPLES)
@click.option("--forget-old", "forget", is_flag=True, help="Remove the old keys. Backups made before need them.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `key_id` and `rewrapped`.")
def rotate_key(forget: bool, as_json: bool) -> None:
    """Encrypt all secrets under another master key; goes on where an earlier rotation was broken off.

    Values do not change, and jobs go on. Needs a token of scope admin.
    """
    done = open_client().post("/secret-key/rotate" + ("?forget=1" if forget else ""))
    if as_json:
        print_json(dict(done))
        return
    click.echo(f"{done.get('rewrapped')} values are encrypted under the key {done.get('key_id')} now")


def _value(name: str, file: str | None) -> str:
    if file is not None:
        return _text(_read(Path(file)), f"the file {file}")
    if sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True))
    return _text(sys.stdin.buffer.read(MAX_READ_BYTES), "stdin")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_READ_BYTES)
    except OSError as error:
        raise InvalidError(f"The file {path} cannot be read: {error.strerror}.") from error


def _text(data: bytes, source: str) -> str:
    """What was read; of one line without its newline, of several as it is: a key file needs its last one."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidError(f"What {source} holds is not UTF-8 text: encode it, for example as base64.") from None
    line = text.removesuffix("\n").removesuffix("\r")
    return text if "\n" in line else line


def _query(**given: str) -> str:
    from urllib.parse import urlencode

    return urlencode(given)


def _row(secret: Document) -> dict[str, str]:
    return {
        "NAME": escape(str(secret.get("name"))),
        "EVENT": str(secret.get("event_id") or "-"),
        "VERSION": str(secret.get("version")),
        "UPDATED": _time(secret, "updated_at"),
        "LAST USED": _time(secret, "last_used_at"),
        "DESCRIPTION": escape(str(secret.get("description") or "")),
    }


def _time(secret: Document, key: str) -> str:
    at = time_of(secret, key)
    return "-" if at is None else local_time(at)
