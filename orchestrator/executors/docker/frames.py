"""The engine's multiplexed stream, cut into frames; and the time stamp before each record of a log. Pure."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

from orchestrator.errors import UnavailableError
from orchestrator.model.logs import Stream

HEADER = struct.Struct(">BxxxL")  # 1 stdout, 2 stderr, 3 an error of the engine itself
STREAMS = {1: Stream.STDOUT, 2: Stream.STDERR}
ENGINE_ERROR = 3
MAX_FRAME_BYTES = 16 * 1024 * 1024


class FrameCutter:
    """Cuts bytes as they come, at any place, into whole frames."""

    def __init__(self) -> None:
        self._held = b""

    @property
    def is_inside_frame(self) -> bool:
        """Whether the stream, if it ended now, would have been cut off in the middle of a frame."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[tuple[Stream, bytes]]:
        """Take bytes; return the frames that they complete. Raises `UnavailableError` for what is not such a stream."""
        held = self._held + data if self._held else data
        frames = []
        begin = 0
        while len(held) - begin >= HEADER.size:
            kind, size = HEADER.unpack_from(held, begin)
            _check(kind, size)
            end = begin + HEADER.size + size
            if end > len(held):
                break
            payload = held[begin + HEADER.size : end]
            if kind == ENGINE_ERROR:
                raise UnavailableError(f"The Docker engine broke a stream off: {payload.decode('utf-8', 'replace')}")
            frames.append((STREAMS[kind], payload))
            begin = end
        self._held = held[begin:]
        return frames


def _check(kind: int, size: int) -> None:
    if kind not in (*STREAMS, ENGINE_ERROR) or size > MAX_FRAME_BYTES:
        raise UnavailableError(f"The Docker engine sent a frame of kind {kind} and {size} bytes: the stream is broken.")


def joined(frames: list[tuple[Stream, bytes]]) -> list[tuple[Stream, bytes]]:
    """Join neighbours of the same stream: a script that writes byte by byte need not cost a chunk each."""
    runs: list[tuple[Stream, list[bytes]]] = []
    for stream, payload in frames:
        if runs and runs[-1][0] is stream:
            runs[-1][1].append(payload)
        else:
            runs.append((stream, [payload]))
    return [(stream, b"".join(parts)) for stream, parts in runs]


def split_stamp(payload: bytes) -> tuple[bytes, bytes]:
    """A log record with `timestamps=1` is an RFC 3339 time, one blank and the record; cut there and nowhere else."""
    stamp, _, record = payload.partition(b" ")
    return stamp, record


def parse_stamp(stamp: bytes) -> datetime:
    """The time of a record, in UTC and cut to microseconds."""
    return datetime.fromisoformat(stamp.decode("ascii")).astimezone(UTC)
