"""How `cronium why` tells that a container was there before its job."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.json import Json

FACT = "warm"


def with_warmth(data: Mapping[str, Json]) -> str:
    """An end of the sentence that says that the script was started."""
    return ", in a container that waited for a job" if data.get(FACT) is True else ""
