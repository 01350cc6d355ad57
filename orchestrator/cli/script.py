"""The script in a file: what it is written in, by its ending and its `#!` line, and what starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orchestrator.cli.descriptors import say
from orchestrator.cli.shebang import Shebang, read_shebang
from orchestrator.errors import InvalidError
from orchestrator.jobs.environment import INTERPRETERS
from orchestrator.model.specs import Language, Script
from orchestrator.places import find_interpreter

ENDINGS = {
    ".py": Language.PYTHON,
    ".js": Language.NODE,
    ".mjs": Language.NODE,
    ".cjs": Language.NODE,
    ".sh": Language.BASH,
}


def read_script(name: str, chosen: str | None, *, in_image: bool) -> tuple[Script, tuple[str, ...]]:
    """
    The script in the file `name`, and what comes before its arguments. `chosen` is what --lang says.

    Raises `InvalidError` where it cannot be read, or nobody can say what it is written in.
    """
    path = Path(name)
    try:
        if not path.is_file():
            raise InvalidError(f"There is no file {name}.")
        shebang = read_shebang(path)
    except OSError as error:
        raise InvalidError(f"{name} cannot be read: {error.strerror}.") from error
    language = _language(path, chosen, shebang)
    if in_image:
        if language is Language.PROGRAM:
            raise InvalidError(f"{name}: say --lang to run it in an image.")
        if shebang is not None and shebang.options:
            say(f"cronium: {name}: the options of its #! line are not used in an image")
        return Script(language=language, text=read_text(name), module=path.suffix == ".mjs"), ()
    file = str(path.absolute())
    if shebang is None or not _is_wanted(shebang, language, path):
        return Script(language=language, file=file), ()
    # With options, or by a program that is none of our languages: that program is started, as Linux would.
    return Script(language=Language.PROGRAM, file=_program(name, shebang)), (*shebang.options, file)


def _language(path: Path, chosen: str | None, shebang: Shebang | None) -> Language:
    """By --lang, else by the ending unless the `#!` line names something else, which then is to be respected."""
    if chosen:
        return Language(chosen)
    by_ending = ENDINGS.get(path.suffix.lower())
    if by_ending is None:
        if shebang is None or not os.access(path, os.X_OK):
            raise InvalidError(
                f"{path}: what it is written in is not known. Give it an ending (.py .js .mjs .sh), "
                "a #! line and the right to be executed, or say --lang."
            )
        return Language.PROGRAM
    if shebang is None:
        return by_ending
    return shebang.language or Language.PROGRAM


def _is_wanted(shebang: Shebang, language: Language, path: Path) -> bool:
    """Whether the program of the `#!` line is to be started by us: Linux does it for files without an ending."""
    if language is Language.PROGRAM:
        return path.suffix.lower() in ENDINGS
    return bool(shebang.options) and shebang.language is language


def _program(file: str, shebang: Shebang) -> str:
    """Where the program is: for a language of ours the caller's, wherever the `#!` line says it is."""
    name = INTERPRETERS[shebang.language] if shebang.language else shebang.program
    found = find_interpreter(name, os.environ.get("PATH", os.defpath))
    if found is None:
        raise InvalidError(
            f"{file}: its #! line names {shebang.program}, which is not here: install it, or say --lang."
        )
    return found


def read_text(file: str) -> str:
    """The text of a file, `-`: of stdin. Raises `InvalidError`."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        source = "<stdin>" if file == "-" else file
        raise InvalidError(f"{source} cannot be read: {error}; it has to be text in UTF-8.") from error
