"""`cronium watch`: what a job does, as it does it, and how it ended."""

from __future__ import annotations

import click

from orchestrator.cli.answers import exit_code, find_job_id
from orchestrator.cli.client import open_client
from orchestrator.cli.output import LineWriter
from orchestrator.cli.watching import watch_job

EXAMPLES = """
\b
Examples:
  cronium watch job_01jd3x5r7m8k2n4p6q9s0t1v2w
  cronium watch last
"""


@click.command(name="watch", epilog=EXAMPLES)
@click.argument("job", metavar="JOB|last")
@click.option("--after", type=click.IntRange(0), default=0, metavar="N", help="Begin after line N.")
@click.option("--timestamps", is_flag=True, help="Put its time before each line.")
@click.option("--json", "as_json", is_flag=True, help="Print each message of the server as a line of JSON.")
def watch(job: str, after: int, timestamps: bool, as_json: bool) -> int:
    """Follow a job to its end: state, output, summary.

    Its stdout is stdout; its stderr and what Cronium says are on stderr. Exits with the exit code of the script (124
    after a timeout, 1 where there is none). Ctrl-C ends the watching, not the job.
    """
    job_id = find_job_id(open_client(), job)
    return exit_code(watch_job(job_id, LineWriter(timestamps=timestamps), after=after, as_json=as_json))
