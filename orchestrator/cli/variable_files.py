"""Variables as files - JSON, environment, CSV - and back without loss. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from orchestrator.cli.inputs import load_json
from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
ESCAPED = re.compile(r'\\(["\\$`])')
CSV_COLUMNS = ("key", "value", "description")
# What a spreadsheet takes for a formula at the beginning of a cell; the apostrophe is how it is told not to.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A variable in a file; `description` None: the file does not say."""

    key: str
    value: Json
    description: str | None = None


def parse_value(text: str) -> Json:
    """What a text stands for, here and in `text/plain` bodies: JSON where it is JSON, else the text itself."""
    try:
        return load_json(text)
    except ValueError:
        return text


def value_text(value: Json) -> str:
    """The inverse of `parse_value`: a text as it is, unless it would be taken for JSON."""
    if isinstance(value, str) and parse_value(value) == value and isinstance(parse_value(value), str):
        return value
    return json.dumps(value, ensure_ascii=False)


def dump_json(entries: Sequence[Entry]) -> str:
    items: list[Json] = []
    for entry in entries:
        item: dict[str, Json] = {"key": entry.key, "value": entry.value}
        if entry.description is not None:
            item["description"] = entry.description
        items.append(item)
    return json.dumps({"variables": items}, ensure_ascii=False, indent=2) + "\n"


def parse_json(text: str) -> list[Entry]:
    """What `dump_json` wrote, or a plain object of keys and values. Raises `InvalidError`."""
    try:
        document = load_json(text)
    except ValueError as error:
        raise InvalidError(f"The file is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidError('The file must hold an object: {"variables": [...]}, or keys and values.')
    items = document.get("variables")
    if set(document) != {"variables"} or not isinstance(items, list):
        return [Entry(key=key, value=value) for key, value in document.items()]
    return [_entry(item, number) for number, item in enumerate(items, start=1)]


def dump_env(entries: Sequence[Entry]) -> str:
    """
    Lines for a shell to read with `.` or `source`; values in single quotes where they need them. Drops descriptions.

    Raises `InvalidError` for keys that no shell takes, and values with a NUL.
    """
    wrong = [entry.key for entry in entries if not NAME.fullmatch(entry.key)]
    if wrong:
        raise InvalidError(
            f"{len(wrong)} keys cannot be names of the environment, such as {wrong[0]!r}; export as json or csv, or choose "
            "others with --prefix."
        )
    lines = []
    for entry in entries:
        text = value_text(entry.value)
        if "\0" in text:
            raise InvalidError(f"The value of {entry.key} holds a NUL, which no environment takes; export as json.")
        lines.append(f"{entry.key}={shlex.quote(text)}\n")
    return "".join(lines)


def parse_env(text: str) -> list[Entry]:
    """Lines `NAME=value`, quoted as a shell does; `export` before and comments are passed over. Runs and expands nothing."""
    entries = []
    for word in _words(text):
        if word == "export":
            continue
        name, sign, value = word.partition("=")
        if not sign or not NAME.fullmatch(name):
            raise InvalidError(f"{word[:60]!r} is not of the form NAME=value; quote values that hold spaces.")
        entries.append(Entry(key=name, value=parse_value(value)))
    return entries


def dump_csv(entries: Sequence[Entry]) -> str:
    """Columns `key`, `value` (JSON) and `description`. No cell is a formula to a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(CSV_COLUMNS)
    for entry in entries:
        cells = (entry.key, json.dumps(entry.value, ensure_ascii=False), entry.description or "")
        writer.writerow([_disarmed(cell) for cell in cells])
    return out.getvalue()


def parse_csv(text: str) -> list[Entry]:
    """What `dump_csv` wrote: a header with `key` and `value`, perhaps `description`. Raises `InvalidError`."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InvalidError(f"The file is not CSV: {error}.") from error
    if not rows or not {"key", "value"} <= set(rows[0]):
        raise InvalidError("The first line must name the columns: key,value,description.")
    entries = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(rows[0]):
            raise InvalidError(f"Row {number} has {len(row)} cells, the first one {len(rows[0])}.")
        cells = {name: _armed(cell) for name, cell in zip(rows[0], row, strict=True)}
        description = cells.get("description") or None
        entries.append(Entry(key=cells["key"], value=parse_value(cells["value"]), description=description))
    return entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How a file of variables is written and read."""

    dump: Callable[[Sequence[Entry]], str]
    parse: Callable[[str], list[Entry]]


FORMATS: Mapping[str, Format] = {
    "json": Format(dump=dump_json, parse=parse_json),
    "env": Format(dump=dump_env, parse=parse_env),
    "csv": Format(dump=dump_csv, parse=parse_csv),
}


def format_of(file: str) -> str:
    """The format that a file's name tells; `json` where it tells none."""
    path = PurePath(file)
    ending = path.suffix.removeprefix(".").lower()
    return "env" if path.name == ".env" else ending if ending in FORMATS else "json"


def _entry(item: Json, number: int) -> Entry:
    if not isinstance(item, dict) or not isinstance(item.get("key"), str) or "value" not in item:
        raise InvalidError(f'Variable {number} of the file must be an object with "key" and "value".')
    description = item.get("description")
    return Entry(
        key=str(item["key"]), value=item["value"], description=description if isinstance(description, str) else None
    )


def _words(text: str) -> Iterator[str]:
    """The words of a shell's text; a comment begins where a word could."""
    found: list[str] = []
    begun, position = False, 0
    while position < len(text):
        character = text[position]
        if character in " \t\r\n":
            if begun:
                yield "".join(found)
            found, begun = [], False
        elif character == "#" and not begun:
            position = _find(text, "\n", position, otherwise=len(text)) - 1
        else:
            begun = True
            part, position = _part(text, position)
            found.append(part)
        position += 1
    if begun:
        yield "".join(found)


def _part(text: str, position: int) -> tuple[str, int]:
    """What stands at `position` of a word, and where it ends: a character, one behind a backslash, something in quotes."""
    character = text[position]
    if character == "'":
        end = _find(text, "'", position + 1)
        return text[position + 1 : end], end
    if character == '"':
        match = QUOTED.match(text, position)
        if match is None:
            raise _unclosed(text, position)
        return ESCAPED.sub(r"\1", match[1]), match.end() - 1
    if character == "\\":
        return text[position + 1 : position + 2], position + 1
    return character, position


def _find(text: str, wanted: str, position: int, otherwise: int | None = None) -> int:
    found = text.find(wanted, position)
    if found >= 0:
        return found
    if otherwise is None:
        raise _unclosed(text, position)
    return otherwise


def _unclosed(text: str, position: int) -> InvalidError:
    line = text.count("\n", 0, position) + 1
    return InvalidError(f"The file is not understood: what is quoted on line {line} has no end.")


def _disarmed(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def _armed(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell
