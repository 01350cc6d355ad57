"""Processes that a killed supervisor left behind: found by the marks in their environment, and ended."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from orchestrator.executors.process import spool

CLEAN_ROUNDS = 5  # in the middle of an exec a process has no environment to be seen
PAUSE_SECONDS = 0.01
LONGEST_SECONDS = 2.0  # they may fork while we look, and others wait for us


def end_strays(directory: Path) -> None:
    """
    Kill the processes of this account whose environment carries every mark in the spool's `claim`.

    The marks (execution id and attempt) name this attempt and no other. A descendant that changed its environment is
    not found.
    """
    try:
        marks = json.loads((directory / spool.CLAIM).read_bytes())["marks"]
    except (FileNotFoundError, ValueError):
        return  # removed, or torn by the end of the machine: then nothing of it runs
    except KeyError:
        return  # how it ended has just been written in its place
    wanted = {os.fsencode(f"{name}={value}") for name, value in marks.items()}
    deadline, clean = time.monotonic() + LONGEST_SECONDS, 0
    while wanted and clean < CLEAN_ROUNDS and time.monotonic() < deadline:
        found = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - ten times as fast
        ended = [pid for pid in found if pid != os.getpid() and _end(pid, wanted)]
        clean = 0 if ended else clean + 1
        if not ended:
            time.sleep(PAUSE_SECONDS)


def _end(pid: int, wanted: set[bytes]) -> bool:
    """Kill the process if it carries the marks; whether it did. The handle makes sure that it is the one looked at."""
    if not wanted <= _environment(pid):
        return False
    try:
        handle = os.pidfd_open(pid)
    except OSError:  # it has ended; or a kernel before 5.3, where nobody could tell it from the next of its number
        return False
    try:
        if not wanted <= _environment(pid):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)
    return True


def _environment(pid: int) -> set[bytes]:
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return set()  # it has ended, or it is not ours
