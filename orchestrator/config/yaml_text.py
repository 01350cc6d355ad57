"""The YAML of a file of settings: names with one value each, as text, with their lines. Nothing is repeated in errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

NULL = frozenset({"", "~", "null", "Null", "NULL"})
MAX_DEPTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line `key: value`; the keys of a nested one are joined by dots. None is a value that was left out."""

    key: str
    value: str | None = field(repr=False)
    line: int


class Refusal(Exception):  # noqa: N818 - not an error of its own: the reader of the file turns it into a fault
    """The text is no file of settings from `line` on. The message says nothing of what stands there."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read_entries(text: str) -> Iterator[Entry]:
    """
    Each setting in `text`. A value is the text that stands there, with or without quotes, as it would stand in the
    environment: `no`, `012` and `1_000` are not guessed at, which is what YAML 1.2 asks for, too.

    Raises `Refusal` for what is not YAML, and for lists, double keys, tags, anchors, aliases and second documents.
    """
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            yield from reader.take(event)
    except yaml.MarkedYAMLError as error:
        # The words of libyaml's parser are fixed ones, and its snippet of the text is left out.
        what = " ".join(part for part in (error.problem, error.context) if part)
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise Refusal(f"this is not YAML: {what or 'syntax error'}", line) from None
    except yaml.YAMLError:
        raise Refusal("this is not YAML: there is a character that text does not have", None) from None


class _Reader:
    """Follows the events of one document without recursion, however deep a hostile one is."""

    def __init__(self) -> None:
        self._outer: list[str] = []
        self._depth = 0
        self._key: str | None = None
        self._lines: dict[str, int] = {}
        self._documents = 0

    def take(self, event: yaml.Event) -> Iterator[Entry]:
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        _refuse_specials(event, line)
        match event:
            case yaml.DocumentStartEvent():
                self._start_document(line)
            case yaml.MappingStartEvent():
                self._open(line)
            case yaml.MappingEndEvent():
                self._close()
            case yaml.ScalarEvent():
                yield from self._take_scalar(event, line)
            case _:
                pass

    def _start_document(self, line: int) -> None:
        self._documents += 1
        if self._documents > 1:
            raise Refusal("a second document begins here (`---`); a file holds one", line)

    def _open(self, line: int) -> None:
        if self._depth > 0:
            if self._key is None:
                raise Refusal("the name of a setting must be one word", line)
            self._outer.append(self._key)
            self._key = None
        if self._depth >= MAX_DEPTH:
            raise Refusal(f"settings are nested more than {MAX_DEPTH} deep", line)
        self._depth += 1

    def _close(self) -> None:
        self._depth -= 1
        if self._outer:
            self._outer.pop()

    def _take_scalar(self, event: yaml.ScalarEvent, line: int) -> Iterator[Entry]:
        key = self._key
        if key is not None:
            self._key = None
            yield Entry(key=key, value=_value(event), line=self._lines[key])
        elif self._depth > 0:
            self._take_key(event.value, line)
        elif _value(event) is not None:
            raise Refusal("a file of settings has lines `name: value`", line)

    def _take_key(self, name: str, line: int) -> None:
        key = f"{self._outer[-1]}.{name}" if self._outer else name
        if key in self._lines:
            raise Refusal(f"`{key[:80]}` is there twice, on lines {self._lines[key]} and {line}; remove one", line)
        self._lines[key] = line
        self._key = key


def _refuse_specials(event: yaml.Event, line: int) -> None:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise Refusal("anchors (`&`) and aliases (`*`) have no use here; put text that begins so in quotes", line)
    if getattr(event, "tag", None) is not None:
        raise Refusal("tags (`!`) have no use here; put text that begins so in quotes", line)
    if isinstance(event, yaml.SequenceStartEvent):
        raise Refusal("no setting takes a list; put text that begins with `[` or `- ` in quotes", line)


def _value(event: yaml.ScalarEvent) -> str | None:
    return None if event.implicit[0] and event.value in NULL else event.value
