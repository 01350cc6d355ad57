"""Lines to the compressed chunks in which they are stored, and back. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import orjson

from orchestrator.model.logs import Line, Stream
from orchestrator.stores.codec import micros, moment

# What one row holds at most: reading a few lines must not decode megabytes.
MAX_CHUNK_BYTES = 256 * 1024
MAX_CHUNK_LINES = 4096
_LETTERS = {Stream.STDOUT: "o", Stream.STDERR: "e", Stream.SYSTEM: "s"}
_STREAMS = {letter: stream for stream, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedChunk:
    """The lines `first_seq` to `last_seq`, all of one attempt."""

    first_seq: int
    last_seq: int
    attempt: int
    data: bytes


def text_bytes(text: str) -> int:
    """The size of a line's text as UTF-8; a lone surrogate counts as what is stored in its place."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def pack(lines: Sequence[Line]) -> list[PackedChunk]:
    """Cut lines into chunks and compress them. A lone surrogate, which is no character, becomes U+FFFD."""
    return [_pack_one(part) for part in _parts(lines)]


def unpack(data: bytes, *, first_seq: int, attempt: int, after: int, limit: int) -> list[Line]:
    """The lines of a chunk with `seq` > `after`, at most `limit`."""
    columns = orjson.loads(zlib.decompress(data))
    skip = max(0, after - first_seq + 1)
    end = min(len(columns["x"]), skip + limit)
    continued = frozenset(columns["c"])
    times = list(accumulate(columns["t"][:end]))
    return [
        Line(
            seq=first_seq + index,
            at=moment(times[index]),
            stream=_STREAMS[columns["s"][index]],
            text=columns["x"][index],
            attempt=attempt,
            continued=index in continued,
        )
        for index in range(skip, end)
    ]


def _parts(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """Cut where a chunk is full and where another attempt begins."""
    start = size = 0
    for index, line in enumerate(lines):
        grown = size + text_bytes(line.text)
        full = grown > MAX_CHUNK_BYTES or index - start >= MAX_CHUNK_LINES
        if index > start and (full or line.attempt != lines[start].attempt):
            yield lines[start:index]
            start, grown = index, text_bytes(line.text)
        size = grown
    if lines:
        yield lines[start:]


def _pack_one(lines: Sequence[Line]) -> PackedChunk:
    times = [micros(line.at) for line in lines]
    columns = {
        "t": [times[0], *(later - earlier for earlier, later in pairwise(times))],
        "s": "".join(_LETTERS[line.stream] for line in lines),
        "c": [index for index, line in enumerate(lines) if line.continued],
        "x": [line.text for line in lines],
    }
    try:
        document = orjson.dumps(columns)
    except TypeError:
        columns["x"] = [_without_surrogates(line.text) for line in lines]
        document = orjson.dumps(columns)
    return PackedChunk(
        first_seq=lines[0].seq, last_seq=lines[-1].seq, attempt=lines[0].attempt, data=zlib.compress(document, level=1)
    )


def _without_surrogates(text: str) -> str:
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if "\ud800" <= character <= "\udfff" else character for character in text
    )
