"""`cronium doctor`: what is available on this machine, and why."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.failures import EXIT_FAILURE
from orchestrator.cli.render import escape, paint, print_json, wants_colour

COLOURS = {"ok": "green", "no": "dim", "bad": "red"}

EXAMPLES = """
\b
Examples:
  cronium doctor
  cronium doctor --json
"""


@click.command(name="doctor", epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as a JSON object.")
def doctor(as_json: bool) -> int:
    """Say what is available on this machine and why: executors, interpreters, server, directories, SDKs.

    `ok` can be used, `no` is not there, `bad` should be looked at. The exit code is 0 when the default executor works,
    else 1.
    """
    from orchestrator.cli.checkup import examine

    found = examine()
    if as_json:
        print_json(
            {
                "default_executor": found.executor,
                "why": found.why,
                "works": found.works,
                "checks": [
                    {"name": check.name, "state": check.state, "detail": check.detail} for check in found.checks
                ],
            }
        )
        return 0 if found.works else EXIT_FAILURE
    colour = wants_colour(sys.stdout)
    click.echo(f"default executor: {found.executor or 'unknown'} ({escape(found.why)})\n")
    for check in found.checks:
        state = f"{check.state:<3}"
        click.echo(
            f"{paint(state, COLOURS[check.state]) if colour else state}  {check.name:<7}  {escape(check.detail)}"
        )
    return 0 if found.works else EXIT_FAILURE
