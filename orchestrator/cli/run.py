"""`cronium run`: a script or a workflow file, here and now, with no server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

WORKFLOW_ENDINGS = (".yaml", ".yml", ".json")

EXAMPLES = """
\b
Examples:
  cronium run backup.py -- --full
  cronium run nightly.yaml --input day=monday
  cronium run report.py --timeout 5m --json > job.json
  cat flow.yaml | cronium run -
"""


@click.command(name="run", epilog=EXAMPLES, context_settings={"ignore_unknown_options": False})
@click.argument("file", metavar="FILE|-")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--input", "inputs", multiple=True, metavar="K=V|@FILE|JSON", help="Input of the script or workflow.")
@click.option("--lang", type=click.Choice(["python", "node", "bash", "shell"]), help="Language of FILE, or of stdin.")
@click.option("--image", metavar="IMAGE", help="Run in a container of this image instead of here.")
@click.option("--timeout", metavar="DURATION", help="End the script after this time (90s, 5m, 2h).")
@click.option("--artifacts", metavar="DIR", help="Copy what it leaves in $CRONIUM_ARTIFACTS to DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON on stdout; its output goes to stderr.")
@click.option("--ephemeral", is_flag=True, help="Keep nothing: no history, no variables.")
@click.option("--no-progress", is_flag=True, help="No progress display, also on a terminal.")
def run(
    file: str,
    args: tuple[str, ...],
    inputs: tuple[str, ...],
    lang: str | None,
    image: str | None,
    timeout: str | None,
    artifacts: str | None,
    as_json: bool,
    ephemeral: bool,
    no_progress: bool,
) -> None:
    """Run a script or a workflow file here, with no server.

    A script runs in place, in this directory and environment, with the python3, node or bash of your PATH; its
    stdout is stdout, its exit code the exit code. Of a workflow the run is printed as JSON; all else is on stderr.
    """
    from orchestrator.cli.inputs import parse_inputs
    from orchestrator.cli.run_local import RunRequest, execute

    request = RunRequest(
        file=file,
        args=args,
        given=parse_inputs(inputs),
        language=lang,
        image=image,
        timeout=timeout,
        artifacts=artifacts,
        as_json=as_json,
        ephemeral=ephemeral,
        progress=not no_progress and sys.stderr.isatty(),
        is_workflow=lang is None and (file == "-" or Path(file).suffix.lower() in WORKFLOW_ENDINGS),
    )
    code = execute(request)
    # Everything is stored and closed; what the interpreter would still do on its way out takes 20 ms.
    os._exit(code)
