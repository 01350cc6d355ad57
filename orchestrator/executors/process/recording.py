"""What a script prints, on its way into the spool. Imported by the zygote; works in the spool directory.

On a full disk nothing is lost: the frame that found no room waits, `full` says so, and whoever reads the script's
pipes is to leave them alone until `retry` has written it.
"""

from __future__ import annotations

import errno
import os
import time

from orchestrator.executors.process import spool

RESERVE_BYTES = 256 * 1024 * 1024  # left free on the disk, or a twentieth of a small one: others write there too
LOOK_EVERY_BYTES = 8 * 1024 * 1024
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Recording:
    """The output file and the FIFO that tells readers about it."""

    def __init__(self) -> None:
        self._wake = os.open(spool.WAKE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._output = os.open(spool.OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._written = 0
        self._look_at = LOOK_EVERY_BYTES
        self._waiting = b""

    @property
    def full(self) -> bool:
        """Whether a frame waits for room."""
        return bool(self._waiting)

    def add(self, stream: int, data: bytes) -> None:
        """Write a frame and wake the readers. Not while `full`."""
        self._waiting = spool.HEADER.pack(stream, len(data), time.time_ns()) + data
        self.retry()

    def retry(self) -> None:
        """Write the frame that waits, if there is room for it by now."""
        if not self._waiting or not self._has_room():
            return
        try:
            done = os.write(self._output, self._waiting)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            done = 0
        if done < len(self._waiting):
            os.ftruncate(self._output, self._written)  # half a frame would hide all that follow it
            return
        self._written += done
        self._waiting = b""
        self.wake()

    def wake(self) -> None:
        """Tell readers that there is news."""
        try:
            os.write(self._wake, b".")
        except BlockingIOError:
            pass  # as many wake-ups as the pipe holds are waiting already

    def _has_room(self) -> bool:
        """Look at the disk from time to time: a script that prints without end must not fill it."""
        if self._written < self._look_at:
            return True
        disk = os.fstatvfs(self._output)
        if disk.f_bavail * disk.f_frsize < min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 20):
            return False
        self._look_at = self._written + LOOK_EVERY_BYTES
        return True
