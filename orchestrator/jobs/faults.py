"""Collect everything that is wrong in a document, each with its path, instead of stopping at the first."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from orchestrator.errors import Fault

MAX_PROBLEMS = 100
MAX_WORD = 60  # of a word to look for: comparing takes time in the square of its length


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong; `path` are the keys and indexes that lead there."""

    path: tuple[str | int, ...]
    message: str

    def fault(self, prefix: str = "", line: int | None = None) -> Fault:
        """The problem as callers see it, its path written with dots after `prefix`."""
        parts = [prefix] if prefix else []
        return Fault(path=".".join([*parts, *map(str, self.path)]), message=self.message, line=line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """
    Where in a document a reader stands; all readings that come from one share its `problems`.

    With `templates`, texts with `{{` are left to be checked when they are filled in. `of_event`: what is read belongs
    to an event.
    """

    templates: bool = False
    of_event: bool = False
    path: tuple[str | int, ...] = ()
    problems: list[Problem] = field(default_factory=list)

    def at(self, *keys: str | int) -> Reading:
        """The reading of a value further inside."""
        return replace(self, path=(*self.path, *keys))

    def wrong(self, message: str) -> None:
        """Note that the value here is wrong; the message names it and the fix. Beyond `MAX_PROBLEMS` none are kept."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(path=self.path, message=message))

    def is_open(self, value: object) -> bool:
        """Whether the value is a template, so that nothing can be said about it yet."""
        return self.templates and isinstance(value, str) and "{{" in value


def near(word: str, known: Iterable[str]) -> str:
    """` Did you mean ...?` for a word that looks like a known one, else nothing."""
    if len(word) > MAX_WORD:
        return ""
    found = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return f" Did you mean `{found[0]}`?" if found else ""


def shown(word: str) -> str:
    """A word from a document, short enough for a message."""
    return word if len(word) <= MAX_WORD else word[:MAX_WORD] + "..."


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"
