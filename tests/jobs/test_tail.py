"""The tail of a long output, and the runs of lines that it is fed: nothing is counted twice, and nothing forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobs.lines import LineCutter, Piece
from orchestrator.jobs.tail import SPAN_BYTES, LastLine, Tail
from orchestrator.model.logs import MAX_LINE_BYTES, Cursor, Position, Stream

AT = datetime(2026, 11, 21, tzinfo=UTC)


def line(number: int, data: bytes | None = None, *, lines: int = 1, read: int = 0) -> LastLine:
    """Line `number`, or a run that ends with it. The cursor behind it says so too."""
    return LastLine(
        at=AT,
        stream=Stream.STDOUT,
        data=f"{number}".encode() if data is None else data,
        continued=False,
        after=Cursor(stdout=Position(bytes=number, newlines=number, tail=0)),
        read=read,
        lines=lines,
    )


def run(first: int, last: int, **more: int) -> LastLine:
    data = b"\n".join(b"%d" % number for number in range(first, last + 1))
    return line(last, data, lines=last - first + 1, **more)


def texts(lines: list[LastLine]) -> list[bytes]:
    return [line.data for line in lines]


def test_what_fits_is_kept_and_nothing_is_left_out():
    tail = Tail(max_bytes=100, max_lines=3)
    for number in (1, 2, 3):
        tail.keep(line(number))
    assert (tail.omitted, tail.cursor) == (0, None)
    assert texts(tail.taken()) == [b"1", b"2", b"3"]
    assert (tail.omitted, list(tail.waiting)) == (0, [])


def test_the_oldest_lines_fall_out_and_the_cursor_is_behind_the_last_of_them():
    tail = Tail(max_bytes=100, max_lines=3)
    for number in range(1, 11):
        tail.keep(line(number))
    assert tail.omitted == 7
    assert tail.cursor == line(7).after
    assert texts(tail.taken()) == [b"8", b"9", b"10"]


def test_bytes_limit_it_as_lines_do():
    tail = Tail(max_bytes=10, max_lines=1000)
    for number in range(1, 6):
        tail.keep(line(number, b"x" * 5))
    assert tail.omitted == 3
    assert len(tail.taken()) == 2


def test_the_last_line_is_kept_whatever_its_size():
    tail = Tail(max_bytes=10, max_lines=10)
    tail.keep(line(1))
    tail.keep(line(2, b"x" * 1000))
    assert texts(tail.taken()) == [b"x" * 1000]
    assert tail.omitted == 1


def test_a_run_falls_out_as_a_whole_only_when_what_is_behind_it_is_enough():
    """Else lines of it belong to the last ones: these are cut out of it at the end."""
    tail = Tail(max_bytes=1000, max_lines=5)
    tail.keep(run(1, 10))
    tail.keep(run(11, 14))
    assert tail.omitted == 0
    tail.keep(run(15, 15))
    assert (tail.omitted, tail.cursor) == (10, line(10).after)
    tail.keep(run(16, 18))
    assert tail.omitted == 10
    assert texts(tail.taken()) == [b"14", b"15", b"16", b"17", b"18"]
    assert tail.omitted == 13


def test_the_lines_of_a_run_share_its_time_stream_and_place():
    tail = Tail(max_bytes=1000, max_lines=5)
    tail.keep(run(1, 3))
    assert tail.taken() == [
        LastLine(AT, Stream.STDOUT, b"%d" % number, continued=False, after=line(3).after, read=0)
        for number in (1, 2, 3)
    ]


def test_empty_lines_of_a_run_count():
    tail = Tail(max_bytes=1000, max_lines=3)
    tail.keep(line(5, b"\n\n\n\n", lines=5))
    assert texts(tail.taken()) == [b"", b"", b""]
    assert tail.omitted == 2


def test_what_lies_too_far_back_in_the_output_falls_out_for_the_executor_cannot_keep_it():
    tail = Tail(max_bytes=1000, max_lines=1000)
    tail.keep(line(1, read=10))
    tail.keep(line(2, read=10 + SPAN_BYTES))
    assert tail.omitted == 0
    tail.keep(line(3, read=11 + SPAN_BYTES))
    assert (tail.omitted, tail.cursor) == (1, line(1).after)
    assert texts(tail.taken()) == [b"2", b"3"]


@given(
    st.lists(st.integers(1, 40), max_size=60),
    st.integers(1, 100),
    st.integers(1, 400),
)
def test_head_left_out_and_tail_are_every_line_once(sizes: list[int], max_lines: int, max_bytes: int):
    """However runs fall, and from wherever another tail begins: `omitted` lines up to `cursor`, the rest again."""
    tail, runs, first = Tail(max_bytes, max_lines), [], 1
    for size in sizes:
        runs.append(run(first, first + size - 1))
        first += size
        tail.keep(runs[-1])
    reached = 0 if tail.cursor is None else tail.cursor.stdout.newlines
    assert tail.omitted == reached
    resumed = Tail(max_bytes, max_lines)
    for piece in runs:
        if piece.after.stdout.newlines > reached:
            resumed.keep(piece)

    kept = texts(tail.taken())

    assert texts(resumed.taken()) == kept
    assert reached + resumed.omitted == tail.omitted
    assert kept == [b"%d" % number for number in range(tail.omitted + 1, first)]
    assert len(kept) <= max_lines
    assert sum(map(len, kept)) <= max_bytes or len(kept) == 1
    assert kept or not sizes


# What feeds it: `LineCutter.feed_runs`


def flat(pieces: list[Piece]) -> list[tuple[bytes, bool]]:
    """The lines, those of runs one by one."""
    return [
        (data, piece.continued)
        for piece in pieces
        for data in (piece.data.split(b"\n") if piece.lines > 1 else [piece.data])
    ]


def test_lines_that_are_complete_in_a_chunk_come_as_one_run():
    """What the chunk before began comes first, and what the next one ends comes with that."""
    cutter = LineCutter(Position())
    assert cutter.feed_runs(b"a") == []
    pieces = cutter.feed_runs(b"b\nc\n\nd\ne")
    assert [(piece.data, piece.lines) for piece in pieces] == [(b"ab", 1), (b"c\n\nd", 3)]
    assert [piece.end for piece in pieces] == [
        Position(bytes=3, newlines=1, tail=0),
        Position(bytes=8, newlines=4, tail=0),
    ]
    assert [(piece.data, piece.lines) for piece in cutter.flush()] == [(b"e", 1)]


@pytest.mark.parametrize("data", [b"", b"a", b"\n", b"a\n", b"a\nb", b"\na"])
def test_a_chunk_with_one_newline_at_most_is_cut_as_always(data: bytes):
    one, other = LineCutter(Position()), LineCutter(Position())
    assert one.feed_runs(data) == other.feed(data)
    assert one.flush() == other.flush()


def test_a_line_that_is_too_long_is_cut_before_and_behind_a_run():
    long = b"x" * (MAX_LINE_BYTES + 10)
    one, other = LineCutter(Position()), LineCutter(Position())
    runs, singles = [], []
    for chunk in (long[:-5], long[-5:] + b"\na\nb\nc", long[: MAX_LINE_BYTES - 1], b"yz\nd\n"):
        runs += one.feed_runs(chunk)
        singles += other.feed(chunk)
    assert flat(runs) == flat(singles)
    assert [continued for _, continued in flat(runs)] == [True, False, False, False, True, False, False]
    assert one.position == other.position


@given(
    st.lists(st.sampled_from([b"", b"\n", b"\n\n", b"a", b"bc\n", b"d\ne\n", "\u00e9\n\u20ac".encode(), b"f\ng\nh"]))
)
def test_runs_hold_the_same_lines_and_end_at_the_same_places(chunks: list[bytes]):
    one, other = LineCutter(Position()), LineCutter(Position())
    runs: list[Piece] = []
    singles: list[Piece] = []
    for chunk in chunks:
        runs += one.feed_runs(chunk)
        singles += other.feed(chunk)
        assert one.position == other.position
    runs += one.flush()
    singles += other.flush()
    assert flat(runs) == flat(singles)
    assert sum(piece.lines for piece in runs) == len(singles)
    assert {piece.end for piece in runs} <= {piece.end for piece in singles}
