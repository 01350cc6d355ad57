"""Reading the spool's output file from the first byte that was not taken."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.executors.process import spool
from orchestrator.model.logs import Chunk, Cursor, Stream

BLOCK_BYTES = 256 * 1024
STREAMS = {spool.STDOUT: Stream.STDOUT, spool.STDERR: Stream.STDERR}


class Frames:
    """Close it. The file may not be there yet, and grow while it is read."""

    def __init__(self, path: Path, after: Cursor) -> None:
        self._path = path
        self._file: int | None = None
        self._skip = {Stream.STDOUT: after.stdout.bytes, Stream.STDERR: after.stderr.bytes}
        self._rest = b""

    def read(self) -> list[Chunk] | None:
        """
        Read a block: what is complete in it and was not taken, which may be nothing; None at the end of the file.

        A frame cut short by the end of its supervisor is never complete.
        """
        if self._file is None and not self._open():
            return None
        assert self._file is not None  # noqa: S101 - opened just now
        block = os.read(self._file, BLOCK_BYTES)
        if not block:
            return None
        data, offset = self._rest + block, 0
        chunks: list[Chunk] = []
        while len(data) - offset >= spool.HEADER.size:
            number, length, at = spool.HEADER.unpack_from(data, offset)
            end = offset + spool.HEADER.size + length
            if end > len(data):
                break
            self._take(chunks, STREAMS[number], data, (offset + spool.HEADER.size, end), at)
            offset = end
        self._rest = data[offset:]
        return chunks

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        return True

    def _take(self, chunks: list[Chunk], stream: Stream, data: bytes, span: tuple[int, int], at: int) -> None:
        start, end = span
        skip = min(self._skip[stream], end - start)
        self._skip[stream] -= skip
        if start + skip < end:
            chunks.append(Chunk(stream=stream, data=data[start + skip : end], at=utc(at)))


def utc(nanoseconds: int) -> datetime:
    """The time so many nanoseconds after the beginning of 1970."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
