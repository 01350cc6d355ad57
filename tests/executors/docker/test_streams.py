"""Frames cut at any place come out whole; a log read again is left out up to exactly the place reached."""

from __future__ import annotations

import random
import re
import struct
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UnavailableError
from orchestrator.executors.docker.frames import FrameCutter, joined, parse_stamp, split_stamp
from orchestrator.executors.docker.reached import PIECE_BYTES, Reached, Skip
from orchestrator.model.logs import Cursor, Position, Stream

KINDS = {Stream.STDOUT: 1, Stream.STDERR: 2}
FRAMES = st.lists(st.tuples(st.sampled_from(list(KINDS)), st.binary(max_size=40)), max_size=8)


def framed(frames: list[tuple[Stream, bytes]]) -> bytes:
    return b"".join(struct.pack(">BxxxL", KINDS[stream], len(data)) + data for stream, data in frames)


@given(frames=FRAMES, sizes=st.lists(st.integers(1, 30), max_size=40))
def test_frames_come_out_whole_wherever_the_stream_is_cut(frames: list[tuple[Stream, bytes]], sizes: list[int]):
    data, cutter, out = framed(frames), FrameCutter(), []
    for size in [*sizes, len(data)]:
        out += cutter.feed(data[:size])
        data = data[size:]
    assert out == frames
    assert not cutter.is_inside_frame


def test_a_stream_that_ends_inside_a_frame_is_known():
    cutter = FrameCutter()
    assert cutter.feed(framed([(Stream.STDOUT, b"whole"), (Stream.STDERR, b"cut")])[:-1]) == [(Stream.STDOUT, b"whole")]
    assert cutter.is_inside_frame


@pytest.mark.parametrize("head", [b"\x09\0\0\0\0\0\0\1x", b"\x01\0\0\0\xff\xff\xff\xffx"])
def test_what_is_no_frame_is_an_error_and_not_waited_for(head: bytes):
    with pytest.raises(UnavailableError, match="broken"):
        FrameCutter().feed(head)


def test_an_error_of_the_engine_inside_a_stream_is_raised_in_its_words():
    with pytest.raises(UnavailableError, match="log is gone"):
        FrameCutter().feed(b"\x03\0\0\0\0\0\0\x0blog is gone")


@given(frames=FRAMES)
def test_joining_keeps_order_and_bytes(frames: list[tuple[Stream, bytes]]):
    out = joined(frames)
    assert all(one[0] is not other[0] for one, other in pairwise(out))
    for stream in KINDS:
        assert b"".join(data for kind, data in out if kind is stream) == b"".join(
            data for kind, data in frames if kind is stream
        )


def test_a_stamp_is_cut_off_and_nothing_else():
    stamp, record = split_stamp(b"2026-11-21T07:10:21.891254527Z  two blanks\n")
    assert record == b" two blanks\n"
    assert parse_stamp(stamp) == datetime(2026, 11, 21, 7, 10, 21, 891254, tzinfo=UTC)


def logged(raw: bytes) -> list[list[bytes]]:
    """The engine's log of what a script wrote: records, each as what stands there for each byte that was written."""
    records: list[list[bytes]] = []
    for line in re.findall(rb"[^\n]*\n|[^\n]+", raw):
        text, newline = (line[:-1], [b"\n"]) if line.endswith(b"\n") else (line, [])
        pieces = [text[at : at + PIECE_BYTES] for at in range(0, len(text), PIECE_BYTES)]
        if newline and (not pieces or len(pieces[-1]) == PIECE_BYTES):
            pieces.append(b"")
        records += [shown(piece) for piece in pieces]
        if newline:
            records[-1] += newline
    return records


def shown(piece: bytes) -> list[bytes]:
    """Each byte that is not part of a UTF-8 character becomes U+FFFD."""
    out: list[bytes] = []
    while piece:
        for size in range(1, 5):
            try:
                piece[:size].decode()
            except UnicodeDecodeError:
                continue
            out += [piece[at : at + 1] for at in range(size)]
            piece = piece[size:]
            break
        else:
            out.append("\ufffd".encode())
            piece = piece[1:]
    return out


def at(raw: bytes, cut: int) -> Position:
    taken = raw[:cut]
    return Position(bytes=cut, newlines=taken.count(b"\n"), tail=cut - (taken.rfind(b"\n") + 1))


@pytest.mark.parametrize(
    "alphabet",
    [
        [b"a", b"\n"],
        ["ü✓🚀 ".encode(), b"\n", b"x"],
        [b"\xff", b"\x80", b"a", b"\n"],
        [b"\xe2\x9c", b"\0", b"\x1b", b"\n"],
    ],
    ids=["ascii", "utf-8", "invalid", "broken characters"],
)
def test_a_log_read_again_goes_on_at_exactly_the_position(alphabet: list[bytes]):
    chance = random.Random(20261121)
    for _ in range(60):
        raw = b"".join(
            chance.choice(alphabet) * chance.choice([1, 1, 1, 2, 5, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 7])
            if chance.random() < 0.1
            else chance.choice(alphabet)
            for _ in range(chance.randrange(12))
        )
        cut = chance.randrange(len(raw) + 1)
        skip = Skip(at(raw, cut))
        left = b"".join(skip.feed(b"".join(record)) for record in logged(raw))
        every = [byte for record in logged(raw) for byte in record]
        assert left == b"".join(every[cut:])


def test_what_is_taken_is_counted_on_top_of_where_reading_began():
    reached = Reached(Cursor(stdout=Position(bytes=5, newlines=1, tail=2)))
    reached.take(Stream.STDOUT, b"cd\nef")
    reached.take(Stream.STDOUT, b"g")
    skip = reached.skips()[Stream.STDOUT]
    records = [b"ab\n", b"abcd\n", b"efgh\n"]
    assert [skip.feed(record) for record in records] == [b"", b"", b"h\n"]
