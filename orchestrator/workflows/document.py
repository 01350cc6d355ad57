"""A workflow file as plain data that remembers its lines; YAML 1.2, of which JSON is a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from orchestrator.errors import Fault, InvalidError
from orchestrator.model.json import Json

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """On which line (from 1) a value is written: that of its key in a mapping, of the item in a sequence."""

    line: int
    children: Mapping[str | int, Mark] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDocument:
    """What a file says. `source` is its name in messages; `marks` is None for data that came without a file."""

    data: Json
    source: str
    marks: Mark | None = None

    def line_of(self, path: Path) -> int | None:
        """The line of the value at `path`, or of the nearest value around it where there is none."""
        mark = self.marks
        if mark is None:
            return None
        for part in path:
            child = mark.children.get(part)
            if child is None:
                break
            mark = child
        return mark.line


def load_document(text: str, *, source: str) -> LoadedDocument:
    """
    Read one YAML 1.2 or JSON document. `on`, `yes`, `012` and `12:30:00` mean what YAML 1.2 says they mean.
    As in all YAML a key ends within 1024 characters, in JSON too.

    Raises `InvalidError`, with line and column where there is one, for broken syntax, more than one document, double
    keys, tags and merge keys, and for a file beyond the limits of `yaml12`.
    """
    # PyYAML takes as long to import as the rest of `cronium run script.py` together.
    from orchestrator.workflows.yaml12 import read_yaml  # noqa: PLC0415

    data, marks = read_yaml(text, source)
    if data is None:
        raise InvalidError(
            f"{source} is empty; write at least one step.",
            faults=(Fault(path="", message="The document is empty.", line=1),),
        )
    return LoadedDocument(data=data, source=source, marks=marks)
