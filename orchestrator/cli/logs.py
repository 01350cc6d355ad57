"""`cronium logs`: the output of a job."""

from __future__ import annotations

import click

from orchestrator.cli.answers import find_job, find_job_id
from orchestrator.cli.client import open_client
from orchestrator.cli.follow import follow
from orchestrator.cli.output import LineWriter
from orchestrator.cli.stored import stored_lines

EXAMPLES = """
\b
Examples:
  cronium logs job_01jd3x5r7m8k2n4p6q9s0t1v2w > output.txt
  cronium logs last --tail 20 -f
  cronium logs last --stream stderr --timestamps
"""


@click.command(name="logs", epilog=EXAMPLES)
@click.argument("job", metavar="JOB|last")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the job ends.")
@click.option("--after", type=click.IntRange(0), metavar="N", help="Begin after line N.")
@click.option("-n", "--tail", type=click.IntRange(0), metavar="N", help="Begin N lines before the end.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Only the lines of this stream.")
@click.option("--timestamps", is_flag=True, help="Put its time before each line.")
@click.option("--json", "as_json", is_flag=True, help="Print each line as a line of JSON, on stdout.")
def logs(
    job: str,
    following: bool,
    after: int | None,
    tail: int | None,
    stream: str | None,
    timestamps: bool,
    as_json: bool,
) -> None:
    """Print the output of a job.

    Its stdout goes to stdout, its stderr and what Cronium said to stderr, unchanged. The exit code is 0 however the
    job ended: `cronium watch` has that of the script.
    """
    if after is not None and tail is not None:
        raise click.UsageError("Only one of --after and --tail can say where to begin.")
    client = open_client()
    if tail is None:
        job_id, begin = find_job_id(client, job), after or 0
    else:
        found = find_job(client, job)
        job_id, begin = found.id, max(0, found.lines - tail)
    writer = LineWriter(stream=stream, timestamps=timestamps, as_json=as_json)
    if following:
        for message in follow(open_client, job_id, after=begin):
            writer.write(message.lines)
        return
    for lines in stored_lines(client, job_id, after=begin):
        writer.write(lines)
