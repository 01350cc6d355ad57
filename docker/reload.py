# ruff: noqa: INP001 - a program, no part of a package
"""Runs the server from the source tree and starts it again after each change; for docker-compose.dev.yml."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

SOURCE = Path(__file__).parents[1]
WATCHED = ("orchestrator", "runtime_api", "sdk")
LOOK_SECONDS = 1.0
END_SECONDS = 20.0


def main() -> None:
    """Until TERM. A server that ends by itself, on a typing error, say, is started again after the next change."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    while True:
        seen = _state()
        server = subprocess.Popen([sys.executable, "-m", "orchestrator", "serve"])
        try:
            while (now := _state()) == seen:
                server.poll()  # reaps it
                time.sleep(LOOK_SECONDS)
        finally:
            _end(server)
        changed = sorted(path for path in seen.keys() | now.keys() if seen.get(path) != now.get(path))
        sys.stderr.write(f"reload: {', '.join(changed[:3])}{' and more' if len(changed) > 3 else ''}\n")


def _state() -> Mapping[str, int]:
    """When each file of the source was changed. A file that vanishes meanwhile is one that has changed."""
    files = (path for place in WATCHED for path in (SOURCE / place).rglob("*") if "__pycache__" not in path.parts)
    found: dict[str, int] = {}
    for path in files:
        try:
            found[str(path.relative_to(SOURCE))] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue
    return found


def _end(server: subprocess.Popen[bytes]) -> None:
    """Its scripts go on, and are attached by the next one."""
    server.terminate()
    try:
        server.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _leave(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(0)


if __name__ == "__main__":
    main()
