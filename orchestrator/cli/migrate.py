"""`cronium migrate`: bring the server's database up to date, or try it on a copy first."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.failures import EXIT_FAILURE, say_failure
from orchestrator.cli.progress import shown_progress
from orchestrator.cli.render import duration, escape, print_json, size, table
from orchestrator.model.json import Json
from orchestrator.model.upkeep import AppliedStep, Rehearsal

EXAMPLES = """
\b
Examples:
  cronium migrate --rehearse
  cronium migrate --data-dir /var/lib/cronium
"""
NOTHING = "the database is up to date: there is nothing to apply"


@click.command(name="migrate", epilog=EXAMPLES)
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="The server's data directory.")
@click.option("--rehearse", is_flag=True, help="Apply to a copy, say what happens, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as a JSON object.")
def migrate(data_dir: Path | None, rehearse: bool, as_json: bool) -> int:
    """Apply the migrations that the server's database still needs, after a backup beside it (of Postgres: make one).

    A server does the same when it starts, without the backup. A rehearsal may be run beside an older server that works;
    on Postgres, where it is a transaction that is rolled back, that server waits meanwhile.
    """
    return _rehearse(data_dir, as_json=as_json) if rehearse else _migrate(data_dir, as_json=as_json)


def _migrate(data_dir: Path | None, *, as_json: bool) -> int:
    from orchestrator.config import load_settings
    from orchestrator.maintenance import migrate as apply

    with shown_progress("backing up") as progress:
        done = apply(load_settings({"data_dir": data_dir}), progress=progress)
    if as_json:
        print_json({"applied": _documents(done.steps), "backup": None if done.backup is None else str(done.backup)})
        return 0
    if not done.steps:
        click.echo(NOTHING)
        return 0
    _print_steps("applied", done.steps)
    if done.backup is not None:
        click.echo(f"a backup from before is {escape(str(done.backup))}")
    return 0


def _rehearse(data_dir: Path | None, *, as_json: bool) -> int:
    from orchestrator.config import load_settings
    from orchestrator.maintenance import rehearse

    with shown_progress("copying") as progress:
        done = rehearse(load_settings({"data_dir": data_dir}), progress=progress)
    if as_json:
        print_json(
            {
                "ok": done.failure is None,
                "applied": _documents(done.steps),
                "failure": done.failure,
                "rows": {name: [before, after] for name, before, after in _changes(done)},
                "copy_bytes": done.copy_bytes,
                "copy_seconds": None if done.copy_seconds is None else round(done.copy_seconds, 3),
            }
        )
    else:
        _print_rehearsal(done)
    return 0 if done.failure is None else EXIT_FAILURE


def _print_rehearsal(done: Rehearsal) -> None:
    if not done.steps and done.failure is None:
        click.echo(NOTHING)
        return
    if done.copy_bytes is None or done.copy_seconds is None:
        click.echo("tried in one transaction, which was rolled back; the database is not changed")
    else:
        click.echo(
            f"copied {size(done.copy_bytes)} in {duration(done.copy_seconds)}; the database itself is not changed"
        )
    _print_steps("would apply", done.steps)
    rows = [{"TABLE": name, "BEFORE": _shown(before), "AFTER": _shown(after)} for name, before, after in _changes(done)]
    click.echo(table(rows, ("TABLE", "BEFORE", "AFTER")), nl=False)
    if done.failure is None:
        click.echo("the copy is whole after it" if done.copy_bytes is not None else "all of them succeed")
    else:
        say_failure(done.failure, "stay with the version that you run, and report this fault")


def _print_steps(what: str, steps: tuple[AppliedStep, ...]) -> None:
    for step in steps:
        click.echo(f"{what} {step.number:04d}_{escape(step.name)} in {duration(step.seconds)}")


def _documents(steps: tuple[AppliedStep, ...]) -> list[Json]:
    return [{"number": step.number, "name": step.name, "seconds": round(step.seconds, 3)} for step in steps]


def _changes(done: Rehearsal) -> list[tuple[str, int | None, int | None]]:
    """Each table with its number of rows before and after; None where there is no such table."""
    return [(name, done.before.get(name), done.after.get(name)) for name in sorted({*done.before, *done.after})]


def _shown(count: int | None) -> str:
    return "-" if count is None else str(count)
