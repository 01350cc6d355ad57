"""The files of a warm container: the gate that it waits at, and its assignment, which is given once or never."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.executors.docker.warm_text import ASSIGNMENT, GATE, LATCH

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
READABLE = 0o444


class WarmFiles:
    """
    One directory: `files` and `artifacts`, which the container sees, and what only the server does.

    Whether the assignment was given is decided by one operation of the file system, making the file that it is in:
    with the assignment by who starts the job, empty by who gives it up. Whoever comes second is told.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files, self.artifacts = directory / "files", directory / "artifacts"
        self.gate, self._latch = self.files / GATE, self.files / LATCH
        self._assignment, self._draft = self.files / ASSIGNMENT, directory / "assignment"
        self._boot = directory / "boot"

    def make(self) -> None:
        """The container's user may read `files` and write `artifacts`; the directory above is closed to others."""
        self.directory.mkdir(mode=0o700, parents=True)
        self._boot.write_bytes(_boot())
        self.files.mkdir()
        self.files.chmod(0o755)
        self.artifacts.mkdir()
        for pipe in (self.gate, self._latch):
            os.mkfifo(pipe)
            pipe.chmod(READABLE)

    def fill(self, attempt: Path, artifacts: Path | None, text: bytes) -> None:
        """
        Take over what was made for the attempt. The directory of the artifacts takes the place of the empty one that was
        made for them: it is the same file system, and the container keeps its hold on it under the new name.
        """
        for entry in list(os.scandir(attempt)):
            _move(Path(entry.path), attempt, self.files / entry.name)
        if artifacts is not None:
            self.artifacts.chmod(stat.S_IMODE(artifacts.stat().st_mode))
            self.artifacts.rename(artifacts)
        self._draft.touch(mode=0o600)
        self._draft.write_bytes(text)
        self._draft.chmod(READABLE)

    def hold(self) -> int:
        """Hold the latch, before the container is started: a descriptor that is closed to let the script go."""
        self._latch.chmod(0o644)
        descriptor = os.open(self._latch, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # waits for nobody, see fifo(7)
        self._latch.chmod(READABLE)
        return descriptor

    def give(self) -> bool:
        """Give the assignment: from here on the job counts as started. False: it was given up before."""
        try:
            os.link(self._draft, self._assignment)
        except FileExistsError:
            return False
        finally:
            with contextlib.suppress(OSError):  # what is linked is given, whatever becomes of the draft
                self._draft.unlink()
        return True

    def was_given(self) -> bool:
        """
        Whether the assignment was given. If it was not, it never will be from now on.

        After the machine has gone down nobody knows: what was decided in its last seconds may not be on the disk.
        """
        if not self.gate.exists() or self._boot_then() != _boot():
            return True
        try:
            os.close(os.open(self._assignment, os.O_CREAT | os.O_EXCL | os.O_WRONLY, READABLE))
        except FileExistsError:
            return self._is_assigned()
        except OSError:
            if self.gate.exists():
                raise
            return True
        if self.gate.exists():
            return False
        self._assignment.unlink(missing_ok=True)  # it was given and hidden meanwhile
        return True

    def looked_at(self) -> bool:
        """The same; and hide what the server that gave it died too early to, where the shell is done with it."""
        if not self.was_given():
            return False
        descriptor = open_gate(self.gate)
        if descriptor is not None:  # somebody waits there still
            os.close(descriptor)
        else:
            with contextlib.suppress(OSError):
                self.hide()
        return True

    def is_open(self) -> bool:
        """Whether nothing is decided yet."""
        return self.gate.exists() and not self._assignment.exists()

    def hide(self) -> None:
        """The script has its assignment: leave it and those that it starts nothing but the attempt's files. The gate goes first."""
        self.gate.unlink(missing_ok=True)
        self._latch.unlink(missing_ok=True)
        self._assignment.unlink(missing_ok=True)
        self.files.chmod(0o555)

    def given_at(self) -> datetime | None:
        """About when the script was started: the last change of the files was hiding the assignment."""
        try:
            return datetime.fromtimestamp(self.files.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Call it when there is no container any more; safe to repeat. What cannot be removed raises `OSError`."""
        if not self.directory.exists():
            return
        for place, _, _ in os.walk(self.directory):
            Path(place).chmod(0o700)
        shutil.rmtree(self.directory)

    def _is_assigned(self) -> bool:
        try:
            return self._assignment.stat().st_size > 0
        except FileNotFoundError:  # hidden just now
            return True

    def _boot_then(self) -> bytes | None:
        try:
            return self._boot.read_bytes()
        except FileNotFoundError:
            return None


class Gate:
    """
    Our end of the pipe at which a warm container waits, and of the one that holds its script back. `closed` is set when
    nobody is at the other end any more: the assignment is read, or the container has ended. The kernel closes our ends
    when we die: one that has no assignment then ends by itself.
    """

    def __init__(self, descriptor: int, latch: int, told: Callable[[], None]) -> None:
        self._descriptor, self._latch, self._told = descriptor, latch, told
        self.closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._lost)

    @property
    def is_waited_at(self) -> bool:
        if self.closed.is_set():
            return False
        poll = select.poll()
        poll.register(self._descriptor, 0)
        return not poll.poll(0)

    def knock(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._descriptor, b"\n")

    def close(self) -> None:
        """Let go what is held. Safe to repeat."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            os.close(self._latch)
            self._descriptor = -1
        self.closed.set()

    def _lost(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self.closed.set()
        self._told()


def open_gate(path: Path) -> int | None:
    """A descriptor of the pipe, to write to; None while nobody waits there."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # ENXIO, see fifo(7)
        return None


def _move(entry: Path, source: Path, target: Path) -> None:
    """Read-only directories are opened for it: moving one changes it (its `..`), and the one that it is in."""
    source.chmod(0o755)
    mode = stat.S_IMODE(entry.lstat().st_mode)
    is_directory = entry.is_dir() and not entry.is_symlink()
    if is_directory:
        entry.chmod(0o755)
    entry.rename(target)
    if is_directory:
        target.chmod(mode)


def _boot() -> bytes:
    return BOOT_ID.read_bytes()
