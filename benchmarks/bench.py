"""`make bench`: what Cronium costs beside the floor of the same machine in the same run. Prints a table, asserts nothing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CRONIUM = Path(sys.executable).parent / "cronium"
IMAGE = os.environ.get("CRONIUM_BENCH_IMAGE", "cronium-debian:local")
ROUNDS = int(os.environ.get("CRONIUM_BENCH_ROUNDS", "15"))


def milliseconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def interleaved(*works: Callable[[], object], rounds: int = ROUNDS) -> list[list[float]]:
    """Time each work in turn, so that a noisy moment hits all of them."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for kept, work in zip(times, works, strict=True):
            kept.append(milliseconds(work))
    return times


def p50(times: list[float]) -> float:
    return statistics.median(times)


def row(what: str, figure: str, floor: str = "", aim: str = "") -> None:
    print(f"{what:<44} {figure:<18} {floor:<34} {aim}")


def quietly(*command: object, env: dict[str, str] | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, env=env)


def bench_command_line(work: Path) -> None:
    env = {**os.environ, "XDG_STATE_HOME": str(work / "state")}
    script = work / "noop.sh"
    script.write_text("true\n")
    version, run, floor, python = interleaved(
        lambda: quietly(CRONIUM, "--version", env=env),
        lambda: quietly(CRONIUM, "run", script, env=env),
        lambda: quietly("bash", script),
        lambda: quietly(sys.executable, "-c", "pass"),
    )
    row("cronium --version", f"{p50(version):.0f} ms", f"python -c pass {p50(python):.0f} ms", "< 150 ms")
    more = p50(run) - p50(floor)
    row(
        "cronium run of a no-op Bash script",
        f"{p50(run):.0f} ms",
        f"bash {p50(floor):.1f} ms: {more:.0f} ms more",
        "< 400 ms more",
    )


class Server:
    """A server on a fresh data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [CRONIUM, "serve", "--port", "0", "--data-dir", data],
            env={**os.environ, "CRONIUM_IMAGES__SHELL": IMAGE},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not self._ready():
            time.sleep(0.002)
        self.ready_seconds = time.perf_counter() - begun
        self.token = (data / "admin.token").read_text().strip()

    def _ready(self) -> bool:
        if not (self.data / "server.json").exists():
            return False
        self.host = json.loads((self.data / "server.json").read_text())["url"].removeprefix("http://")
        try:
            connection = http.client.HTTPConnection(self.host, timeout=5)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def rss_megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, timeout=60)

    def request(self, connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> object:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        return json.loads(connection.getresponse().read())

    def first_line(self, connection: http.client.HTTPConnection) -> float:
        """From sending the job to holding its first line, followed live."""
        begun = time.perf_counter()
        job = self.request(connection, "POST", "/api/v3/jobs", {"shell": "echo x"})
        follow = self.connection()
        follow.request(
            "GET",
            f"/api/v3/jobs/{job['id']}/logs?follow=1",  # type: ignore[index]
            headers={"Authorization": f"Bearer {self.token}", "Accept": "application/x-ndjson"},
        )
        answer = follow.getresponse()
        while b'"lines"' not in answer.readline():
            pass
        taken = (time.perf_counter() - begun) * 1000
        answer.read()
        follow.close()
        return taken

    def job(self, connection: http.client.HTTPConnection, spec: dict[str, object]) -> None:
        """Run a job to its end, followed live."""
        job = self.request(connection, "POST", "/api/v3/jobs", spec)
        follow = self.connection()
        follow.request(
            "GET",
            f"/api/v3/jobs/{job['id']}/logs?follow=1",  # type: ignore[index]
            headers={"Authorization": f"Bearer {self.token}", "Accept": "application/x-ndjson"},
        )
        last = follow.getresponse().read().splitlines()[-1]
        follow.close()
        ended = json.loads(last)
        if ended["job"]["status"] != "succeeded":
            raise SystemExit(f"a job did not succeed: {ended}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def bench_server(work: Path) -> None:
    starts = []
    for number in range(5):
        server = Server(work / f"data{number}")
        starts.append(server.ready_seconds * 1000)
        if number < 4:
            server.stop()
    row("server start to ready", f"{p50(starts):.0f} ms", "", "< 1500 ms")
    time.sleep(1)
    row("server idle RSS", f"{server.rss_megabytes():.0f} MB", "", "< 90 MB")
    connection = server.connection()
    server.first_line(connection)
    firsts, floor = [], []
    for _ in range(ROUNDS * 4):
        firsts.append(server.first_line(connection))
        floor.append(milliseconds(lambda: quietly("sh", "-c", "echo x")))
    row(
        "submit to first line, process (p50)", f"{p50(firsts):.1f} ms", f"sh -c 'echo x' {p50(floor):.1f} ms", "< 50 ms"
    )
    bench_containers(server, connection)
    server.stop()


def bench_containers(server: Server, connection: http.client.HTTPConnection) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        row("no-op container", "not measured", "no Docker daemon answers")
        return
    spec: dict[str, object] = {"shell": "true", "executor": "docker", "image": IMAGE, "pull": "never"}
    server.job(connection, spec)
    ours, floor = interleaved(
        lambda: server.job(connection, spec),
        lambda: quietly("docker", "run", "--rm", "--network", "none", IMAGE, "true"),
    )
    ratio = p50(ours) / p50(floor)
    row("no-op container", f"{p50(ours):.0f} ms", f"docker run --rm {p50(floor):.0f} ms: {ratio:.2f}x", "<= 1.2x")


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {ROUNDS} rounds, medians\n")
    row("what", "figure", "floor in the same run", "aim")
    with tempfile.TemporaryDirectory() as directory:
        bench_command_line(Path(directory))
        bench_server(Path(directory))


if __name__ == "__main__":
    main()
