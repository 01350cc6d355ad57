"""`python -m benchmarks.floods`: what floods of output and many watchers cost a server. Prints a table, asserts nothing."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.figures import p50, row
from benchmarks.serving import Server

SECONDS = int(os.environ.get("CRONIUM_BENCH_FLOOD_SECONDS", "60"))
WATCHERS = 200
ROUNDS = 3
FLOODS = {
    "numbered lines": "seq 1000000000000",
    "empty lines": "yes ''",
    "no newline": "cat /dev/zero",
}
CHATTY = "for n in $(seq 500); do echo $n; sleep 0.01; done"


def ask(server: Server, method: str, path: str, body: object = None) -> Mapping[str, Any]:
    connection: http.client.HTTPConnection = server.connection()
    try:
        answer = server.request(connection, method, path, body)
    finally:
        connection.close()
    assert isinstance(answer, dict)
    return answer


def submit(server: Server, shell: str) -> str:
    return str(ask(server, "POST", "/api/v3/jobs", {"shell": shell, "executor": "process"})["id"])


def ended(server: Server, job_id: str, look: Callable[[], None] = lambda: None) -> Mapping[str, Any]:
    """Wait until the job is final, and look at the server meanwhile."""
    while (job := ask(server, "GET", f"/api/v3/jobs/{job_id}"))["finished_at"] is None:
        look()
        time.sleep(0.1)
    return job


def seconds(job: Mapping[str, Any]) -> float:
    begun, over = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (over - begun).total_seconds()


def spooled(data: Path) -> int:
    total = 0
    for path in (data / "spool").glob("*/output*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # freed just now
    return total


def bench_flood(server: Server, name: str, command: str) -> None:
    ended(server, submit(server, "echo warm"))
    before = server.rss_megabytes()
    grown, spool, others = [0.0], [0], []
    flood = submit(server, f"exec timeout {SECONDS} {command}")
    due = time.monotonic() + 1

    def look() -> None:
        nonlocal due
        grown.append(server.rss_megabytes() - before)
        spool.append(spooled(server.data))
        if time.monotonic() >= due:
            begun = time.perf_counter()
            ended(server, submit(server, "echo x"))
            others.append((time.perf_counter() - begun) * 1000)
            due = time.monotonic() + 1

    job = ended(server, flood, look)
    lines = job["log"]["lines"] + job["log"]["omitted_lines"]
    row(f"flood of {SECONDS} s, {name}: RSS growth", f"{max(grown):.0f} MB", "", "< 100 MB")
    row("  spool at most", f"{max(spool) / 1e6:.0f} MB", "", "<= 68 MB")
    row("  lines taken", f"{lines / seconds(job):,.0f}/s", f"{lines:,} in {seconds(job):.1f} s")
    slowest = max(others, default=0)
    row("  another job meanwhile, submit to seen final", f"{p50(others or [0]):.0f} ms", f"slowest {slowest:.0f} ms")


async def watch(session: aiohttp.ClientSession, server: Server, job_id: str) -> int:
    count = 0
    async with session.ws_connect(f"http://{server.host}/ws/jobs/{job_id}/logs", max_msg_size=0) as socket:
        async for message in socket:
            said = json.loads(message.data)
            count += len(said.get("lines", ()))
    return count


async def watched(server: Server) -> tuple[Mapping[str, Any], int]:
    """A job with its watchers: the job, and how many lines all of them were sent."""
    job_id = submit(server, CHATTY)
    headers = {"Authorization": f"Bearer {server.token}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        counts = await asyncio.gather(*(watch(session, server, job_id) for _ in range(WATCHERS)))
    return ended(server, job_id), sum(counts)


def bench_watchers(server: Server) -> None:
    alone, together, sent = [], [], []
    for _ in range(ROUNDS):
        alone.append(seconds(ended(server, submit(server, CHATTY))))
        job, count = asyncio.run(watched(server))
        together.append(seconds(job))
        sent.append(count / WATCHERS / job["log"]["lines"])
    ratio = p50(together) / p50(alone)
    row(f"a job of 500 lines, {WATCHERS} watchers", f"{p50(together):.2f} s", f"alone {p50(alone):.2f} s: {ratio:.2f}x")
    row("  lines that each was sent", f"{min(sent):.0%}", "", "100%")


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    row("what", "figure", "beside", "aim")
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory) / "data")
        try:
            bench_watchers(server)
            for name, command in FLOODS.items():
                bench_flood(server, name, command)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
