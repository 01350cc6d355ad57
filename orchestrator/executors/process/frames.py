"""Reading the output in a spool from the first byte that was not taken, and removing what is stored."""

from __future__ import annotations

import os
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.executors.process import spool
from orchestrator.model.logs import Chunk, Cursor, Stream

BLOCK_BYTES = 256 * 1024
STREAMS = {spool.STDOUT: Stream.STDOUT, spool.STDERR: Stream.STDERR}


class Frames:
    """
    Close it. The files may not be there yet, and grow while they are read.

    `free` removes those that are stored, whether they are open or not.
    """

    def __init__(self, directory: Path, after: Cursor) -> None:
        self._directory = directory
        self._number = 0
        self._file: int | None = None
        self._after = {Stream.STDOUT: after.stdout.bytes, Stream.STDERR: after.stderr.bytes}
        self._at = {Stream.STDOUT: 0, Stream.STDERR: 0}
        self._complete: deque[tuple[int, int, int]] = deque()  # a file's number, and where each stream is after it
        self._rest = b""

    def read(self) -> list[Chunk] | None:
        """
        Read a block: what is complete in it and was not taken, which may be nothing; None at the end of the output.

        A frame cut short by the end of its supervisor is never complete.
        """
        if self._file is None and not self._open():
            return None
        assert self._file is not None  # noqa: S101 - opened just now
        block = os.read(self._file, BLOCK_BYTES)
        if not block:
            if not self._path(self._number + 1).exists():
                return None
            block = os.read(self._file, BLOCK_BYTES)  # it may have grown until the next one was begun
            if not block:
                self._open_next()
                return []
        return self._parse(block)

    def free(self, before: Cursor) -> bool:
        """Remove the files that end before `before`; whether there were any."""
        freed = False
        while self._complete and self._complete[0][1] <= before.stdout.bytes:
            number, _, err = self._complete[0]
            if err > before.stderr.bytes:
                break
            self._path(number).unlink(missing_ok=True)
            self._complete.popleft()
            freed = True
        return freed

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _path(self, number: int) -> Path:
        return self._directory / spool.segment(number)

    def _open(self) -> bool:
        try:
            found = spool.segments(str(self._directory))
            if not found:
                return False
            self._file = os.open(self._path(found[0]), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._number = found[0]
        return True

    def _open_next(self) -> None:
        file = os.open(self._path(self._number + 1), os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self._complete.append((self._number, self._at[Stream.STDOUT], self._at[Stream.STDERR]))
        self._file, self._number, self._rest = file, self._number + 1, b""

    def _parse(self, block: bytes) -> list[Chunk]:
        data, offset = self._rest + block, 0
        chunks: list[Chunk] = []
        while len(data) - offset >= spool.HEADER.size:
            number, length, at = spool.HEADER.unpack_from(data, offset)
            begin = offset + spool.HEADER.size
            if begin + length > len(data):
                break
            if number == spool.START:
                self._at[Stream.STDOUT], self._at[Stream.STDERR] = spool.TOTALS.unpack_from(data, begin)
            else:
                self._take(chunks, STREAMS[number], data, (begin, begin + length), at)
            offset = begin + length
        self._rest = data[offset:]
        return chunks

    def _take(self, chunks: list[Chunk], stream: Stream, data: bytes, span: tuple[int, int], at: int) -> None:
        start, end = span
        skip = min(max(0, self._after[stream] - self._at[stream]), end - start)
        self._at[stream] += end - start
        if start + skip < end:
            chunks.append(Chunk(stream=stream, data=data[start + skip : end], at=utc(at)))


def utc(nanoseconds: int) -> datetime:
    """The time so many nanoseconds after the beginning of 1970."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
