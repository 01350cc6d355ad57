"""Fetch an artifact: under its name only when all of it is there and is what the server says it is."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from orchestrator.cli.answers import Document, job_path
from orchestrator.cli.client import Client
from orchestrator.cli.descriptors import STDOUT, write_all
from orchestrator.errors import CroniumError, InvalidError, UnavailableError
from orchestrator.model.artifacts import name_problem

BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetchable:
    """An artifact as the server lists it."""

    name: str
    size: int
    sha256: str


def read_artifact(document: Document) -> Fetchable:
    """Raises `CroniumError` (`bad_answer`) for what is no artifact, or has a name that leads elsewhere."""
    name, size, sha256 = document.get("name"), document.get("size"), document.get("sha256")
    if not isinstance(name, str) or not isinstance(size, int) or not isinstance(sha256, str):
        raise CroniumError("The answer holds no artifact: is this a server of another version?", code="bad_answer")
    problem = name_problem(name)
    if problem is not None:
        raise CroniumError(f"The server lists an artifact that {problem}: {name!r}.", code="bad_answer")
    return Fetchable(name=name, size=size, sha256=sha256)


def fetch_to_stdout(client: Client, job_id: str, artifact: Fetchable) -> None:
    """Write it as it comes; raises `UnavailableError` behind it when it was not whole."""
    for block in _blocks(client, job_id, artifact):
        write_all(STDOUT, block)


def fetch_below(client: Client, job_id: str, artifact: Fetchable, root: Path) -> Path:
    """Fetch into a directory, under its whole name. Raises `InvalidError` where a link there leads out of it."""
    path = root / artifact.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise InvalidError(f"{path.parent} leads out of {root}: remove the link, or fetch into an empty directory.")
    return fetch_to(client, job_id, artifact, path)


def fetch_to(client: Client, job_id: str, artifact: Fetchable, path: Path) -> Path:
    """Fetch to a file, which has its old content until all of the new one is there."""
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=".cronium-"
        )  # never too long, as a name with more could be
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            for block in _blocks(client, job_id, artifact):
                file.write(block)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def _blocks(client: Client, job_id: str, artifact: Fetchable) -> Iterator[bytes]:
    """What the server sends. Raises `UnavailableError` at its end unless it is the whole artifact."""
    path = f"/api/v3{job_path(job_id, 'artifacts', artifact.name)}"
    digest, size = hashlib.sha256(), 0
    with client.asked("GET", path, accept="*/*") as response:
        while True:
            try:
                block = response.read(BLOCK_BYTES)
            except (OSError, HTTPException) as error:
                raise _broken(artifact, f"the answer broke off after {size} of {artifact.size} bytes") from error
            if not block:
                break
            digest.update(block)
            size += len(block)
            yield block
    if (size, digest.hexdigest()) != (artifact.size, artifact.sha256):
        raise _broken(artifact, f"{size} bytes came, and they are not those of the list")


def _broken(artifact: Fetchable, why: str) -> UnavailableError:
    return UnavailableError(f"{artifact.name!r} was not fetched: {why}. Fetch it again.", code="download_broken")


def _unwritable(path: Path, error: OSError) -> InvalidError:
    return InvalidError(f"{path} cannot be written: {error.strerror}. Name another place with -o.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
