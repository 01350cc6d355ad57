"""How far the output was taken, and how to come to that place again in the engine's log. Pure."""

from __future__ import annotations

from orchestrator.model.logs import Cursor, Position, Stream

PIECE_BYTES = 16 * 1024  # the engine logs a line in pieces of this many bytes as the script wrote them
REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


class Reached:
    """Counts what was given out of both streams, on top of the cursor that reading began with."""

    def __init__(self, after: Cursor) -> None:
        self._positions = {Stream.STDOUT: after.stdout, Stream.STDERR: after.stderr}

    def take(self, stream: Stream, data: bytes) -> None:
        before = self._positions[stream]
        newlines = data.count(b"\n")
        tail = len(data) - data.rfind(b"\n") - 1 if newlines else before.tail + len(data)
        self._positions[stream] = Position(
            bytes=before.bytes + len(data), newlines=before.newlines + newlines, tail=tail
        )

    def skips(self) -> dict[Stream, Skip]:
        """What to leave out of a log that is read from its beginning."""
        return {stream: Skip(position) for stream, position in self._positions.items()}


class Skip:
    """
    Leaves the beginning of one stream out of its log, up to a position.

    Bytes cannot be counted there: the log holds U+FFFD, three bytes, for each byte that is not UTF-8. Line feeds are
    kept, so lines are counted, and inside a line pieces, which end every 16 KiB of what the script wrote. Inside a
    piece a U+FFFD counts as the one byte that it most likely stands for.
    """

    def __init__(self, position: Position) -> None:
        self._newlines, self._tail = position.newlines, position.tail

    def feed(self, record: bytes) -> bytes:
        """Take a record (a line, or a piece of one without its newline); return what lies behind the position."""
        if self._newlines:
            self._newlines -= record.count(b"\n")
            return b""
        if not self._tail:
            return record
        if self._tail >= PIECE_BYTES <= len(record) and not record.endswith(b"\n"):
            self._tail -= PIECE_BYTES
            return b""
        left, self._tail = _without(record, self._tail), 0
        return left


def _without(record: bytes, count: int) -> bytes:
    """Cut `count` bytes, as the script wrote them, off the front of a record; its newline always stays."""
    at, end = 0, len(record) - record.endswith(b"\n")
    while count and at < end:
        at += len(REPLACEMENT) if record.startswith(REPLACEMENT, at) else 1
        count -= 1
    return record[at:]
