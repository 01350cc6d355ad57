"""The `#!` line of a script: the program it names and the options it gives, as execve(2) and env(1) read it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model.specs import Language

FIRST_BYTES = 256  # what Linux itself looks at
ENV_SPLIT = re.compile(r"(-S|--split-string=)\s*")
LANGUAGES = {
    Language.PYTHON: re.compile(r"python(3(\.\d+)?)?"),
    Language.NODE: re.compile(r"node(js)?"),
    Language.BASH: re.compile(r"bash"),
    Language.SHELL: re.compile(r"(da)?sh"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shebang:
    """`program` is a path, or a name to be looked up on the PATH; `language` what we call it, if we know it."""

    program: str
    options: tuple[str, ...]
    language: Language | None


def read_shebang(path: Path) -> Shebang | None:
    """The `#!` line of a file, None where it has none. Raises `OSError`."""
    with path.open("rb") as file:
        first = file.read(FIRST_BYTES)
    if not first.startswith(b"#!"):
        return None
    line = first[2:].partition(b"\n")[0].decode("utf-8", "surrogateescape").strip()
    if not line:
        return None
    program, *rest = line.split(maxsplit=1)
    options = tuple(rest)  # Linux passes all that follows the program as one argument
    if Path(program).name == "env" and rest:
        program, options = _of_env(program, rest[0])
    name = Path(program).name
    language = next((language for language, names in LANGUAGES.items() if names.fullmatch(name)), None)
    return Shebang(program=program, options=options, language=language)


def _of_env(env: str, rest: str) -> tuple[str, tuple[str, ...]]:
    """What env(1) would start; env itself where it is to do more than look a name up."""
    words = _words(ENV_SPLIT.sub("", rest, count=1) if ENV_SPLIT.match(rest) else rest)
    if not words or words[0].startswith("-") or "=" in words[0]:
        return env, (rest,)
    return words[0], tuple(words[1:])


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
