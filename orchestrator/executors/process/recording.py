"""What a script prints, on its way into the spool. Imported by the zygote; works in the spool directory.

Nothing is lost on a full disk, or when the script prints faster than anybody stores it: the frame that found no room
waits, `full` says so, and whoever reads the script's pipes is to leave them alone until `retry` has written it.
"""

from __future__ import annotations

import errno
import os
import time

from orchestrator.executors.process import spool

RESERVE_BYTES = 256 * 1024 * 1024  # left free on the disk, or a twentieth of a small one: others write there too
LOOK_EVERY_BYTES = 8 * 1024 * 1024
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the last: a disk with errors, remounted by the kernel
_BEGIN = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_NEW = "new."


class Recording:
    """The files of the output and the FIFO that tells readers about it."""

    def __init__(self) -> None:
        self._wake = os.open(spool.WAKE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._number = 0
        self._output = os.open(spool.OUTPUT, _BEGIN, 0o600)
        self._written = 0  # to this file
        self._totals = {spool.STDOUT: 0, spool.STDERR: 0}
        self._look_at = LOOK_EVERY_BYTES
        self._waiting = b""
        self._bounded = False

    @property
    def full(self) -> bool:
        """Whether a frame waits for room."""
        return bool(self._waiting)

    def add(self, stream: int, data: bytes) -> None:
        """Write a frame and wake the readers. Not while `full`."""
        self._waiting = spool.HEADER.pack(stream, len(data), time.time_ns()) + data
        self._totals[stream] += len(data)
        self.retry()

    def retry(self) -> None:
        """Write the frame that waits, if there is room for it by now."""
        if not self._waiting or (self._is_over() and not self._begin_next()) or not self._has_room():
            return
        if not _append(self._output, self._waiting, self._written):
            return
        self._written += len(self._waiting)
        self._waiting = b""
        self.wake()

    def bound(self) -> None:
        """From now on keep only so much: somebody stores it and removes what is stored."""
        self._bounded = True

    def take_all(self) -> None:
        """From now on write whatever comes: it is the end, and little."""
        self._bounded = False
        self.retry()

    def close(self) -> None:
        """Hang up."""
        os.close(self._output)
        os.close(self._wake)

    def _is_over(self) -> bool:
        return self._written >= spool.SEGMENT_BYTES

    def _begin_next(self) -> bool:
        """Begin another file; whether what waits may be written: to the last one where nobody will look again."""
        if not self._bounded:
            return True
        try:
            if len(spool.segments(".")) >= spool.MAX_SEGMENTS:
                return False
            return self._begin(spool.segment(self._number + 1), self._start_frame())
        except FileNotFoundError:
            return True  # the spool was removed
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return False

    def _begin(self, name: str, frame: bytes) -> bool:
        """Begin a file with a frame; it is there with it or not at all."""
        output = os.open(f"{_NEW}{name}", _BEGIN, 0o600)
        try:
            if not _append(output, frame, 0):
                return False
            os.rename(f"{_NEW}{name}", name)  # noqa: PTH104 - forked by the hundred: no pathlib
            self._output, output = output, self._output
        finally:
            os.close(output)
        self._number, self._written, self._look_at = self._number + 1, len(frame), 0
        return True

    def _start_frame(self) -> bytes:
        """What came before the frame that waits."""
        waiting = self._waiting[0]
        totals = {**self._totals, waiting: self._totals[waiting] - (len(self._waiting) - spool.HEADER.size)}
        data = spool.TOTALS.pack(totals[spool.STDOUT], totals[spool.STDERR])
        return spool.HEADER.pack(spool.START, len(data), time.time_ns()) + data

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


def _append(output: int, data: bytes, written: int) -> bool:
    """Write all of it after `written` bytes or, where there is no room, nothing: half a frame would hide the rest."""
    try:
        done = os.write(output, data)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        done = 0
    if done < len(data):
        os.ftruncate(output, written)
    return done == len(data)
