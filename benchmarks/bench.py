"""`make bench`: what Cronium costs beside the floor of the same machine in the same run. Prints a table, asserts nothing."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import backends
from benchmarks.figures import interleaved, milliseconds, p50, row
from benchmarks.jobs import bench_jobs
from benchmarks.requests import bench_requests
from benchmarks.serving import CRONIUM, IMAGE, Server
from benchmarks.warm import bench_warm

ROUNDS = int(os.environ.get("CRONIUM_BENCH_ROUNDS", "15"))


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
        rounds=ROUNDS,
    )
    row("cronium --version", f"{p50(version):.0f} ms", f"python -c pass {p50(python):.0f} ms", "< 150 ms")
    more = p50(run) - p50(floor)
    row(
        "cronium run of a no-op Bash script",
        f"{p50(run):.0f} ms",
        f"bash {p50(floor):.1f} ms: {more:.0f} ms more",
        "< 400 ms more",
    )


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
        rounds=ROUNDS,
    )
    ratio = p50(ours) / p50(floor)
    row("no-op container", f"{p50(ours):.0f} ms", f"docker run --rm {p50(floor):.0f} ms: {ratio:.2f}x", "<= 1.2x")


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {ROUNDS} rounds, medians\n")
    row("what", "figure", "floor in the same run", "aim")
    with tempfile.TemporaryDirectory() as directory:
        bench_command_line(Path(directory))
        bench_server(Path(directory))
        bench_requests(Path(directory))
        bench_jobs(Path(directory))
        bench_warm(Path(directory))
    backends.main()


if __name__ == "__main__":
    main()
