"""YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema) on libyaml's events, within limits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import yaml

from orchestrator.errors import Fault, InvalidError
from orchestrator.model.json import Json
from orchestrator.workflows.document import Mark

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 50
MAX_ALIASES = 100
MAX_WEIGHT = 4 * MAX_BYTES  # of the document with every alias written out: what it would take as JSON, roughly

NULL = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
TAG = "tag:yaml.org,2002:"
COLLECTION_TAGS = frozenset({None, "!", TAG + "map", TAG + "seq"})
INTEGERS = range(-(2**63), 2**64)
MAX_DIGITS = 40  # of a number's text: longer ones are out of range anyway

SURROGATES = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class _Mark(Protocol):
    """A place as PyYAML gives it, counted from 0."""

    line: int
    column: int


class _Refusal(Exception):  # noqa: N818 - not an error of its own: `read_yaml` turns it into `InvalidError`
    """The document is refused; `event` is where."""

    def __init__(self, message: str, event: yaml.Event | None) -> None:
        super().__init__(message)
        self.message = message
        self.mark = event.start_mark if event is not None else None


@dataclass(slots=True)
class _Node:
    """A value with what must be known about it: its line, its weight, and for collections what is in it so far."""

    value: Json
    line: int
    weight: int = 1
    anchor: str | None = None
    children: dict[str | int, Mark] = field(default_factory=dict)
    key: str | None = None
    key_line: int = 0

    def mark(self, line: int) -> Mark:
        return Mark(line=line, children=self.children)


def read_yaml(text: str, source: str) -> tuple[Json, Mark]:
    """Read one document. Raises `InvalidError` as `load_document` says."""
    try:
        node = _Reader().read(_checked_text(text))
    except _Refusal as refusal:
        raise _invalid(source, refusal.message, refusal.mark) from None
    except yaml.MarkedYAMLError as error:
        what = " ".join(part for part in (error.problem, error.context) if part)
        raise _invalid(source, f"This is not YAML: {what or 'syntax error'}.", error.problem_mark) from error
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", "it cannot be read")
        position = getattr(error, "position", None)
        where = f" (character {position + 1})" if isinstance(position, int) else ""
        raise _invalid(source, f"This is not YAML: {reason}{where}.", None) from error
    return node.value, node.mark(node.line)


def _checked_text(text: str) -> str:
    lone = LONE_SURROGATE.search(text)
    if lone is not None:
        raise _Refusal(f"Character {lone.start() + 1} is half of a surrogate pair, which is no text.", None)
    if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        raise _Refusal("The document is larger than 1 MiB; move long scripts or data into files of their own.", None)
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        # JSON writes characters beyond U+FFFF as two escapes, which libyaml does not know.
        text = SURROGATES.sub(_joined_surrogates, text)
    return text


def _joined_surrogates(match: re.Match[str]) -> str:
    high, low = int(match[2], 16), int(match[3], 16)
    return match[1] + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _invalid(source: str, message: str, mark: _Mark | None) -> InvalidError:
    line = mark.line + 1 if mark is not None else None
    place = f"{source}:{line}:{mark.column + 1}" if mark is not None else source
    return InvalidError(f"{place}: {message}", faults=(Fault(path="", message=message, line=line),))


class _Reader:
    """Builds plain data from events without recursion: libyaml's own composer would overflow the stack."""

    def __init__(self) -> None:
        self.open: list[_Node] = []
        self.anchored: dict[str, _Node | None] = {}
        self.aliases = 0
        self.documents = 0
        self.root: _Node | None = None

    def read(self, text: str) -> _Node:
        for event in _events(text):
            self._take(event)
        return self.root or _Node(value=None, line=1)

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._start_document(event)
            case yaml.AliasEvent():
                self._place(self._alias(event), event)
            case yaml.ScalarEvent():
                node = _Node(value=_scalar(event), line=_line(event), anchor=event.anchor)
                node.weight += len(event.value)
                self._remember(node)
                self._place(node, event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                node = self.open.pop()
                self._remember(node)
                self._place(node, event)
            case _:
                pass

    def _start_document(self, event: yaml.Event) -> None:
        self.documents += 1
        if self.documents > 1:
            raise _Refusal("A second document begins here (`---`); a file holds one.", event)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if event.tag not in COLLECTION_TAGS:
            raise _Refusal(f"The tag `{_tag_name(event.tag or '')}` is not supported; leave it out.", event)
        if len(self.open) >= MAX_DEPTH:
            raise _Refusal(f"Values are nested more than {MAX_DEPTH} deep.", event)
        if self.open and isinstance(self.open[-1].value, dict) and self.open[-1].key is None:
            raise _Refusal("A key must be text, not a list or mapping.", event)
        value: Json = {} if isinstance(event, yaml.MappingStartEvent) else []
        if event.anchor is not None:
            self.anchored[event.anchor] = None
        self.open.append(_Node(value=value, line=_line(event), anchor=event.anchor))

    def _remember(self, node: _Node) -> None:
        if node.anchor is not None:
            self.anchored[node.anchor] = node

    def _alias(self, event: yaml.AliasEvent) -> _Node:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise _Refusal(f"There are more than {MAX_ALIASES} aliases; write the values out.", event)
        if event.anchor not in self.anchored:
            raise _Refusal(f"The alias `*{event.anchor}` has no anchor `&{event.anchor}` before it.", event)
        node = self.anchored[event.anchor]
        if node is None:
            raise _Refusal(f"The alias `*{event.anchor}` is inside what it stands for.", event)
        return node

    def _place(self, node: _Node, event: yaml.Event) -> None:
        """Put a finished value where it belongs: into the collection that is open, as a key or value, or at the top."""
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        parent.weight += node.weight
        if parent.weight > MAX_WEIGHT:
            raise _Refusal("With its aliases written out the document is larger than 4 MiB.", event)
        if isinstance(parent.value, list):
            parent.children[len(parent.value)] = node.mark(node.line)
            parent.value.append(node.value)
        elif isinstance(parent.value, dict) and parent.key is None:
            parent.key, parent.key_line = _key(node, event, parent), _line(event)
        elif isinstance(parent.value, dict) and parent.key is not None:
            parent.value[parent.key] = node.value
            parent.children[parent.key] = node.mark(parent.key_line)
            parent.key = None


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=yaml.CSafeLoader)


def _key(node: _Node, event: yaml.Event, parent: _Node) -> str:
    if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
        raise _Refusal("Merge keys (`<<`) are not part of YAML 1.2; write the keys out.", event)
    if not isinstance(node.value, str):
        shown = event.value if isinstance(event, yaml.ScalarEvent) else "this"
        raise _Refusal(f"A key must be text: put `{shown[:40]}` in quotes.", event)
    first = parent.children.get(node.value)
    if first is not None:
        line = _line(event)
        message = f"The key `{node.value[:80]}` is there twice, on lines {first.line} and {line}; remove one."
        raise _Refusal(message, event)
    return node.value


def _scalar(event: yaml.ScalarEvent) -> Json:
    plain, quoted = event.implicit
    if event.tag in (None, "!"):
        return _plain(event.value, event) if plain and event.tag is None else event.value
    if plain or quoted:
        return event.value
    return _tagged(event)


def _plain(text: str, event: yaml.ScalarEvent) -> Json:
    """What an unquoted word means by the core schema."""
    if text in NULL:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if text[0] not in "-+.0123456789":
        return text
    if INTEGER.fullmatch(text):
        return _integer(text, event)
    if FLOAT.fullmatch(text):
        return _float(text, event)
    if NOT_FINITE.fullmatch(text):
        raise _Refusal(f"`{text}` is not a JSON value; use a number or put it in quotes.", event)
    return text


def _integer(text: str, event: yaml.ScalarEvent) -> int:
    number = None
    if len(text) <= MAX_DIGITS:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = int(text[2:] if base != 10 else text, base)
    if number is None or number not in INTEGERS:
        raise _Refusal(f"`{text[:40]}` does not fit in 64 bits; put it in quotes.", event)
    return number


def _float(text: str, event: yaml.ScalarEvent) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refusal(f"`{text[:40]}` is too large a number; put it in quotes.", event)
    return number


def _tagged(event: yaml.ScalarEvent) -> Json:
    """`!!str 12` and the like; other tags, dates and binary data among them, have no meaning here."""
    name = _tag_name(event.tag or "")
    if name == "!!str":
        return event.value
    kinds: dict[str, tuple[type, ...]] = {"!!int": (int,), "!!float": (int, float), "!!bool": (bool,)}
    if name not in kinds:
        raise _Refusal(f"The tag `{name}` is not supported; leave it out and write plain text.", event)
    value = _plain(event.value, event)
    if not isinstance(value, kinds[name]) or (isinstance(value, bool) and name != "!!bool"):
        raise _Refusal(f"`{event.value[:40]}` is not what the tag `{name}` says.", event)
    return float(value) if name == "!!float" and isinstance(value, int) else value


def _tag_name(tag: str) -> str:
    return "!!" + tag.removeprefix(TAG) if tag.startswith(TAG) else tag
