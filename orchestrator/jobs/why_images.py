"""Which image a job ran in, as `cronium why` tells it. Pure."""

from __future__ import annotations

from orchestrator.jobs.why_words import Document, text_of

SHORT = 19  # sha256: and twelve digits, as Docker's own command shortens it


def with_image(data: Document) -> str:
    """Such as ` in python:3.12-slim (python@sha256:...)`; "" where the journal names none."""
    image = data.get("image")
    if not isinstance(image, dict):
        return ""
    name, digest, known = text_of(image, "name"), text_of(image, "digest"), text_of(image, "id")
    if not name:
        return ""
    exact = digest or (f"the image {known[:SHORT]}, which is in no registry" if known else None)
    return f" in {name}" + (f" ({exact})" if exact and exact != name else "")
