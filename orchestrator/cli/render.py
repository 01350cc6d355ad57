"""Drawing for people: tables, durations, sizes, times, colours. What scripts and servers name is escaped, never obeyed."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TextIO

from orchestrator.model.json import Json

MISSING = "-"
ZERO_WIDTH_JOINER = "\u200d"  # part of many emoji, harmless on its own
CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "dim": "2", "bold": "1"}
STATUS_COLOURS = {
    "queued": "dim",
    "running": "blue",
    "succeeded": "green",
    "failed": "red",
    "timed_out": "red",
    "cancelled": "yellow",
    "skipped": "dim",
    "active": "green",
    "paused": "yellow",
    "archived": "dim",
}
# JSON leaves these as they are: C1 controls and changes of direction, which terminals obey, and lone surrogates.
JSON_UNSAFE = re.compile("[\x7f-\x9f\ud800-\udfff\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def table(rows: Sequence[Mapping[str, str]], columns: Sequence[str], *, colour: bool = False) -> str:
    """
    Lay out `rows` beneath a line of headings, each line ended. A column is as wide as its widest cell.

    Cells are escaped. With `colour` the column `STATUS` is coloured by its value.
    """
    cells = [[escape(row.get(column) or MISSING) for column in columns] for row in rows]
    widths = [max([len(column), *(width(row[at]) for row in cells)]) for at, column in enumerate(columns)]
    lines = [_line(list(columns), widths)]
    for row in cells:
        line = [_pad(cell, size) for cell, size in zip(row, widths, strict=True)]
        if colour and "STATUS" in columns:
            at = columns.index("STATUS")
            line[at] = paint(line[at], STATUS_COLOURS.get(row[at], ""))
        lines.append("  ".join(line).rstrip())
    return "\n".join(lines) + "\n"


def pairs(items: Sequence[tuple[str, str | None]]) -> str:
    """Lay out names and values, one pair a line; pairs without a value are left out, the rest is escaped."""
    shown = [(name, value) for name, value in items if value is not None]
    size = max((len(name) for name, _ in shown), default=0)
    return "".join(f"{name:<{size}}  {escape(value)}\n" for name, value in shown)


def escape(text: str) -> str:
    r"""Make `text` safe for one line of a terminal: control and formatting characters become `\x1b`, `\u202e`, ..."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def paint(text: str, colour: str) -> str:
    """`text` in a colour of `CODES`; as it is when there is none of that name."""
    code = CODES.get(colour)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def wants_colour(stream: TextIO) -> bool:
    """Whether to colour what is written to `stream`: only a terminal, and never with NO_COLOR (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def duration(seconds: float) -> str:
    """A length of time in two units at most: `340ms`, `12.3s`, `4m 05s`, `2h 07m`, `3d 04h`."""
    if seconds < 0.9995:
        return f"{max(0, round(seconds * 1000))}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60:02}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d {hours % 24:02}h"


def size(count: int) -> str:
    """A number of bytes: `17 B`, `1.5 KiB`, `50.0 MiB`."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1023.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def local_time(at: datetime) -> str:
    """A time in the zone of this machine, to the second."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def json_text(value: Json, *, indent: int | None = 2) -> str:
    """`value` as JSON that a terminal takes for text: nothing in it moves the cursor or turns lines round."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return JSON_UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def print_json(value: Json) -> None:
    """Write `value` to stdout."""
    sys.stdout.write(json_text(value) + "\n")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_pad(cell, size) for cell, size in zip(cells, widths, strict=True)).rstrip()


def _pad(cell: str, size: int) -> str:
    return cell + " " * (size - width(cell))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or character == ZERO_WIDTH_JOINER:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _escaped(character: str) -> str:
    if character == ZERO_WIDTH_JOINER or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return character.encode("unicode_escape").decode("ascii")
