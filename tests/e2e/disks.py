"""Small disks that a test fills, frees and protects, under the data directory of a real server."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.serving import PATIENCE_SECONDS, Serving, eventually

BALLAST = "ballast"
LARGE = "x" * 100_000  # more than the database finds room for by chance


def require(problem: str | None) -> None:
    """Say why a test cannot run here; in CI it must."""
    if problem is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"tests of full and read-only disks must run in CI: {problem}")
    pytest.skip(problem)


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk in memory, mounted at `path`."""

    path: Path

    def fill(self) -> None:
        """Leave not a byte."""
        size = 1024 * 1024
        with (self.path / BALLAST).open("ab", buffering=0) as file:
            while size:
                try:
                    written = file.write(b"\0" * size)
                except OSError:
                    written = 0
                if written < size:
                    size //= 2
        assert shutil.disk_usage(self.path).free == 0

    def free(self) -> None:
        """Give all of it back."""
        (self.path / BALLAST).unlink()

    def remount(self, mode: str) -> None:
        """`ro` or `rw`. Only where nobody writes: the kernel refuses else."""
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.path)], check=True)


@contextlib.contextmanager
def mounted(path: Path, size: str) -> Iterator[Disk]:
    """A disk of this size at `path`; what lies there is out of sight meanwhile."""
    path.mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)], capture_output=True, text=True
    )
    require(f"a small disk cannot be mounted here: {done.stderr.strip()}" if done.returncode else None)
    try:
        yield Disk(path)
    finally:
        _unmount(path)


def _unmount(path: Path) -> None:
    """Supervisors write for a moment after their server has gone; a test that failed may have left some behind."""
    try:
        eventually(lambda: subprocess.run(["umount", str(path)], capture_output=True).returncode == 0, "it", within=5)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], capture_output=True)


@contextlib.contextmanager
def serving_on(directory: Path, size: str = "16m", **env: str) -> Iterator[tuple[Serving, Disk]]:
    """A server, not started yet, whose data directory is a disk of its own."""
    with mounted(directory / "data", size) as disk:
        server = Serving(disk.path, env={"CRONIUM_LOG_FORMAT": "json", "CRONIUM_METRICS_PUBLIC": "true", **env})
        try:
            yield server, disk
        finally:
            (disk.path / BALLAST).unlink(missing_ok=True)
            end_everything(server)


def end_everything(server: Serving) -> None:
    """Let nothing hold the disk: a test that failed may have left scripts behind."""
    if server.process is not None and server.process.poll() is None:
        listed = server.ask("GET", "/api/v3/jobs?status=running")
        for job in listed.body["items"] if listed.status == 200 else ():
            server.call("POST", f"/api/v3/jobs/{job['id']}/cancel")
            server.wait(job["id"])
    server.close()


def start_is_refused(server: Serving) -> str:
    """Start a server that cannot; what it says. Its exit code is the one of a failure that has a name."""
    said = start_without_space(server)
    assert server.process is not None
    assert server.process.wait(PATIENCE_SECONDS) == 1, said
    return said


def start_without_space(server: Serving) -> str:
    """Start a server that finds no space; what it says, when it has ended with 1 or waits for space."""
    before = server.log_file.stat().st_size if server.log_file.exists() else 0
    server.spawn()
    process = server.process
    assert process is not None

    def said() -> str:
        return server.log_file.read_bytes()[before:].decode()

    eventually(lambda: process.poll() is not None or '"level":"warning"' in said(), "a word of the server")
    assert process.poll() in (None, 1), said()
    assert "Traceback" not in said()
    return said()


def refuses_writes(server: Serving) -> bool:
    """Whether the store is known to be out of reach for writers."""
    status, body = server.call("GET", "/readyz")
    return status == 503 and body["details"]["store"] == "store_unavailable"


def assert_whole(database: Path) -> None:
    """Nothing in the file is damaged, and every row refers to one that is there."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def warnings(server: Serving, logger: str = "") -> list[str]:
    """What was warned of, by loggers whose names begin so."""
    return [
        f"{record['logger']}: {record['message']}"
        for record in server.records()
        if record["level"] in ("warning", "error") and record["logger"].startswith(logger)
    ]


def kinds(server: Serving, job_id: str) -> list[str]:
    """The kinds of a job's journal entries, in order."""
    entries = server.call("GET", f"/api/v3/jobs/{job_id}/journal")[1]["entries"]
    return [entry["kind"] for entry in entries]
