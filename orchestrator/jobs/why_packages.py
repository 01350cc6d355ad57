"""Which packages an attempt was given, as a part of the sentence that says that it was started."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.json import Json

SHOWN = 10


def with_packages(data: Mapping[str, Json]) -> str:
    """` with the packages rich 13.7.0 and 4 more`; nothing where there are none."""
    packages = data.get("packages")
    if not isinstance(packages, dict) or not packages:
        return ""
    named = [f"{name} {version}" for name, version in packages.items()]
    shown, more = named[:SHOWN], len(named) - SHOWN
    if more > 0:
        shown.append(f"{more} more")
    text = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f" with the package{'s' if len(named) > 1 else ''} {text}"
