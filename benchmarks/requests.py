"""
Requests per second to a list of jobs, over one connection: without limits, and counted in memory or on a server.

`python -m benchmarks.requests`
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import WINDOW_SECONDS, WINDOWS, row
from benchmarks.serving import Server
from tests.servers import MissingServerError, running_redis

JOBS = 50
PLENTY = "1000000"  # as many as the setting allows


def bench_requests(work: Path) -> None:
    with ExitStack() as stack:
        limited = {"CRONIUM_RATE_LIMIT_PER_MINUTE": PLENTY}
        settings = {"without limits": {"CRONIUM_RATE_LIMIT_ENABLED": "false"}, "counted in memory": limited}
        try:
            redis = stack.enter_context(running_redis())
        except MissingServerError as error:
            row("GET /api/v3/jobs, counted in Valkey", "not measured", str(error))
        else:
            settings["counted in Valkey"] = {**limited, "VALKEY_URL": redis.url, "CRONIUM_RATE_LIMIT_BACKEND": "valkey"}
        servers: dict[str, Server] = {}
        for number, (what, variables) in enumerate(settings.items()):
            servers[what] = Server(work / f"requests{number}", **variables)
            stack.callback(servers[what].stop)
        rates = measure(servers)
    floor = rates["without limits"]
    for what, rate in rates.items():
        row(
            f"GET /api/v3/jobs, {JOBS} jobs, {what}",
            f"{rate:,.0f}/s",
            f"without limits {floor:,.0f}/s: {rate / floor:.2f}x",
        )


def measure(servers: dict[str, Server]) -> dict[str, float]:
    """The median of each, taken in turn, so that a noisy moment hits all of them."""
    connections = {what: server.connection() for what, server in servers.items()}
    for what, server in servers.items():
        for _ in range(JOBS):
            server.job(connections[what], {"shell": "true"})
    taken: dict[str, list[float]] = {what: [] for what in servers}
    for _ in range(WINDOWS):
        for what, server in servers.items():
            started, done = time.perf_counter(), 0
            while time.perf_counter() < started + WINDOW_SECONDS:
                server.request(connections[what], "GET", "/api/v3/jobs")
                done += 1
            taken[what].append(done / (time.perf_counter() - started))
    return {what: statistics.median(rates) for what, rates in taken.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        bench_requests(Path(directory))


if __name__ == "__main__":
    main()
