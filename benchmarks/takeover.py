"""
How soon a server goes on with the jobs of one that was killed with `kill -9`, on one Postgres and one machine.

`python -m benchmarks.takeover`; CRONIUM_BENCH_KILLS says how many servers are killed (25). Each has a job that writes a
number and calls the runtime API all the time; it goes on from the kill of its server to its end at the heir.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.figures import p50, percentile, row
from benchmarks.floods import ask, ended, submit
from benchmarks.rows import new_database
from benchmarks.serving import Server
from tests.servers import running_postgres

KILLS = int(os.environ.get("CRONIUM_BENCH_KILLS", "25"))
AT_ONCE = 5
BEGIN_SECONDS = 60.0
LEASE_SECONDS = 15
RENEWAL_SECONDS = 5.0
# Numbers and calls until it is told to stop; then the longest that it waited for a call.
COUNTING = """
import cronium, time
n, longest = 0, 0.0
print(n, flush=True)
while True:
    begun = time.monotonic()
    stop = cronium.get_variable("stop")
    cronium.set_variable("n", n)
    longest = max(longest, time.monotonic() - begun)
    n += 1
    print(n, flush=True)
    if stop == ROUND:
        break
    time.sleep(0.05)
cronium.output({"numbers": n + 1, "longest": longest})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One kill: seconds until the job was adopted, the longest call of its script, and whether nothing was lost."""

    seconds: float
    longest_call: float
    is_whole: bool


def new_server(work: Path, name: str, token: str | None, url: str) -> Server:
    data = work / name
    data.mkdir(mode=0o700)
    if token is not None:
        (data / "admin.token").write_text(token)
    return Server(data, DATABASE_URL=url)


def counting(server: Server, number: int) -> str:
    """A job that has begun."""
    spec = {"python": COUNTING.replace("ROUND", str(number)), "executor": "process"}
    job_id = str(ask(server, "POST", "/api/v3/jobs", spec)["id"])
    deadline = time.monotonic() + BEGIN_SECONDS
    while not ask(server, "GET", f"/api/v3/jobs/{job_id}/logs")["lines"]:
        if time.monotonic() > deadline:
            raise SystemExit(f"{job_id} has not begun within {BEGIN_SECONDS:g} s")
        time.sleep(0.05)
    return job_id


def adopted_at(heir: Server, job_id: str) -> datetime | None:
    entries = ask(heir, "GET", f"/api/v3/jobs/{job_id}/journal")["entries"]
    times = [datetime.fromisoformat(entry["ts"]) for entry in entries if entry["kind"] == "adopted"]
    return times[0] if times else None


def kill_some(heir: Server, work: Path, url: str, number: int, amount: int) -> list[Taken]:
    """Kill servers at any moment of their renewals, and see their jobs to their ends."""
    killed: dict[str, datetime] = {}
    victims = [new_server(work, f"dead-{number}-{each}", heir.token, url) for each in range(amount)]
    jobs = [(victim, counting(victim, number)) for victim in victims]
    for victim, job_id in jobs:
        time.sleep(random.uniform(0, RENEWAL_SECONDS))
        victim.process.kill()
        killed[job_id] = datetime.now(UTC)
        victim.process.wait(30)
    adopted: dict[str, datetime] = {}
    while len(adopted) < len(killed):
        adopted |= {job_id: at for job_id in killed if (at := adopted_at(heir, job_id)) is not None}
        time.sleep(0.5)
    time.sleep(1)  # for calls that were made meanwhile
    stop = f'import cronium\ncronium.set_variable("stop", {number})'
    ended(heir, str(ask(heir, "POST", "/api/v3/jobs", {"python": stop, "executor": "process"})["id"]))
    return [taken(heir, ended(heir, job_id), (adopted[job_id] - killed[job_id]).total_seconds()) for job_id in killed]


def taken(heir: Server, job: Any, seconds: float) -> Taken:
    output = job["output"] or {"numbers": 0, "longest": 0.0}
    lines = [line["text"] for line in all_lines(heir, job["id"]) if line["stream"] == "stdout"]
    whole = job["status"] == "succeeded" and lines == [str(number) for number in range(output["numbers"])]
    return Taken(seconds=seconds, longest_call=output["longest"], is_whole=whole)


def all_lines(server: Server, job_id: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    while page := ask(server, "GET", f"/api/v3/jobs/{job_id}/logs?limit=5000&after={len(lines)}")["lines"]:
        lines += page
    return lines


def bench_takeover() -> None:
    found: list[Taken] = []
    with running_postgres() as postgres, tempfile.TemporaryDirectory() as work:
        url = new_database(postgres)
        heir = new_server(Path(work), "heir", None, url)
        ended(heir, submit(heir, "echo warm"))
        try:
            while len(found) < KILLS:
                found += kill_some(heir, Path(work), url, len(found) + 1, min(AT_ONCE, KILLS - len(found)))
        finally:
            heir.stop()
    times, calls = [each.seconds for each in found], [each.longest_call for each in found]
    aim = f"< {LEASE_SECONDS + RENEWAL_SECONDS:g} s"
    row(f"take-over after {len(found)} kills", f"p50 {p50(times):.1f} s", f"the lease: {LEASE_SECONDS} s")
    row("", f"p99 {percentile(times, 99):.1f} s", f"the longest {max(times):.1f} s", aim)
    row(
        "the longest call of a script meanwhile", f"p50 {p50(calls):.1f} s", f"the longest {max(calls):.1f} s", "< 30 s"
    )
    row("jobs with every line once and their own end", f"{sum(each.is_whole for each in found)} of {len(found)}")


if __name__ == "__main__":
    bench_takeover()
