"""
Container jobs that find a container waiting, beside cold ones, from submitting them to holding their first line.

`python -m benchmarks.warm`
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import p50, percentile, row
from benchmarks.serving import Server

ROUNDS = int(os.environ.get("CRONIUM_BENCH_ROUNDS", "40"))
CONTAINERS = 8
BASH, PYTHON = "cronium-job-bash:local", "cronium-job-python:local"
KINDS: dict[str, tuple[dict[str, object], int]] = {
    "Bash": ({"bash": "echo x", "image": BASH}, 60),
    "Python": ({"python": "print('x', flush=True)", "image": PYTHON}, 90),
}
MEGABYTE = 1024 * 1024


def bench_warm(work: Path) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        row("warm starts", "not measured", "no Docker daemon answers")
        return
    server = Server(work / "warm", CRONIUM_WARM_CONTAINERS=str(CONTAINERS), CRONIUM_RATE_LIMIT_ENABLED="false")
    try:
        _bench_starts(server)
        _bench_memory(server)
    finally:
        server.stop()


def _bench_starts(server: Server) -> None:
    connection = server.connection()
    warm: dict[str, list[float]] = {kind: [] for kind in KINDS}
    cold: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for kind in list(KINDS) * 4:
        _first_line(server, connection, KINDS[kind][0])
    for _ in range(ROUNDS):  # in turn, so that a noisy moment hits all of them
        for kind, (spec, _) in KINDS.items():
            _wait_for_containers(server, connection)
            warm[kind].append(_first_line(server, connection, spec))
            cold[kind].append(_first_line(server, connection, {**spec, "warm": False}))
    hits = _metric(server, connection, 'cronium_warm_starts_total{result="hit"}')
    for kind, (_, aim) in KINDS.items():
        row(
            f"submit to first line, {kind} in a container that waited",
            f"{p50(warm[kind]):.0f} ms",
            f"cold {p50(cold[kind]):.0f} ms; p99 {percentile(warm[kind], 99):.0f}, cold {percentile(cold[kind], 99):.0f} ms",
            f"< {aim} ms",
        )
    row("  found one waiting", f"{hits:.0f} times", f"of {2 * ROUNDS} measured and {4 * len(KINDS)} before")


def _bench_memory(server: Server) -> None:
    """What one that waits holds: its processes, and what the engine keeps for it (one shim each)."""
    _wait_for_containers(server, server.connection())
    found = subprocess.run(
        ["docker", "ps", "-q", "--no-trunc", "--filter", "name=cronium-warm-"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    inside, shims = [], []
    for container in found:
        lines = subprocess.run(
            ["docker", "top", container, "-o", "pid,rss"], capture_output=True, text=True, check=False
        ).stdout.splitlines()[1:]
        inside.append(sum(_own(int(line.split()[0])) for line in lines) / MEGABYTE)
        shim = subprocess.run(
            ["pgrep", "-f", f"containerd-shim.*{container}"], capture_output=True, text=True, check=False
        ).stdout.split()
        shims.append(sum(_own(int(pid)) for pid in shim) / MEGABYTE)
    row("memory of one that waits", f"{p50(inside):.1f} MB", f"and {p50(shims):.1f} MB of its shim, in {len(found)}")


def _own(pid: int) -> int:
    """Bytes that no other process shares, with its share of the others, see proc(5)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.split("Pss:")[1].split()[0]) * 1024


def _first_line(server: Server, connection: http.client.HTTPConnection, spec: dict[str, object]) -> float:
    """From sending the job to holding its first line, followed live; returns when the job has ended."""
    begun = time.perf_counter()
    job: Any = server.request(connection, "POST", "/api/v3/jobs", {**spec, "executor": "docker", "pull": "never"})
    follow = server.connection()
    headers = {"Authorization": f"Bearer {server.token}", "Accept": "application/x-ndjson"}
    follow.request("GET", f"/api/v3/jobs/{job['id']}/logs?follow=1", headers=headers)
    answer = follow.getresponse()
    while b'"stdout"' not in (line := answer.readline()):
        if not line:
            raise SystemExit("a job ended without a line: run the server by hand to see why")
    taken = (time.perf_counter() - begun) * 1000
    answer.read()
    follow.close()
    return taken


def _wait_for_containers(server: Server, connection: http.client.HTTPConnection) -> None:
    deadline = time.monotonic() + 60
    while _metric(server, connection, "cronium_warm_containers") < CONTAINERS:
        if time.monotonic() > deadline:
            raise SystemExit("no containers wait: run the server by hand to see why")
        time.sleep(0.05)
    time.sleep(0.1)


def _metric(server: Server, connection: http.client.HTTPConnection, name: str) -> float:
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {server.token}"})
    text = connection.getresponse().read().decode()
    return float(next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")))


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {ROUNDS} rounds\n")
    row("what", "figure", "beside", "aim")
    with tempfile.TemporaryDirectory() as directory:
        bench_warm(Path(directory))


if __name__ == "__main__":
    main()
