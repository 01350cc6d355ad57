"""The settings in force with where they come from, and the table of all there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import SecretStr

from orchestrator.config.keys import SETTINGS
from orchestrator.config.settings import ServerSettings
from orchestrator.config.urls import masked
from orchestrator.model.json import Json

HIDDEN = "********"
DERIVED = ("store_driver", "cache_driver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """A setting in force, fit to be shown: secrets are masked."""

    key: str
    value: Json
    origin: str


def effective(settings: ServerSettings) -> Iterator[Effective]:
    """Every setting and the drivers that follow from them. What is not set but follows from another has that value."""
    followed = {"database_url": settings.database, "default_executor": settings.executor}
    for key in (*SETTINGS, *DERIVED):
        value = followed[key] if key in followed else _value(settings, key)
        yield Effective(key=key, value=shown(value), origin=settings.origin(key))


def shown(value: object) -> Json:
    """`value` for anybody's eyes: no secret, no password in a URL."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    return masked(str(value))


def settings_table() -> str:
    """All settings as a Markdown table, as `docs/settings.md` has it."""
    rows = [
        (
            f"`{setting.key}`",
            ", ".join(f"`{name}`" for name in setting.variables),
            setting.default,
            setting.description
            + (f" One of {', '.join(f'`{c}`' for c in setting.choices)}." if setting.choices else ""),
        )
        for setting in SETTINGS.values()
    ]
    head = [("setting", "environment", "default", "what it does"), ("---",) * 4]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [*head, *rows])


def _value(settings: ServerSettings, key: str) -> object:
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value
