"""The settings as `docs/container-migration/deployment.md` lists them: `python -m tests.docs.settings_table` prints them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from orchestrator.config.keys import SETTINGS, VARIABLES
from tests.conftest import ROOT

FILES = {
    "one container": "docker-compose.yml",
    "stack": "docker-compose.stack.yml",
    "development": "docker-compose.dev.yml",
}
# What a service is given: a line of its environment, as a list or as a mapping, with the value that it has there.
GIVEN = re.compile(r"^ +(?:- )?([A-Z][A-Z_]+)(?:$|: *$|[=:] ?(?=\$\{))", re.MULTILINE)


def handed_on(file: str) -> set[str]:
    """The settings whose variables a compose file takes from the environment of whoever calls compose."""
    return {VARIABLES[name] for name in GIVEN.findall((ROOT / file).read_text()) if name in VARIABLES}


def of_image() -> dict[str, str]:
    """What the image sets by itself."""
    found = re.findall(r"\b(CRONIUM_\w+)=(\S+)", (ROOT / "Dockerfile").read_text())
    return {VARIABLES[name]: f"`{value}`" for name, value in found if name in VARIABLES}


def settings_in_containers() -> str:
    """Every setting, its default in the image, and which compose files hand it on."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in _rows())


def _rows() -> Iterator[tuple[str, ...]]:
    handed, own = {name: handed_on(file) for name, file in FILES.items()}, of_image()
    yield ("variable", "default in the image", "handed on by", "what it does")
    yield ("---",) * 4
    for key, setting in SETTINGS.items():
        by = [name for name, keys in handed.items() if key in keys]
        yield (
            ", ".join(f"`{name}`" for name in setting.variables),
            own.get(key, setting.default),
            "all" if len(by) == len(FILES) else ", ".join(by) or "none",
            setting.description,
        )


if __name__ == "__main__":
    sys.stdout.write(settings_in_containers())
