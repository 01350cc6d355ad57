"""Cutting a stream into lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobs.lines import LineCutter
from orchestrator.model.logs import MAX_LINE_BYTES, Position


def cut(data: bytes, sizes: list[int], start: Position | None = None):
    """Feed `data` in pieces of the given sizes (repeated), then flush."""
    cutter = LineCutter(start or Position())
    pieces, offset, turn = [], 0, 0
    while offset < len(data):
        size = sizes[turn % len(sizes)]
        pieces += cutter.feed(data[offset : offset + size])
        offset, turn = offset + size, turn + 1
    return pieces + cutter.flush()


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_lines_do_not_depend_on_where_the_chunks_are_cut(data: bytes, sizes: list[int]):
    pieces = cut(data, sizes)

    expected = data.split(b"\n")
    assert [piece.data for piece in pieces] == (expected if expected[-1] else expected[:-1])
    if pieces:
        last = pieces[-1].end
        assert (last.bytes, last.newlines) == (len(data), data.count(b"\n"))
        assert last.tail == len(data) - (data.rfind(b"\n") + 1)


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=5), st.data())
def test_reading_again_from_any_piece_gives_exactly_the_rest(data: bytes, sizes: list[int], draw: st.DataObject):
    pieces = cut(data, sizes)
    taken = draw.draw(st.integers(0, len(pieces)))
    position = pieces[taken - 1].end if taken else Position()

    rest = cut(data[position.bytes :], sizes, position)

    assert rest == pieces[taken:]


def test_a_line_that_is_too_long_is_cut_into_continued_pieces():
    data = b"x" * (3 * MAX_LINE_BYTES) + b"\nnext\n"

    pieces = cut(data, [65_536])

    assert [len(piece.data) for piece in pieces] == [MAX_LINE_BYTES] * 3 + [4]
    assert [piece.continued for piece in pieces] == [True, True, False, False]
    assert pieces[1].end == Position(bytes=2 * MAX_LINE_BYTES, newlines=0, tail=2 * MAX_LINE_BYTES)


def test_a_long_line_is_never_cut_inside_a_character():
    text = "é" * MAX_LINE_BYTES + "€" + "𝄞"

    pieces = cut(b"a" + text.encode() + b"\n", [65_536])

    assert "".join(piece.data.decode() for piece in pieces) == "a" + text
    assert all(len(piece.data) <= MAX_LINE_BYTES for piece in pieces)


def test_blank_lines_are_lines():
    assert [piece.data for piece in cut(b"\n\na\n\n", [2])] == [b"", b"", b"a", b""]
