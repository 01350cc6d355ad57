"""The names of settings, in files (`images.python`) and in the environment (`CRONIUM_IMAGES__PYTHON`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.config.settings import ServerSettings

PREFIX = "CRONIUM_"
FILE_SUFFIX = "_FILE"
WELL_KNOWN = {"database_url": "DATABASE_URL", "valkey_url": "VALKEY_URL"}
# Relative to where they are written.
PATHS = ("data_dir", "registry_auth_file", "package_pip_config", "package_npm_config")
DEFAULTS_IN_WORDS = {
    "data_dir": "`$XDG_DATA_HOME/cronium`, else `~/.local/share/cronium`",
    "database_url": "`cronium.db` in `data_dir`",
    "default_executor": "`process` where `host` is a loopback address, else `docker`",
    "docker_endpoint": "`DOCKER_HOST`, else the usual socket",
}
# Variables that begin like settings and are none: of the command line, of jobs, of the SDKs, of tests and benchmarks.
# The last line is what Kubernetes tells every pod about a Service named `cronium`.
NO_SETTINGS = re.compile(
    r"CRONIUM_(?:URL|TOKEN|TOKEN_FILE"
    r"|RUNTIME_API|EXECUTION_TOKEN|EXECUTION_ID|EXECUTION_MODE|JOB_ID|EVENT_ID|ATTEMPT|SCHEDULED_AT|ARTIFACTS"
    r"|API_ENDPOINT|API_TOKEN|API_URL|OUTER_BASH_ENV|STUB_FILE|SDK_.*"
    r"|TEST_.*|ENV_.*|BENCH_.*|CRASH_AT"
    r"|SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_.*)?)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """
    One setting. `variables` are its names in the environment, the one that wins first; `choices` are its values where
    there are few; `default` is Markdown.
    """

    key: str
    variables: Sequence[str]
    choices: Sequence[str]
    default: str
    description: str


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        key = prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{key}.")
            continue
        own = PREFIX + key.upper().replace(".", "__")
        yield Setting(
            key=key,
            variables=(own, WELL_KNOWN[key]) if key in WELL_KNOWN else (own,),
            choices=tuple(_choices(field.annotation)),
            default=_default(key, field),
            description=field.description or "",
        )


def _choices(annotation: object) -> Iterator[str]:
    """The values of a `Literal`, also where None is allowed beside them."""
    for part in get_args(annotation):
        if isinstance(part, str):
            yield str(part)
        else:
            yield from _choices(part)


def _default(key: str, field: FieldInfo) -> str:
    if key in DEFAULTS_IN_WORDS:
        return DEFAULTS_IN_WORDS[key]
    if field.default is None:
        return "unset"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


SETTINGS: Mapping[str, Setting] = {setting.key: setting for setting in _settings(ServerSettings)}
GROUPS = frozenset(key.partition(".")[0] for key in SETTINGS if "." in key)
VARIABLES: Mapping[str, str] = {name: setting.key for setting in SETTINGS.values() for name in setting.variables}


def unknown_key(key: str) -> str:
    """What to say of a key in a file that is no setting."""
    near = get_close_matches(key, SETTINGS, n=1)
    hint = f"did you mean `{near[0]}`?" if near else "`cronium config show` lists all settings"
    return f"there is no such setting; {hint}"


def unknown_variable(name: str) -> str:
    """What to say of a variable that looks like a setting and is none."""
    suffix = FILE_SUFFIX if name.upper().endswith(FILE_SUFFIX) else ""
    stem = name.upper().removesuffix(suffix).removeprefix(PREFIX)
    near = get_close_matches(stem, {known.removeprefix(PREFIX): known for known in VARIABLES}, n=1)
    if not near:
        return "there is no such setting; `cronium config show` lists all settings"
    known = PREFIX + near[0] if PREFIX + near[0] in VARIABLES else near[0]
    return f"there is no such setting; did you mean {known}{suffix}?"
