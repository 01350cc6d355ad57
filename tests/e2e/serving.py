"""A real `cronium serve` in a process of its own, driven as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import CRONIUM

PATIENCE_SECONDS = 60.0
FINAL = ("succeeded", "failed", "timed_out", "cancelled", "skipped")
# What would lead a server of a test to another place than the test says.
OUTSIDE = ("DATABASE_URL", "VALKEY_URL", "CRONIUM_URL", "CRONIUM_TOKEN")


def eventually(look: Callable[[], Any], what: str, within: float = PATIENCE_SECONDS) -> Any:
    """Look until the answer is true, and return it; fail saying `what` never came."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        answer = look()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited {within:g} s for {what}")


def environment(**more: str) -> dict[str, str]:
    """Our environment without the servers that it may name, and with `more`."""
    return {**{name: value for name, value in os.environ.items() if name not in OUTSIDE}, **more}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: its headers, and the body as JSON where it is."""

    status: int
    headers: Mapping[str, str]
    body: Any


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

    @property
    def process_id(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        self.spawn()
        eventually(self._is_ready, f"the server to be ready\n{self.log()}")

    def spawn(self) -> None:
        """Start it and wait for nothing."""
        log = self.log_file.open("ab")
        self.process = subprocess.Popen(
            [CRONIUM, "serve", "--port", "0", "--data-dir", self.data_dir],
            env=environment(**{"CRONIUM_LOG_FORMAT": "text", **self.env}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()

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

    @property
    def log_file(self) -> Path:
        return self.data_dir.parent / "server.log"

    def log(self) -> str:
        return self.log_file.read_text()[-5000:] if self.log_file.exists() else ""

    def records(self) -> list[dict[str, Any]]:
        """What was logged, of a server whose log is JSON; what a command says to people is no record."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]

    def kill(self) -> None:
        """Kill -9: no handler runs, no file is closed in an orderly way."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        """Stop it if it runs; a test that failed may have left it in any state."""
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request; the status and the JSON of the answer."""
        answer = self.ask(method, path, body)
        return answer.status, answer.body

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """One request."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, answer.headers, _read(answer))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, _read(error))

    def cronium(self, *args: str) -> subprocess.Popen[str]:
        """Start a command that talks to this server."""
        return subprocess.Popen(
            [CRONIUM, *args],
            env=environment(CRONIUM_URL=self.url, CRONIUM_TOKEN=self.token),
            cwd=self.data_dir.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def metrics(self) -> dict[str, float]:
        """A scrape: by name with labels, as they are written."""
        answer = self.ask("GET", "/metrics")
        assert answer.status == 200, answer
        rows = [line.rpartition(" ") for line in answer.body.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in rows}

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
        return dict(eventually(lambda: (job := self.job(job_id))["status"] in FINAL and job, f"{job_id} to end"))

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


def _read(answer: Any) -> Any:
    """The body: JSON where it says so, else text."""
    body = answer.read().decode()
    return json.loads(body or "null") if "json" in answer.headers.get("Content-Type", "json") else body
