"""`cronium serve`: the server."""

from __future__ import annotations

import sys
from pathlib import Path

import click

EXAMPLES = """
\b
Examples:
  cronium serve
  cronium serve --port 0 --data-dir ./data
  cronium serve --config /etc/cronium/cronium.yaml
"""


@click.command(name="serve", epilog=EXAMPLES)
@click.option("--host", metavar="ADDRESS", help="Address to listen on (default 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (default 8080; 0: a free one).")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Where everything is kept.")
@click.option("--log-format", type=click.Choice(["json", "text"]), help="Format of the server's own log on stderr.")
@click.option("--config", type=click.Path(path_type=Path), help="Read this file, not the project's cronium.yaml.")
def serve(
    host: str | None, port: int | None, data_dir: Path | None, log_format: str | None, config: Path | None
) -> None:
    """Run the server: jobs over HTTP, live logs, everything kept in one directory.

    All other settings come from the environment and files; see `cronium config show --origin`.
    Other commands of the same account find it by themselves. Jobs survive its end, even kill -9.
    """
    import asyncio

    from orchestrator.config import load_settings
    from orchestrator.server import serve as serve_until_stopped

    flags = {"host": host, "port": port, "data_dir": data_dir, "log_format": log_format}
    settings = load_settings(flags, config=config)
    if sys.stderr.isatty():  # a log that programs read has one object a line, and says the same
        click.echo(f"cronium: data in {settings.data_dir}, scripts run by default with: {settings.executor}", err=True)
    asyncio.run(serve_until_stopped(settings))
