"""`cronium config`: which settings are in force, where each comes from, and which there are."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orchestrator.cli.render import escape, print_json, width
from orchestrator.model.json import Json

UNSET = "(unset)"

EXAMPLES = """
\b
Examples:
  cronium config show --origin
  cronium config reference
"""
SHOW_EXAMPLES = """
\b
Examples:
  cronium config show
  cronium config show --origin --json
  cronium config show --config ./staging.yaml
"""
REFERENCE_EXAMPLES = """
\b
Examples:
  cronium config reference
"""
SCHEMA_EXAMPLES = """
\b
Examples:
  cronium config schema > cronium.schema.json
"""


@click.group(name="config", epilog=EXAMPLES)
def config() -> None:
    """Show the settings of the server.

    A flag wins over the environment (CRONIUM_*, DATABASE_URL, VALKEY_URL), that over cronium.yaml of the project, that
    over config.yaml of the account, that over the default.
    """


@config.command(name="show", epilog=SHOW_EXAMPLES)
@click.option("--origin", is_flag=True, help="Say of each value where it comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Read this file, not the project's.")
def show(origin: bool, as_json: bool, file: Path | None) -> None:
    """Print every setting as `cronium serve` would have it here, passwords masked."""
    from orchestrator.config import load_settings
    from orchestrator.config.listing import effective

    rows = list(effective(load_settings({}, config=file)))
    if as_json:
        document: dict[str, Json] = {
            row.key: {"value": row.value, "origin": row.origin} if origin else row.value for row in rows
        }
        print_json(document)
        return
    values = [escape(_text(row.value)) for row in rows]
    key_width = max(len(row.key) for row in rows)
    value_width = max(width(value) for value in values)
    for row, value in zip(rows, values, strict=True):
        end = f"{' ' * (value_width - width(value))}  {escape(row.origin)}" if origin else ""
        click.echo(f"{row.key:<{key_width}} = {value}{end}")


@config.command(name="reference", epilog=REFERENCE_EXAMPLES)
def reference() -> None:
    """Print all settings there are, their variables, defaults and meanings, as a Markdown table."""
    from orchestrator.config.listing import settings_table

    sys.stdout.write(settings_table())


@config.command(name="schema", epilog=SCHEMA_EXAMPLES)
def schema() -> None:
    """Print the JSON Schema of cronium.yaml, for editors."""
    from orchestrator.config import ServerSettings

    print_json(ServerSettings.model_json_schema())


def _text(value: Json) -> str:
    if value is None:
        return UNSET
    return str(value).lower() if isinstance(value, bool) else str(value)
