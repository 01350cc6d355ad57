"""A real `cronium serve` in a process of its own, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

CRONIUM = Path(sys.executable).parent / "cronium"
IMAGE = os.environ.get("CRONIUM_BENCH_IMAGE", "cronium-debian:local")


class Server:
    """A server on a fresh data directory."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [CRONIUM, "serve", "--port", "0", "--data-dir", data],
            env={**os.environ, "CRONIUM_IMAGES__SHELL": IMAGE, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not self._ready():
            if self.process.poll() is not None:
                raise SystemExit(
                    f"the server ended with exit code {self.process.returncode}: start it by hand to see why"
                )
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
        while b'"type":"lines"' not in answer.readline():
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
