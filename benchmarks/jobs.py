"""
Process jobs through the whole of a server: how many per second, what each costs, and what many at once hold.

`python -m benchmarks.jobs`
"""

from __future__ import annotations

import http.client
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.figures import p50, row
from benchmarks.serving import Server

JOBS = int(os.environ.get("CRONIUM_BENCH_JOBS", "600"))
AT_ONCE = 16
ROUNDS = 3
CROWDS = (0, 100, 500)
WATCH_SECONDS = 5.0
TICKS = os.sysconf("SC_CLK_TCK")
UNLIMITED = {"CRONIUM_RATE_LIMIT_ENABLED": "false"}


def bench_jobs(work: Path) -> None:
    server = Server(work / "rate", CRONIUM_PROCESS_JOBS=str(AT_ONCE), **UNLIMITED)
    try:
        _bench_rate(server, work)
    finally:
        server.stop()
    server = Server(work / "crowd", CRONIUM_PROCESS_JOBS=str(max(CROWDS)), **UNLIMITED)
    try:
        _bench_crowd(server)
    finally:
        server.stop()


def _bench_rate(server: Server, work: Path) -> None:
    script = work / "noop.sh"
    script.write_text("true\n")
    connection = server.connection()
    _run_jobs(server, connection, AT_ONCE)
    rates, floors, costs = [], [], []
    for _ in range(ROUNDS):  # in turn, so that a noisy moment hits both
        before = cpu_seconds(server.process.pid)
        rates.append(JOBS / _seconds(lambda: _run_jobs(server, connection, JOBS)))
        costs.append((cpu_seconds(server.process.pid) - before) / JOBS * 1000)
        floors.append(JOBS / _seconds(lambda: _run_bare(script, JOBS)))
    rate, floor = p50(rates), p50(floors)
    row(
        f"no-op Bash jobs, {AT_ONCE} at a time, over HTTP",
        f"{rate:.0f}/s",
        f"bare fork and exec {floor:.0f}/s: {rate / floor:.2f} of it",
        ">= 150/s",
    )
    row("  CPU of the server for each", f"{p50(costs):.1f} ms")


def _run_jobs(server: Server, connection: http.client.HTTPConnection, count: int) -> None:
    """Submit so many, by as many clients as jobs run at once, and wait until all are final."""
    shares = [count // AT_ONCE + (client < count % AT_ONCE) for client in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as clients:
        for _ in clients.map(lambda share: _submit(server, share), shares):
            pass  # raises what a client raised
    _wait(lambda: not any(_jobs(server, connection, status) for status in ("queued", "running")))
    if _jobs(server, connection, "failed"):
        raise SystemExit("a job failed: run the server by hand to see why")


def _submit(server: Server, count: int) -> None:
    connection = server.connection()
    for _ in range(count):
        server.request(connection, "POST", "/api/v3/jobs", {"bash": "true\n", "executor": "process"})
    connection.close()


def _jobs(server: Server, connection: http.client.HTTPConnection, status: str) -> bool:
    """Whether a job has this status. Not asked of /metrics: a scrape costs more than a job."""
    page: Any = server.request(connection, "GET", f"/api/v3/jobs?status={status}&limit=1")
    return bool(page["items"])


def _run_bare(script: Path, count: int) -> None:
    """The same script, as many at a time, by nothing but fork, exec and wait."""
    left, running = count, 0
    while left or running:
        while left and running < AT_ONCE:
            os.posix_spawnp("bash", ["bash", str(script)], os.environ)
            left, running = left - 1, running + 1
        os.wait()
        running -= 1


def _bench_crowd(server: Server) -> None:
    connection = server.connection()
    _run_jobs(server, connection, AT_ONCE)
    time.sleep(1)
    jobs: list[str] = []
    for crowd in CROWDS:
        while len(jobs) < crowd:
            answer: Any = server.request(connection, "POST", "/api/v3/jobs", {"shell": "sleep 3600"})
            jobs.append(answer["id"])
        _wait(lambda: len(_supervisors(server.process.pid)) == crowd)  # noqa: B023 - called here only
        time.sleep(1)
        used = _watched(server, f"{crowd} running")
        if crowd:
            row("  CPU of their supervisors meanwhile", f"{used / crowd * 1000:.2f} ms/s each")
    for job_id in jobs:
        server.request(connection, "POST", f"/api/v3/jobs/{job_id}/cancel")
    _wait(lambda: not _jobs(server, connection, "running"))


def _watched(server: Server, what: str) -> float:
    """Print what the server holds and uses; the seconds of CPU that all supervisors together use in a second."""
    supervisors = _supervisors(server.process.pid)
    before, ours = _scheduled(supervisors), cpu_seconds(server.process.pid)
    time.sleep(WATCH_SECONDS)
    used = (cpu_seconds(server.process.pid) - ours) / WATCH_SECONDS
    threads = len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))
    row(
        f"a server with {what} jobs",
        f"{server.rss_megabytes():.0f} MB",
        f"{threads} threads, {used:.1%} of a core, {len(supervisors)} supervisors",
        "threads do not grow",
    )
    return (_scheduled(supervisors) - before) / WATCH_SECONDS


def _supervisors(server: int) -> list[int]:
    """The processes below the server's zygote."""
    return [supervisor for zygote in _children(server) for supervisor in _children(zygote)]


def _children(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def _scheduled(pids: Sequence[int]) -> float:
    """Seconds on a CPU, exactly; clock ticks are too coarse for who sleeps nearly always."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU used by a process with all its threads, see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("jobs did not get there in two minutes: run the server by hand to see why")
        time.sleep(0.05)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    row("what", "figure", "beside", "aim")
    with tempfile.TemporaryDirectory() as directory:
        bench_jobs(Path(directory))


if __name__ == "__main__":
    main()
