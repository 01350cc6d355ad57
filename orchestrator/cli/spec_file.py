"""A file as the body of a submission: a script in its language, or a job specification in YAML or JSON."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from orchestrator.errors import Fault, InvalidError
from orchestrator.model.json import Json

STDIN = "-"
SPEC_ENDINGS = (".yaml", ".yml", ".json")
SCRIPT_ENDINGS = {".py": "python", ".js": "node", ".mjs": "node", ".cjs": "node", ".sh": "bash"}
INTERPRETERS = {
    "python": re.compile(r"python[0-9.]*"),
    "node": re.compile(r"node(js)?"),
    "bash": re.compile(r"bash"),
    "shell": re.compile(r"sh|dash"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFile:
    """
    What a file asks for. `text` is kept of a specification, so that a fault can be shown on its line; None of a script,
    whose faults have no line there.
    """

    document: dict[str, Json]
    source: str
    text: str | None = None

    def with_lines(self, faults: Sequence[Fault]) -> tuple[Fault, ...]:
        """Faults whose paths are keys joined by dots, with the lines of this file where it has any."""
        if self.text is None:
            return tuple(faults)
        from orchestrator.workflows.document import load_document

        loaded = load_document(self.text, source=self.source)
        return tuple(
            fault if fault.line is not None else replace(fault, line=loaded.line_of(keys_of(fault.path)))
            for fault in faults
        )


def read_spec_file(name: str, *, language: str | None) -> SpecFile:
    """
    Read a script or a job specification; `-` is stdin, `language` makes any text a script in it.

    Raises `InvalidError`.
    """
    source = "<stdin>" if name == STDIN else name
    text = read_text(name)
    language = language or script_language(name, text)
    if language is not None:
        document: dict[str, Json] = {language: text}
        return SpecFile(document=document if name == STDIN else {"name": Path(name).name, **document}, source=source)
    if name != STDIN and Path(name).suffix.lower() not in SPEC_ENDINGS:
        raise InvalidError(
            f"{name}: what it is written in is not known. Give it an ending (.py .js .mjs .sh; .yaml or .json for a "
            "job), a #! line for python, node, bash or sh, or say --lang."
        )
    return SpecFile(document=_specification(text, source), source=source, text=text)


def read_text(name: str) -> str:
    """The text of a file, or of stdin for `-`. Raises `InvalidError`."""
    try:
        data = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidError(f"{name} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"{name} is not a text in UTF-8 (byte {error.start + 1} is {error.reason}).") from error


def script_language(name: str, text: str) -> str | None:
    """What a script is written in, by its ending, else by its `#!` line; None where neither says."""
    known = SCRIPT_ENDINGS.get(Path(name).suffix.lower())
    if known is not None or not text.startswith("#!"):
        return known
    words = text.partition("\n")[0][2:].split()
    # `#!/usr/bin/env -S python3 -u`: the program is the first word that is neither env nor an option of it.
    programs = [PurePosixPath(word).name for word in words if not word.startswith("-") and "=" not in word]
    program = next((name for name in programs if name != "env"), "")
    return next((language for language, names in INTERPRETERS.items() if names.fullmatch(program)), None)


def _specification(text: str, source: str) -> dict[str, Json]:
    from orchestrator.workflows.document import load_document

    document = load_document(text, source=source).data
    if not isinstance(document, dict):
        raise InvalidError(f"{source} is no job: it must be a mapping such as `bash: echo hello`.")
    if "steps" in document:
        raise InvalidError(f"{source} is a workflow: run it here with `cronium run {source}`.")
    return document


def keys_of(path: str) -> tuple[str | int, ...]:
    """The keys and indexes of a fault's path."""
    return tuple(int(key) if key.isdecimal() else key for key in path.split(".")) if path else ()
