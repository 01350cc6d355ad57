"""Copy what jobs left to where `cronium run --artifacts DIR` says."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from orchestrator.app import Engine
from orchestrator.errors import InvalidError
from orchestrator.jobs.artifact_steps import all_artifacts
from orchestrator.model.jobs import Job


async def copy_artifacts(engine: Engine, jobs: Sequence[Job], root: Path) -> None:
    """
    Copy the artifacts of jobs below `root`; of steps each below its own name.

    Raises `InvalidError` where that cannot be written: the jobs have ended, and what they left is kept.
    """
    for job in jobs:
        async with engine.store.read() as repos:
            artifacts = await all_artifacts(repos, job.id)
        place = root if job.step is None else root / job.step
        for artifact in artifacts:
            source = engine.shelf.file(artifact)
            if source is not None:
                await asyncio.to_thread(_copy, source, place / artifact.name, root)


def _copy(source: Path, target: Path, root: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(root.resolve()):
            raise InvalidError(f"{target.parent} leads out of {root}: remove the link, or name an empty directory.")
        fresh = target.with_name(f".cronium-{secrets.token_hex(8)}")  # no other artifact's name, and never too long
        try:
            shutil.copyfile(source, fresh)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidError(
            f"{target} cannot be written: {error.strerror}. What the script left is kept as {source}."
        ) from error
