"""Cut the bytes of a stream into lines, and know how far they reach. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.model.logs import MAX_LINE_BYTES, Position


@dataclass(frozen=True, slots=True)
class Piece:
    """
    A line without its newline, or a part of one that is too long; `end` is the position after it.

    A run is several lines with the newlines between them, and none at the end.
    """

    data: bytes
    continued: bool
    end: Position
    lines: int = 1


class LineCutter:
    """
    Cuts one stream. What has no newline yet waits inside and is not counted by the positions given out.

    `held_back` says how many bytes at the end of a piece that is cut off a line must stay with the rest of the line.
    """

    def __init__(self, start: Position, held_back: Callable[[bytes], int] | None = None) -> None:
        self._position = start
        self._held_back = held_back
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

    def feed_runs(self, data: bytes) -> list[Piece]:
        """Take bytes as `feed` does, but return lines that are complete in them as a run: quick however many."""
        first, last = data.find(b"\n"), data.rfind(b"\n")
        if first == last or len(data) > MAX_LINE_BYTES:
            return self.feed(data)
        pieces = self.feed(data[: first + 1])
        run = data[first + 1 : last]
        count = run.count(b"\n") + 1
        here = self._position
        self._position = Position(bytes=here.bytes + len(run) + 1, newlines=here.newlines + count, tail=0)
        pieces.append(Piece(run, False, self._position, count))
        return pieces + self.feed(data[last + 1 :])

    def flush(self) -> list[Piece]:
        """Return what is left at the end of the stream: a last line without a newline, if any."""
        return [self._take(self._size, newline=False)] if self._size else []

    @property
    def position(self) -> Position:
        """The position after the last piece that was given out."""
        return self._position

    def release(self) -> list[Piece]:
        """Give out what waits as a piece, if anything does: the rest of the line comes as another."""
        if not self._size:
            return []
        size = self._size - self._kept(self._held()[: self._size])
        return [replace(self._take(size or self._size, newline=False), continued=True)]

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
        held = self._held()
        data, rest = held[:size], held[size:]
        if continued:
            # Never cut inside a UTF-8 character or a secret: either would be damaged in both pieces.
            back = self._kept(data)
            back = back if 0 < back < size else _unfinished(data)
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

    def _held(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _kept(self, data: bytes) -> int:
        return 0 if self._held_back is None else self._held_back(data)


def _unfinished(data: bytes) -> int:
    """How many bytes at the end of `data` begin a UTF-8 character without ending it (0 to 3)."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return back if length > back else 0
    return 0
