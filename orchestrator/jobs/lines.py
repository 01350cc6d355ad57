"""Cut the bytes of a stream into lines, and know how far they reach. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.logs import MAX_LINE_BYTES, Position


@dataclass(frozen=True, slots=True)
class Piece:
    """A line without its newline, or a part of one that is too long; `end` is the position after it."""

    data: bytes
    continued: bool
    end: Position


class LineCutter:
    """Cuts one stream. What has no newline yet waits inside and is not counted by the positions given out."""

    def __init__(self, start: Position) -> None:
        self._position = start
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes; return the lines that they complete."""
        pieces: list[Piece] = []
        begin = 0
        while (newline := data.find(b"\n", begin)) >= 0:
            self._keep(data[begin:newline])
            pieces += self._cut()
            pieces.append(self._take(self._size, newline=True))
            begin = newline + 1
        if begin < len(data):
            self._keep(data[begin:] if begin else data)
            pieces += self._cut()
        return pieces

    def flush(self) -> list[Piece]:
        """Return what is left at the end of the stream: a last line without a newline, if any."""
        return [self._take(self._size, newline=False)] if self._size else []

    def _keep(self, data: bytes) -> None:
        if data:
            self._parts.append(data)
            self._size += len(data)

    def _cut(self) -> list[Piece]:
        """Give out full pieces of a line that is too long, keeping at least one byte for its last piece."""
        pieces = []
        while self._size > MAX_LINE_BYTES:
            pieces.append(self._take(MAX_LINE_BYTES, newline=False, continued=True))
        return pieces

    def _take(self, size: int, *, newline: bool, continued: bool = False) -> Piece:
        held = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        data, rest = held[:size], held[size:]
        if continued:
            # Never cut inside a UTF-8 character: it would be damaged in both pieces.
            back = _unfinished(data)
            data, rest = data[: len(data) - back], data[len(data) - back :] + rest
        self._parts = [rest] if rest else []
        self._size = len(rest)
        here = self._position
        taken = len(data) + newline
        self._position = Position(
            bytes=here.bytes + taken,
            newlines=here.newlines + newline,
            tail=0 if newline else here.tail + len(data),
        )
        return Piece(data, continued, self._position)


def _unfinished(data: bytes) -> int:
    """How many bytes at the end of `data` begin a UTF-8 character without ending it (0 to 3)."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return back if length > back else 0
    return 0
