"""What a chaos run has left on the machine: processes, containers, and files of attempts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.executors.process import spool
from orchestrator.places import KEY_FILE, instance_of
from tests.chaos.mix import MARK


def processes(run: str, servers: Sequence[int]) -> list[str]:
    """Processes that carry the mark of the run, besides the servers and what the servers keep ready for later."""
    wanted = f"{MARK}={run}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
            state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            continue  # it has ended meanwhile
        if int(entry.name) not in servers and parent not in servers and state != b"Z":
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.append(f"process {entry.name} of {parent}: {command[:200]}")
    return found


def files(data_dir: Path) -> list[str]:
    """Directories of attempts. A tombstone, which says that an attempt never runs, is kept for an hour on purpose."""
    kept = [*(data_dir / "attempts").iterdir(), *(data_dir / "spool").iterdir()]
    return [str(path) for path in kept if not _is_tombstone(path)]


def tombstones(data_dir: Path) -> int:
    return sum(_is_tombstone(path) for path in (data_dir / "spool").iterdir())


def containers(data_dir: Path) -> list[str]:
    """Containers of the installation that has this data directory, running or not."""
    label = f"label=cronium.installation={installation(data_dir)}"
    command = ["docker", "ps", "--all", "--filter", label, "--format", "container {{.Names}}: {{.Status}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def installation(data_dir: Path) -> str:
    return instance_of((data_dir / KEY_FILE).read_bytes())


def _is_tombstone(path: Path) -> bool:
    claim = path / spool.CLAIM
    half_made = path.name.startswith(".new-")
    return half_made or (claim.is_symlink() and str(claim.readlink()) == spool.ABANDONED)
