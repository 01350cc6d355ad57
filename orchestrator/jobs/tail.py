"""The end of an output that is too long to be kept whole: its last lines, and the count of what fell out. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.model.logs import Cursor, Stream

SPAN_BYTES = 32 * 1024 * 1024  # of output as it was read: an executor need not be able to keep more than twice this
READING_BYTES = 16  # what each piece that is read costs an executor besides its data


@dataclass(frozen=True, slots=True)
class LastLine:
    """
    A line that waits, unmasked, or a run of `lines` of them with newlines between.

    `after` is the cursor behind it, `read` how much had been read when it was cut.
    """

    at: datetime
    stream: Stream
    data: bytes
    continued: bool
    after: Cursor
    read: int
    lines: int = 1


@dataclass(slots=True)
class Tail:
    """
    The last lines of an output whose head is full.

    `cursor` is behind the last line that fell out (None: none did). Who reads from there, with `omitted` counted, gets
    the same tail again: so nothing of it is lost with this process. One line is kept whatever its size.
    """

    max_bytes: int
    max_lines: int
    waiting: deque[LastLine] = field(default_factory=deque)
    bytes: int = 0
    lines: int = 0
    omitted: int = 0
    cursor: Cursor | None = None

    def keep(self, line: LastLine) -> None:
        """Add a line or a run, and let fall out what is too much without doubt."""
        self.waiting.append(line)
        self.bytes += len(line.data)
        self.lines += line.lines
        while len(self.waiting) > 1 and self._is_enough_without(self.waiting[0], line.read):
            self._drop()

    def taken(self) -> list[LastLine]:
        """The very last lines, without runs. Afterwards `omitted` is final, and nothing waits."""
        while len(self.waiting) > 1 and self._is_enough_without(self.waiting[0], 0):
            self._drop()
        lines = [single for line in self.waiting for single in _singles(line)]
        size = sum(len(line.data) for line in lines)
        begin = 0
        while begin < len(lines) - 1 and (size > self.max_bytes or len(lines) - begin > self.max_lines):
            size -= len(lines[begin].data)
            begin += 1
        self.omitted += begin
        self.waiting.clear()
        return lines[begin:]

    def _is_enough_without(self, oldest: LastLine, read: int) -> bool:
        return (
            self.bytes - len(oldest.data) >= self.max_bytes
            or self.lines - oldest.lines >= self.max_lines
            or read - oldest.read > SPAN_BYTES
        )

    def _drop(self) -> None:
        oldest = self.waiting.popleft()
        self.bytes -= len(oldest.data)
        self.lines -= oldest.lines
        self.omitted += oldest.lines
        self.cursor = oldest.after


def _singles(line: LastLine) -> list[LastLine]:
    return [line] if line.lines == 1 else [replace(line, data=data, lines=1) for data in line.data.split(b"\n")]
