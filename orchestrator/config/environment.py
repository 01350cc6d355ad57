"""Settings from the environment: `CRONIUM_*`, `DATABASE_URL`, `VALKEY_URL`, and `NAME_FILE` for a value in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.config.keys import FILE_SUFFIX, NO_SETTINGS, PREFIX, SETTINGS, VARIABLES, Setting, unknown_variable
from orchestrator.config.layers import Given, Layer, fault
from orchestrator.errors import Fault

MAX_BYTES = 64 * 1024


class _Refusal(Exception):  # noqa: N818 - not an error of its own: it becomes a fault
    """A variable that gives no value; `origin` is which."""

    def __init__(self, message: str, origin: str) -> None:
        super().__init__(message)
        self.message = message
        self.origin = origin


def read_environment(env: Mapping[str, str], cwd: Path) -> Layer:
    """
    What the environment says. An empty variable is one that is not set: that is what `${NAME:-}` makes of it.

    `CRONIUM_DATABASE_URL` wins over `DATABASE_URL`, which others set for others, too.
    """
    given: list[Given] = []
    faults: list[Fault] = []
    for setting in SETTINGS.values():
        try:
            given += _given(setting, env, cwd)
        except _Refusal as refusal:
            faults.append(fault(setting.key, refusal.message, refusal.origin))
    return Layer(given=given, faults=[*faults, *_unknown(env)])


def _given(setting: Setting, env: Mapping[str, str], cwd: Path) -> list[Given]:
    for name in setting.variables:
        value, file = env.get(name), env.get(name + FILE_SUFFIX)
        if value and file:
            message = f"{name} and {name}{FILE_SUFFIX} are both set; remove one"
            raise _Refusal(message, "environment")
        if value:
            return [Given(key=setting.key, value=value, origin=f"environment {name}", base=cwd)]
        if file:
            origin = f"environment {name}{FILE_SUFFIX} ({file})"
            return [Given(key=setting.key, value=_content(cwd / file, origin), origin=origin, base=cwd)]
    return []


def _content(path: Path, origin: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _Refusal(f"the file cannot be read: {error.strerror}", origin) from error
    if len(content) > MAX_BYTES:
        raise _Refusal("the file is larger than 64 KiB: it is not the value of a setting", origin)
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _Refusal("the file is not UTF-8 text", origin) from None
    if not text:
        raise _Refusal("the file is empty", origin)
    return text


def _unknown(env: Mapping[str, str]) -> Iterator[Fault]:
    for name in sorted(env):
        known = name in VARIABLES or name.removesuffix(FILE_SUFFIX) in VARIABLES
        if not name.upper().startswith(PREFIX) or known or NO_SETTINGS.fullmatch(name):
            continue
        key = name.upper().removeprefix(PREFIX).lower().replace("__", ".")
        yield fault(key, unknown_variable(name), f"environment {name}")
