"""A real `cronium serve` in a process of its own, driven as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import CRONIUM

PATIENCE_SECONDS = 60.0


def eventually(look: Callable[[], Any], what: str) -> Any:
    """Look until the answer is true, and return it; fail saying `what` never came."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answer = look()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE_SECONDS:g} s for {what}")


@dataclass
class Serving:
    """One data directory and the server on it, which may be killed and started again."""

    data_dir: Path
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return str(json.loads((self.data_dir / "server.json").read_text())["url"])

    @property
    def token(self) -> str:
        return (self.data_dir / "admin.token").read_text().strip()

    def start(self) -> None:
        log = (self.data_dir.parent / "server.log").open("ab")
        self.process = subprocess.Popen(
            [CRONIUM, "serve", "--port", "0", "--data-dir", self.data_dir],
            env={**os.environ, "CRONIUM_LOG_FORMAT": "text", **self.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        eventually(self._is_ready, f"the server to be ready\n{self.log()}")

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {self.log()}"
        try:
            if json.loads((self.data_dir / "server.json").read_text())["pid"] != self.process.pid:
                return False
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:  # no such file yet, or no server
            return False

    def log(self) -> str:
        path = self.data_dir.parent / "server.log"
        return path.read_text()[-5000:] if path.exists() else ""

    def kill(self) -> None:
        """Kill -9: no handler runs, no file is closed in an orderly way."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request; the status and the JSON of the answer."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def submit(self, **spec: Any) -> str:
        status, job = self.call("POST", "/api/v3/jobs", spec)
        assert status == 202, job
        return str(job["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        status, job = self.call("GET", f"/api/v3/jobs/{job_id}")
        assert status == 200, job
        return dict(job)

    def wait(self, job_id: str) -> dict[str, Any]:
        """Wait until the job is final."""
        final = {"succeeded", "failed", "timed_out", "cancelled", "skipped"}
        return dict(eventually(lambda: (job := self.job(job_id))["status"] in final and job, f"{job_id} to end"))

    def lines(self, job_id: str) -> list[dict[str, Any]]:
        """Every stored line, page by page."""
        lines: list[dict[str, Any]] = []
        while True:
            after = lines[-1]["seq"] if lines else 0
            status, page = self.call("GET", f"/api/v3/jobs/{job_id}/logs?after={after}&limit=5000")
            assert status == 200, page
            lines += page["lines"]
            if not page["lines"]:
                return lines

    def text(self, job_id: str, stream: str = "stdout") -> list[str]:
        return [line["text"] for line in self.lines(job_id) if line["stream"] == stream]
