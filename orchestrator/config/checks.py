"""What must hold between settings, and how a value that is out of bounds is put into words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from pydantic_core import ErrorDetails

from orchestrator.config.keys import Setting
from orchestrator.config.layers import fault
from orchestrator.config.settings import ServerSettings
from orchestrator.errors import Fault
from orchestrator.model.specs import ExecutorKind

BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}
WORDS = {
    "bool_parsing": "must be `true` or `false`",
    "bool_type": "must be `true` or `false`",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
}


def check(settings: ServerSettings) -> Iterator[Fault]:
    """What each setting allows by itself and the settings together do not."""
    yield from _check_distributed(settings)
    if settings.rate_limit_backend == "valkey" and settings.valkey_url is None:
        message = "`valkey` needs a server: set VALKEY_URL (valkey://host:6379/0), or choose `memory`"
        yield fault("rate_limit_backend", message, settings.origin("rate_limit_backend"))
    if settings.slots[settings.executor] == 0:
        key = f"{settings.executor}_jobs"
        other = ExecutorKind.DOCKER if settings.executor is ExecutorKind.PROCESS else ExecutorKind.PROCESS
        message = (
            f"must be at least 1, because {settings.executor} is the default executor "
            f"({settings.origin('default_executor')}); or set `default_executor: {other}`"
        )
        yield fault(key, message, settings.origin(key))


def _check_distributed(settings: ServerSettings) -> Iterator[Fault]:
    if settings.mode != "distributed":
        return
    way_out = "or choose `mode: standalone`, which needs no other server"
    if settings.database_url is None:
        message = (
            f"mode distributed needs a database: set DATABASE_URL (postgresql://user@host:5432/database), {way_out}"
        )
        yield fault("database_url", message, f"mode from {settings.origin('mode')}")
    if settings.valkey_url is None:
        message = f"mode distributed needs a cache: set VALKEY_URL (valkey://host:6379/0), {way_out}"
        yield fault("valkey_url", message, f"mode from {settings.origin('mode')}")


def say(error: ErrorDetails, setting: Setting) -> str:
    """What is wrong with the value of `setting`, without the value."""
    if setting.choices:
        return f"must be {_either(setting.choices)}{_near(error['input'], setting.choices)}"
    context = error.get("ctx", {})
    if error["type"] in BOUNDS:
        words, name = BOUNDS[error["type"]]
        return f"must be {words} {int(context[name])}"
    if error["type"] == "value_error":
        return str(context["error"])
    return WORDS.get(error["type"], "is not valid")


def _either(choices: Sequence[str]) -> str:
    quoted = [f"`{choice}`" for choice in choices]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _near(value: object, choices: Sequence[str]) -> str:
    near = get_close_matches(value.lower(), choices, n=1) if isinstance(value, str) else []
    return f"; did you mean `{near[0]}`?" if near else ""
