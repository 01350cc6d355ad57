"""Patterns of keys and channels, as `Keys` in the contract describes them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.contracts.cache import literally
from orchestrator.errors import InvalidError


@dataclass(frozen=True, slots=True)
class _Run:
    """Any characters, or none."""


@dataclass(frozen=True, slots=True)
class _One:
    """One character: one of `ranges`, or, `negated`, one that is in none of them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def matches(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) is not self.negated

    @property
    def literal(self) -> str | None:
        """The only character that this matches, if there is only one."""
        if self.negated or len(self.ranges) != 1 or self.ranges[0][0] != self.ranges[0][1]:
            return None
        return self.ranges[0][0]


_RUN = _Run()
_ANY = _One((), negated=True)


class Glob:
    """A pattern that was understood."""

    def __init__(self, pattern: str) -> None:
        """Raises `InvalidError` for an unfinished pattern."""
        self._parts = _parse(pattern)

    def matches(self, text: str) -> bool:
        """Whether all of `text` matches. Takes no longer than the pattern's length times the text's."""
        parts, here, place = self._parts, 0, 0
        run, resume = -1, 0  # the last run that was passed, and where the text goes on if it takes one more character
        while place < len(text):
            part = parts[here] if here < len(parts) else None
            if isinstance(part, _Run):
                run, resume, here = here, place, here + 1
            elif part is not None and part.matches(text[place]):
                here, place = here + 1, place + 1
            elif run >= 0:
                resume += 1
                here, place = run + 1, resume
            else:
                return False
        return all(isinstance(part, _Run) for part in parts[here:])

    def coarse(self, prefix: str) -> str:
        """
        A pattern for a server, matching `prefix` and then at least all that this matches.

        Servers count bytes where we count characters, and read unfinished classes their own way: so they are asked for
        the literal parts, with a `*` between them, and the answer is looked through here.
        """
        coarse = literally(prefix)
        for part in self._parts:
            literal = None if isinstance(part, _Run) else part.literal
            if literal is not None:
                coarse += literally(literal)
            elif not coarse.endswith("*") or coarse.endswith("\\*"):
                coarse += "*"
        return coarse


def _parse(pattern: str) -> list[_Run | _One]:
    parts: list[_Run | _One] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "*":
            at += 1
            if parts[-1:] != [_RUN]:
                parts.append(_RUN)
        elif character == "?":
            at += 1
            parts.append(_ANY)
        elif character == "[":
            one, at = _parse_class(pattern, at + 1)
            parts.append(one)
        else:
            literal, at = _parse_character(pattern, at)
            parts.append(_One(((literal, literal),)))
    return parts


def _parse_class(pattern: str, at: int) -> tuple[_One, int]:
    """The class that begins behind its `[`, and where the pattern goes on."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[tuple[str, str]] = []
    while pattern[at : at + 1] != "]":
        low, at = _parse_character(pattern, at)
        high = low
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in {"]", ""}:
            high, at = _parse_character(pattern, at + 1)
        ranges.append((min(low, high), max(low, high)))
    return _One(tuple(ranges), negated), at + 1


def _parse_character(pattern: str, at: int) -> tuple[str, int]:
    """The character at `at`, or the one behind a backslash there, and where the pattern goes on."""
    at += pattern[at : at + 1] == "\\"
    if at >= len(pattern):
        raise InvalidError(f"The pattern {pattern!r} is unfinished: close its `[`, or write `\\\\` for a backslash.")
    return pattern[at], at + 1
