"""`cronium cancel`: end jobs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from orchestrator.cli.answers import find_job_id, job_path, read_job
from orchestrator.cli.client import UNREACHABLE, open_client
from orchestrator.cli.failures import report
from orchestrator.cli.render import print_json
from orchestrator.errors import CroniumError

EXAMPLES = """
\b
Examples:
  cronium cancel last
  cronium cancel job_01jd3x5r7m8k2n4p6q9s0t1v2w job_01jd3x5sb2f4h6k8m0p2r4t6v8
"""


@click.command(name="cancel", epilog=EXAMPLES)
@click.argument("job", metavar="JOB|last...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the jobs as a JSON array.")
def cancel(job: tuple[str, ...], as_json: bool) -> int:
    """End jobs: TERM, after a grace period KILL, in whatever state they are.

    Returns when the wish is noted; `cronium watch` shows the end. A job that has ended already stays as it is.
    """
    return cancel_jobs(job, as_json=as_json)


def cancel_jobs(words: Sequence[str], *, as_json: bool) -> int:
    """Ask for the end of each job; 1 when one of them could not be asked for, which is said on stderr."""
    client, asked, failed = open_client(), [], 0
    for word in words:
        try:
            asked.append(read_job(client.post(job_path(find_job_id(client, word), "cancel"))))
        except CroniumError as error:
            if error.code in UNREACHABLE:
                raise
            failed = report(error)
            continue
        if not as_json:
            job = asked[-1]
            click.echo(f"{job.id} {job.status if job.is_final else 'is being cancelled'}")
    if as_json:
        print_json([dict(job.document) for job in asked])
    return 1 if failed else 0
