"""`cronium restore`: check a backup, and put it in place of the server's database."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.backup import contents_document, contents_line
from orchestrator.cli.descriptors import say
from orchestrator.cli.progress import shown_progress
from orchestrator.cli.render import escape, local_time, print_json
from orchestrator.model.upkeep import Contents

EXAMPLES = """
\b
Examples:
  cronium restore --verify nightly.db
  cronium restore --data-dir /var/lib/cronium nightly.db
"""


@click.command(name="restore", epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="The server's data directory.")
@click.option("--verify", is_flag=True, help="Check FILE and change nothing.")
@click.option("--force", is_flag=True, help="Restore where there is a database; it is kept under another name.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found or done as a JSON object.")
def restore(file: Path, data_dir: Path | None, verify: bool, force: bool, as_json: bool) -> None:
    """Check the backup FILE and put it in place of the database of a server, which must not run.

    A file that is damaged, or that is no backup of Cronium, is refused; then nothing was changed.
    """
    if verify:
        _verify(file, data_dir, as_json=as_json)
    else:
        _restore(file, data_dir, replace=force, as_json=as_json)


def _verify(file: Path, data_dir: Path | None, *, as_json: bool) -> None:
    from orchestrator.config import load_settings
    from orchestrator.maintenance import verify

    contents = verify(load_settings({"data_dir": data_dir}), file)
    if as_json:
        print_json({"file": str(file), **contents_document(contents)})
        return
    click.echo(f"{escape(str(file))} is whole: {contents_line(contents)}, {_origin(contents)}")
    _say_pending(contents)


def _restore(file: Path, data_dir: Path | None, *, replace: bool, as_json: bool) -> None:
    from orchestrator.config import load_settings
    from orchestrator.maintenance import restore as put_in_place

    with shown_progress("copying") as progress:
        done = put_in_place(load_settings({"data_dir": data_dir}), file, replace=replace, progress=progress)
    if as_json:
        print_json(
            {
                "database": str(done.database),
                "kept": None if done.kept is None else str(done.kept),
                "admin_token_works": done.admits,
                **contents_document(done.contents),
                "seconds": round(done.seconds, 3),
            }
        )
    else:
        click.echo(
            f"{escape(str(done.database))} is restored: {contents_line(done.contents)}, {_origin(done.contents)}"
        )
        if done.kept is not None:
            click.echo(f"the database that was there is kept as {escape(str(done.kept))}")
        _say_pending(done.contents)
    if not done.admits:
        say(
            f"cronium: the token in {done.database.with_name('admin.token')} is not in this backup, or there is none: "
            "put the admin.token there that the server had when the backup was made"
        )


def _origin(contents: Contents) -> str:
    if contents.stamp is None:
        return "not made by `cronium backup`, so without a seal"
    return f"made {local_time(contents.stamp.made_at)} by Cronium {contents.stamp.version}"


def _say_pending(contents: Contents) -> None:
    if contents.pending:
        click.echo(f"the next start will apply {', '.join(contents.pending)}; try it with `cronium migrate --rehearse`")
