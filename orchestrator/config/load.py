"""From flags, environment and files to the settings in force: the strongest word wins, and every fault is named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.config.checks import check, say
from orchestrator.config.environment import read_environment
from orchestrator.config.files import read_file, read_project_file, read_user_file
from orchestrator.config.keys import PATHS, SETTINGS, unknown_key
from orchestrator.config.layers import Given, Layer, fault
from orchestrator.config.settings import ServerSettings, default_data_dir, home_directory
from orchestrator.errors import Fault, InvalidError


def load_settings(
    flags: Mapping[str, object],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    config: Path | None = None,
) -> ServerSettings:
    """
    The settings in force: flags (None: not given), then `env` (default: that of this process), then the project's
    `cronium.yaml` found from `cwd` upwards - or `config`, where one is named -, then the user's file, then defaults.

    Raises `InvalidError` with one fault for each thing that is wrong anywhere; no fault repeats a value.
    """
    env = os.environ if env is None else env
    cwd = _current_directory() if cwd is None else cwd
    project = read_project_file(cwd, env) if config is None else read_file(cwd / config)
    layers = (read_user_file(env), project, read_environment(env, cwd), _read_flags(flags, cwd))
    given = {item.key: item for layer in layers for item in layer.given}
    faults = [found for layer in layers for found in layer.faults]
    settings, wrong = _build(given, env)
    refused = {found.path for found in (*faults, *wrong)}
    faults += [*wrong, *(found for found in check(settings) if found.path not in refused)]
    if faults:
        raise InvalidError("The settings are not valid.", faults=tuple(faults))
    return settings


def _current_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise InvalidError("The current directory has been removed; change to another.") from error


def _read_flags(flags: Mapping[str, object], cwd: Path) -> Layer:
    given = {key: value for key, value in flags.items() if value is not None}
    named = {key: f"flag --{key.replace('_', '-')}" for key in given}
    return Layer(
        given=[
            Given(key=key, value=value, origin=named[key], base=cwd) for key, value in given.items() if key in SETTINGS
        ],
        faults=[fault(key, unknown_key(key), named[key]) for key in given if key not in SETTINGS],
    )


def _build(given: Mapping[str, Given], env: Mapping[str, str]) -> tuple[ServerSettings, list[Fault]]:
    """Settings from what is right, and the faults of the rest: so that what depends on two fields is checked, too."""
    values = {item.key: _value(item, env) for item in given.values()}
    wrong: dict[str, Fault] = {}
    if "data_dir" not in values:
        try:
            values["data_dir"] = default_data_dir(env)
        except InvalidError as error:
            wrong["data_dir"] = fault("data_dir", error.message)
    for detail in _errors({"data_dir": Path(), **values}):
        key = ".".join(map(str, detail["loc"]))
        wrong[key] = fault(key, say(detail, SETTINGS[key]), given[key].origin)
    right = {"data_dir": Path(), **{key: value for key, value in values.items() if key not in wrong}}
    origins = {key: item.origin for key, item in given.items() if key not in wrong}
    return ServerSettings.model_validate(_nested(right)).with_origins(origins), list(wrong.values())


def _errors(values: Mapping[str, object]) -> list[ErrorDetails]:
    try:
        ServerSettings.model_validate(_nested(values))
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _nested(values: Mapping[str, object]) -> dict[str, object]:
    nested: dict[str, object] = {}
    for key, value in values.items():
        group, _, name = key.rpartition(".")
        inside = nested.setdefault(group, {}) if group else nested
        if isinstance(inside, dict):
            inside[name] = value
    return nested


def _value(item: Given, env: Mapping[str, str]) -> object:
    """A value as it is meant: a path is relative to where it was written, and `~/` is the home directory."""
    if item.key not in PATHS or not isinstance(item.value, str | Path) or not str(item.value):
        return item.value
    home = home_directory(env)
    text = str(item.value)
    return home / text[2:] if text.startswith("~/") and home is not None else item.base / text
