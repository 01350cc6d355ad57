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
  cronium doctor --clean
"""


@click.command(name="doctor", epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as a JSON object.")
@click.option("--clean", is_flag=True, help="Show what a server that was stopped or killed left behind, and ask.")
@click.option("--yes", is_flag=True, help="With --clean: delete it and do not ask.")
def doctor(as_json: bool, clean: bool, yes: bool) -> int:
    """Say what is available on this machine and why: executors, what Docker enforces, interpreters, server, SDKs.

    `ok` can be used, `no` is not there, `bad` should be looked at. The exit code is 0 when the default executor works,
    else 1. With --clean nothing of that: what is left of ended jobs is shown, and deleted when you say so.
    """
    if yes and not clean:
        raise click.UsageError("--yes goes with --clean.")
    if clean:
        from orchestrator.cli.unneeded import clean as clean_up

        return clean_up(sure=yes, as_json=as_json)
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
            f"{paint(state, COLOURS[check.state]) if colour else state}  {check.name:<8}  {escape(check.detail)}"
        )
    return 0 if found.works else EXIT_FAILURE
