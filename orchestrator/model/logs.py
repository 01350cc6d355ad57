"""Output of a job: chunks as an executor reads them, lines as they are stored, and the cursor between the two."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

MAX_LINE_BYTES = 1024 * 1024


class Stream(StrEnum):
    """Which stream a line came from; `system` lines are written by Cronium itself."""

    STDOUT = "stdout"
    STDERR = "stderr"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Bytes of one stream, as they came: cut anywhere, in order within the stream. `at` is UTC."""

    stream: Stream
    data: bytes
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """
    How far one stream of one attempt has been taken.

    `bytes` counts all bytes taken, `newlines` the line feeds among them, `tail` the bytes after the last of those.
    An executor that can seek uses `bytes`; one that must read again from the start (Docker, whose log files do not
    keep invalid UTF-8 byte for byte) skips `newlines` line feeds and then `tail` bytes.
    """

    bytes: int = 0
    newlines: int = 0
    tail: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where reading an attempt's output goes on. Stored in the transaction that stores the lines before it."""

    stdout: Position = field(default_factory=Position)
    stderr: Position = field(default_factory=Position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    One line: `seq` counts from 1 per job without gaps; `text` has no newline.

    A line longer than `MAX_LINE_BYTES` is cut into pieces; all but the last are `continued`.
    """

    seq: int
    at: datetime
    stream: Stream
    text: str
    attempt: int
    continued: bool = False
