"""Artifacts: files that a job's script left in its directory `$CRONIUM_ARTIFACTS`, and what they may be called."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.jobs import JobId

MAX_NAME_BYTES = 1024
MAX_DEPTH = 16  # directories and the file in them
UNPRINTED = frozenset({"Cc", "Zl", "Zp"})  # control characters, and what else begins a new line


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """
    One file that an attempt left. `name` is its path below the directory, with `/`; `sha256` is written in hex.

    `place` says which installation's data directory holds it, `folder` in which of the job's folders there.
    """

    job_id: JobId
    attempt: int
    name: str
    size: int
    sha256: str
    media_type: str
    created_at: datetime
    place: str
    folder: str


def name_problem(name: str) -> str | None:
    """Why a path cannot be the name of an artifact, to go on behind "it"; None when it can."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "is no path below the directory"
    if len(parts) > MAX_DEPTH:
        return f"lies deeper than {MAX_DEPTH} levels"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if size > MAX_NAME_BYTES:
        return f"has a name of more than {MAX_NAME_BYTES} bytes"
    if any(unicodedata.category(character) in UNPRINTED for character in name):
        return "has control characters in its name"
    return None
