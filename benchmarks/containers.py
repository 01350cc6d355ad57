"""
Docker jobs beside `docker run` and beside bare calls of the engine's API: one after another, many at once, 200 that print.

`python -m benchmarks.containers`
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp

from benchmarks.figures import interleaved, p50, percentile, row
from benchmarks.floods import ask, ended
from benchmarks.jobs import cpu_seconds
from benchmarks.serving import IMAGE, Server

ENGINE = "/var/run/docker.sock"
ROUNDS = int(os.environ.get("CRONIUM_BENCH_ROUNDS", "15"))
AT_ONCE = 8
JOBS = 80
PRINTING = int(os.environ.get("CRONIUM_BENCH_PRINTING", "200"))
PRINT_SECONDS = 20
NOOP: dict[str, object] = {"shell": "true", "executor": "docker", "image": IMAGE, "pull": "never", "warm": False}
TELLING = "while [ ! -e /tmp/over ]; do date +%s%N; sleep 1; done"
LOCKED: dict[str, object] = {
    "NetworkMode": "none",
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "ReadonlyRootfs": True,
    "Init": True,
    "Memory": 512 * 1024 * 1024,
    "MemorySwap": 512 * 1024 * 1024,
    "NanoCpus": 1_000_000_000,
    "PidsLimit": 256,
    "Tmpfs": {"/tmp": "size=64m", "/workspace": "exec,size=256m"},
}


class Bare(http.client.HTTPConnection):
    """The engine's API without anything around it."""

    def __init__(self) -> None:
        super().__init__("docker", timeout=120)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(ENGINE)

    def call(self, method: str, path: str, body: object = None) -> bytes:
        headers = {"Content-Type": "application/json"}
        self.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.getresponse()
        said = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"the engine refuses {method} {path}: {said.decode()}")
        return said

    def noop(self) -> None:
        """What any executor has to ask for: create, start, wait, remove."""
        name = f"cronium-bench-{uuid.uuid4().hex}"
        body = {"Image": IMAGE, "Cmd": ["true"], "User": "65534:65534", "HostConfig": LOCKED}
        self.call("POST", f"/containers/create?name={name}", body)
        self.call("POST", f"/containers/{name}/start")
        self.call("POST", f"/containers/{name}/wait")
        self.call("DELETE", f"/containers/{name}?v=1")


def docker_run() -> None:
    command = ["docker", "run", "--rm", "--network", "none", IMAGE, "true"]
    pid = os.posix_spawnp("docker", command, os.environ)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("docker run failed")


def bench_cold(server: Server) -> None:
    connection, bare = server.connection(), Bare()
    server.job(connection, NOOP)
    ours, run, calls = interleaved(lambda: server.job(connection, NOOP), docker_run, bare.noop, rounds=ROUNDS)
    row(
        "no-op container, submit to finished",
        f"{p50(ours):.0f} ms",
        f"docker run --rm {p50(run):.0f} ms: {p50(ours) / p50(run):.2f}x",
        "<= 1.1x",
    )
    row("  beside bare API calls", "", f"{p50(calls):.0f} ms: {p50(ours) / p50(calls):.2f}x", "<= 1.15x")


def bench_rate(server: Server) -> None:
    rates, floors, costs = [], [], []
    for _ in range(3):  # in turn, so that a noisy moment hits both
        before = cpu_seconds(server.process.pid)
        rates.append(JOBS / _seconds(lambda _: server.job(server.connection(), NOOP)))
        costs.append((cpu_seconds(server.process.pid) - before) / JOBS * 1000)
        floors.append(JOBS / _seconds(lambda _: Bare().noop()))
    rate, floor = p50(rates), p50(floors)
    row(
        f"no-op containers, {AT_ONCE} at a time",
        f"{rate:.1f}/s",
        f"bare API calls {floor:.1f}/s: {rate / floor:.2f} of it",
        ">= 0.90",
    )
    row("  CPU of the server for each", f"{p50(costs):.1f} ms")


def _seconds(work: object) -> float:
    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as clients:
        for _ in clients.map(work, range(JOBS)):  # type: ignore[arg-type]
            pass  # raises what a client raised
    return time.perf_counter() - begun


async def listen(session: aiohttp.ClientSession, server: Server, job_id: str, late: list[float]) -> None:
    """Follow one job and note how old each of its lines, which say when they were printed, is when it arrives."""
    async with session.ws_connect(f"http://{server.host}/ws/jobs/{job_id}/logs", max_msg_size=0) as ws:
        async for message in ws:
            now = time.time_ns()
            lines = json.loads(message.data).get("lines", ())
            late += [(now - int(line["text"])) / 1e6 for line in lines if line["text"].isdigit()]


async def listen_to_all(server: Server, jobs: list[str], late: list[float]) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        listening = asyncio.gather(*(listen(session, server, job_id, late) for job_id in jobs))
        await asyncio.sleep(PRINT_SECONDS)
        late.clear()  # what came while they were starting, or had been printed before we listened
        await asyncio.sleep(PRINT_SECONDS)
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


def bench_printing(server: Server) -> None:
    spec = {**NOOP, "shell": TELLING, "memory": "16MB", "cpus": 0.1}
    jobs = [str(ask(server, "POST", "/api/v3/jobs", spec)["id"]) for _ in range(PRINTING)]
    begun = time.monotonic()
    while sum(1 for job_id in jobs if ask(server, "GET", f"/api/v3/jobs/{job_id}")["started_at"]) < PRINTING:
        if time.monotonic() > begun + 300:
            raise SystemExit(f"{PRINTING} containers were not started within five minutes")
        time.sleep(1)
    late: list[float] = []
    asyncio.run(listen_to_all(server, jobs, late))
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    threads = status.split("Threads:")[1].split()[0]
    row(
        f"{PRINTING} containers that print a line a second",
        f"p99 {percentile(late, 99):.0f} ms",
        f"p50 {p50(late):.0f} ms, {len(late)} lines",
        "p99 < 250 ms",
    )
    row("  threads and RSS of the server", f"{threads}, {server.rss_megabytes():.0f} MB")
    for job_id in jobs:
        ask(server, "POST", f"/api/v3/jobs/{job_id}/cancel")
    for job_id in jobs:
        ended(server, job_id)


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {ROUNDS} rounds, medians\n")
    row("what", "figure", "floor in the same run", "aim")
    settings = {"CRONIUM_RATE_LIMIT_ENABLED": "false", "CRONIUM_GRACE_SECONDS": "0"}
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory) / "data", CRONIUM_DOCKER_JOBS=str(AT_ONCE), **settings)
        try:
            bench_cold(server)
            bench_rate(server)
        finally:
            server.stop()
        server = Server(Path(directory) / "printing", CRONIUM_DOCKER_JOBS=str(PRINTING), **settings)
        try:
            bench_printing(server)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
