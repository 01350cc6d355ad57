"""Masking of secrets in output. Pure. A convenience for people, not a boundary: a script can always encode."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal

from orchestrator.jobs.secret_forms import forms_of

MASK = "***"
NO_SECRETS: Mapping[str, str] = {}
HEAD_BYTES = 8
FEW = 16  # forms that are searched for one after the other: so few are found more quickly than blocks are looked up
SLICE = 64  # blocks that are looked up at once where some are in the table
# What is in every log: blocks of these tell little.
LETTERS, DIGITS = b"abcdefghijklmnopqrstuvwxyz ./:-_=", b"0123456789"
LOOKED_AT = 64  # of the beginning of a form, where its blocks are chosen


class Mask:
    """
    Replaces the forms of some secrets by `***`.

    Output is looked through in blocks of 4 or 8 bytes, each a look into a table that has, for every form, a block at
    each alignment: whatever the number of secrets, what holds none of them costs one look per block. Only forms that
    such a block points to are searched for.
    """

    def __init__(self, secrets: Sequence[str], named: Mapping[str, str] = NO_SECRETS) -> None:
        """`secrets` have no names; of the `named` ones `printed` says which were there to be masked."""
        self.printed: set[str] = set()
        self._names: dict[bytes, str] = {}
        for name, secret in named.items():
            self._names.update(dict.fromkeys(forms_of(secret), name))
        forms = self._names.keys() | {form for secret in secrets for form in forms_of(secret)}
        self._sorted = sorted(forms)
        self._heads = frozenset(form[:HEAD_BYTES] for form in forms)
        self.shortest = min(map(len, forms), default=0)
        self.longest = max(map(len, forms), default=0)
        self._width = 8 if self.shortest >= 15 else 4
        self._format: Literal["Q", "I"] = "Q" if self._width == 8 else "I"
        # A block at each alignment needs `width - 1` bytes besides; shorter forms are found by a second look, 2 further.
        self._starts = (0, 2) if 0 < self.shortest < 2 * self._width - 1 else (0,)

    @cached_property
    def _table(self) -> Mapping[int, Sequence[tuple[bytes, int]]]:
        """Made when it is needed: most jobs have no secrets and never print their token."""
        return _index(self._sorted, self._width, self._starts)

    def text(self, text: str) -> str:
        """Mask a whole line."""
        if len(text) * 4 < self.shortest:
            return text
        data = text.encode("utf-8", "surrogatepass")
        masked = self.data(data)
        return text if masked is data else masked.decode("utf-8", "surrogatepass")

    def data(self, data: bytes) -> bytes:
        """Mask bytes in which no secret is cut; the same object where there is none."""
        spans = self.spans(data)
        if not spans:
            return data
        parts, shown = [], 0
        for begin, end in spans:
            parts += [data[shown:begin], MASK.encode()]
            shown = end
        return b"".join([*parts, data[shown:]])

    def is_clean(self, data: bytes) -> bool:
        """Whether `data` surely holds no secret as a whole."""
        if len(data) < self.shortest or not self._sorted:
            return True
        if len(self._sorted) <= FEW:
            return not any(form in data for form in self._sorted)
        return all(self._table.keys().isdisjoint(self._view(data, start)) for start in self._starts)

    def held_back(self, data: bytes) -> int:
        """How many bytes at the end of `data` are to stay with the next ones, so that no secret is cut between them."""
        cut = len(data) - self._begun(data)
        for begin, end in self.spans(data):
            if begin < cut < end:
                cut = begin
        return len(data) - cut

    def _begun(self, data: bytes) -> int:
        """How long the longest ending of `data` is that a form begins with, and goes on after."""
        size = len(data)
        for begin in range(max(0, size - self.longest + 1), size):
            if size - begin >= HEAD_BYTES and data[begin : begin + HEAD_BYTES] not in self._heads:
                continue
            ending = data[begin:]
            place = bisect_right(self._sorted, ending)
            if place < len(self._sorted) and self._sorted[place].startswith(ending):
                return len(ending)
        return 0

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where forms are, those that overlap as one, in order."""
        if self.is_clean(data):
            return []
        found: set[tuple[int, int]] = set()
        for place, block in self._blocks(data):
            for form, offset in self._table[block]:
                begin = place - offset
                span = (begin, begin + len(form))
                if begin >= 0 and span not in found and data.startswith(form, begin):
                    found.add(span)
                    if form in self._names:
                        self.printed.add(self._names[form])
        return _joined(found)

    def _blocks(self, data: bytes) -> Iterator[tuple[int, int]]:
        """The blocks of `data` that are in the table, each with its place."""
        for start in self._starts:
            view = self._view(data, start)
            for first in range(0, len(view), SLICE):
                part = view[first : first + SLICE]
                if not self._table.keys().isdisjoint(part):
                    for number, block in enumerate(part, first):
                        if block in self._table:
                            yield start + number * self._width, block

    def _view(self, data: bytes, start: int) -> memoryview[int]:
        """The blocks of `data` from `start` on, as numbers."""
        end = len(data) - (len(data) - start) % self._width
        return memoryview(data)[start:end].cast(self._format)


def _index(forms: Iterable[bytes], width: int, starts: Sequence[int]) -> dict[int, list[tuple[bytes, int]]]:
    """
    Blocks to the forms that hold them, and where.

    Wherever a form begins, one of its blocks lies where the search looks, at multiples of `width // len(starts)`.
    """
    step = width // len(starts)
    table: dict[int, list[tuple[bytes, int]]] = {}
    for form in forms:
        last = min(len(form), LOOKED_AT) - width
        for first in range(step):
            offsets = range(first, last + 1, step)
            best = min(offsets, key=lambda offset: _usual(form[offset : offset + width]))
            block = memoryview(form[best : best + width]).cast("Q" if width == 8 else "I")[0]
            table.setdefault(block, []).append((form, best))
    return table


def _usual(block: bytes) -> int:
    """How little a block tells."""
    rare = block.translate(None, LETTERS)
    return len(block) - len(rare) + 2 * (len(rare) - len(rare.translate(None, DIGITS)))


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if joined and begin < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


class StreamMask:
    """Masks a stream of bytes that comes in pieces cut anywhere; holds back only what may become a secret."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._pending = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown so far."""
        data = self._pending + data
        shown = len(data) - self._mask.held_back(data)
        self._pending = data[shown:]
        return self._mask.data(data[:shown])

    def flush(self) -> bytes:
        """Return the rest, at the end of the stream."""
        rest, self._pending = self._pending, b""
        return self._mask.data(rest)


class Screen:
    """
    Knows where in a stream secrets are, so that only the lines that hold one need be masked.

    It is fed before the lines are cut, and asked about them in their order; places are bytes since the stream began.
    """

    def __init__(self, mask: Mask, at: int = 0) -> None:
        self._mask, self._at = mask, at
        self._ending = b""  # so much of what came before as may be the beginning of a secret
        self._places: deque[tuple[int, int]] = deque()

    def feed(self, data: bytes) -> None:
        """Take the next part of the stream, cut anywhere."""
        overlap = max(0, self._mask.longest - 1)
        seen, begin = self._ending + data, self._at - len(self._ending)
        if len(data) * 2 >= overlap:
            self._places.extend((begin + start, begin + end) for start, end in self._mask.spans(seen))
        else:  # it is less work to look at its lines than once more at what came before
            self._places.append((begin, self._at + len(data)))
        self._at += len(data)
        self._ending = seen[-overlap:] if overlap else b""

    def is_clean(self, begin: int, end: int) -> bool:
        """Whether a line from `begin` to `end` surely holds no secret. Of what is before it nobody asks again."""
        while self._places and self._places[0][1] <= begin:
            self._places.popleft()
        return not self._places or self._places[0][0] >= end
