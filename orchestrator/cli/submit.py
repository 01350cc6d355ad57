"""`cronium submit`: give a server a job, and follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import click

from orchestrator.cli.answers import JobView, read_job
from orchestrator.cli.client import open_client
from orchestrator.cli.inputs import parse_inputs
from orchestrator.cli.spec_file import read_spec_file
from orchestrator.cli.watching import see_through
from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

EXAMPLES = """
\b
Examples:
  cronium submit backup.py -- --full
  cronium submit report.yaml --input day=monday --timeout 5m
  cronium submit cleanup.sh --image debian:bookworm-slim --env LEVEL=2 --detach
  echo 'bash: echo hello' | cronium submit -
"""


class Options(TypedDict):
    """What the command line says; None and empty ones leave what the file says."""

    file: str
    args: Sequence[str]
    inputs: Sequence[str]
    env: Sequence[str]
    image: str | None
    executor: str | None
    timeout: str | None
    name: str | None
    priority: int | None
    lang: str | None
    key: str | None
    detach: bool
    as_json: bool


@click.command(name="submit", epilog=EXAMPLES)
@click.argument("file", metavar="FILE|-")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--input", "inputs", multiple=True, metavar="K=V|@FILE|JSON", help="Input of the script.")
@click.option("--env", multiple=True, metavar="K=V", help="A variable of the script's environment.")
@click.option("--image", metavar="IMAGE", help="Run in a container of this image.")
@click.option(
    "--executor", type=click.Choice(["process", "docker"]), help="Where to run (default: as the server says)."
)
@click.option("--timeout", metavar="DURATION", help="End the script after this time (90s, 5m, 2h).")
@click.option("--name", metavar="NAME", help="Name of the job (default: that of the file).")
@click.option("--priority", type=int, metavar="N", help="Jobs of higher priority start first (default 0).")
@click.option(
    "--lang", type=click.Choice(["python", "node", "bash", "shell"]), help="FILE is a script in this language."
)
@click.option(
    "--idempotency-key", "key", metavar="KEY", help="Submitting again with the same KEY gives the same job (for 24 h)."
)
@click.option("--detach", is_flag=True, help="Print the id of the job and leave.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the job as JSON: with --detach as it is now, else at its end."
)
def submit(**options: Unpack[Options]) -> int:
    """Submit a script or a job file (YAML or JSON) to the server, and follow it to its end.

    A script is a file that ends in .py, .js, .mjs or .sh, or has a #! line. The job runs on the server: nothing of
    this directory or environment goes with it. ARGS replace those of a job file. The exit code is the script's (124
    after a timeout). Ctrl-C ends the following, not the job.
    """
    return see_through(_submit(options), detach=options["detach"], as_json=options["as_json"])


def _submit(options: Options) -> JobView:
    """The job, as the server has stored it. Faults it finds in a job file are given the lines of the file."""
    file = read_spec_file(options["file"], language=options["lang"])
    body = {**file.document, **_changes(options, file.document)}
    try:
        return read_job(open_client().post("/jobs", body, idempotency_key=options["key"]))
    except InvalidError as error:
        raise InvalidError(error.message, faults=file.with_lines(error.faults), code=error.code) from error


def _changes(options: Options, document: Mapping[str, Json]) -> dict[str, Json]:
    """The keys of the specification that the command line sets."""
    said: dict[str, Json] = {
        "name": options["name"],
        "image": options["image"],
        "executor": options["executor"],
        "timeout": options["timeout"],
        "priority": options["priority"],
        "args": list(options["args"]) or None,
        "env": _env(options["env"], document.get("env")) if options["env"] else None,
    }
    changes: dict[str, Json] = {key: value for key, value in said.items() if value is not None}
    return {**changes, "input": parse_inputs(options["inputs"])} if options["inputs"] else changes


def _env(given: Sequence[str], before: Json) -> dict[str, Json]:
    env: dict[str, Json] = dict(before) if isinstance(before, dict) else {}
    for item in given:
        name, sign, value = item.partition("=")
        if not sign or not name:
            raise click.UsageError(f"--env {item!r} is not NAME=VALUE.")
        env[name] = value
    return env
