"""Settings from YAML files: where they are looked for, and what is read from one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.config.keys import GROUPS, SETTINGS, unknown_key
from orchestrator.config.layers import Given, Layer, fault
from orchestrator.config.settings import home_directory
from orchestrator.config.yaml_text import Entry, Refusal, read_entries
from orchestrator.errors import Fault

PROJECT_FILE = "cronium.yaml"
MAX_BYTES = 1024 * 1024


def read_user_file(env: Mapping[str, str]) -> Layer:
    """`$XDG_CONFIG_HOME/cronium/config.yaml`, else `~/.config/cronium/config.yaml`, where there is one."""
    base, home = env.get("XDG_CONFIG_HOME"), home_directory(env)
    directory = Path(base) if base else home / ".config" if home else None
    if directory is None:
        return Layer()
    path = directory / "cronium" / "config.yaml"
    return read_file(path) if _is_there(path) else Layer()


def read_project_file(cwd: Path, env: Mapping[str, str]) -> Layer:
    """`cronium.yaml` of `cwd` or of the nearest directory above, no further than a repository or the home directory."""
    path = _project_file(cwd, home_directory(env))
    if path is None:
        return Layer()
    if _is_planted(path):
        message = f"belongs to another account; to use it all the same, name it: --config {path}"
        return Layer(faults=[fault(str(path), message)])
    return read_file(path)


def read_file(path: Path) -> Layer:
    """The settings in `path`; what is wrong with a line is a fault, and the other lines still count."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        return Layer(faults=[fault(str(path), f"cannot be read: {error.strerror}")])
    if len(content) > MAX_BYTES:
        return Layer(faults=[fault(str(path), "is larger than 1 MiB: this is no file of settings")])
    given: list[Given] = []
    faults: list[Fault] = []
    try:
        for entry in read_entries(content.decode("utf-8-sig")):
            origin = f"{path}:{entry.line}"
            problem = _problem(entry)
            if problem is not None:
                faults.append(fault(entry.key, problem, origin))
            elif entry.key in SETTINGS:
                given.append(Given(key=entry.key, value=entry.value, origin=origin, base=path.parent))
    except UnicodeDecodeError:
        faults.append(fault(str(path), "is not UTF-8 text"))
    except Refusal as refusal:
        faults.append(fault(str(path) if refusal.line is None else f"{path}:{refusal.line}", refusal.message))
    return Layer(given=given, faults=faults)


def _problem(entry: Entry) -> str | None:
    """What is wrong with the name of a setting; a group without settings in it is none."""
    if entry.key in SETTINGS or (entry.key in GROUPS and entry.value is None):
        return None
    if entry.key in GROUPS:
        inside = ", ".join(key.partition(".")[2] for key in SETTINGS if key.startswith(f"{entry.key}."))
        return f"is a group of settings; beneath it write one of {inside}"
    outer = entry.key.rpartition(".")[0]
    if outer in SETTINGS:
        return f"`{outer}` takes one value and has no settings beneath it"
    return unknown_key(entry.key)


def _project_file(cwd: Path, home: Path | None) -> Path | None:
    for directory in (cwd, *cwd.parents):
        if _is_there(directory / PROJECT_FILE):
            return directory / PROJECT_FILE
        if directory == home or os.path.lexists(directory / ".git"):
            return None
    return None


def _is_there(path: Path) -> bool:
    """Whether there is something to read; a directory that we may not enter has nothing for us."""
    return os.path.exists(path) and not os.path.isdir(path)  # noqa: PTH110, PTH112 - pathlib raises for the latter


def _is_planted(path: Path) -> bool:
    """Whether somebody laid the file there who owns neither the directory nor this machine: in /tmp anybody can."""
    owner = path.stat().st_uid
    return owner not in (0, os.geteuid(), path.parent.stat().st_uid)
