"""Find what earlier steps of a run left, for the step that asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.contracts.store import Repositories, Store
from orchestrator.errors import StartFailedError
from orchestrator.jobs.artifact_places import GivenFile
from orchestrator.jobs.artifacts import Shelf
from orchestrator.model.artifacts import Artifact
from orchestrator.model.jobs import Job, JobId, Reason
from orchestrator.model.specs import GivenArtifact

PAGE = 1000
NAMED = 5  # of the names there are, in a message


async def find_given(store: Store, shelf: Shelf, job: Job) -> list[GivenFile]:
    """The files that a job's specification asks for. Raises `StartFailedError` naming what is not there."""
    if not job.spec.artifacts:
        return []
    async with store.read() as repos:
        found = [(wanted, await _found(repos, wanted)) for wanted in job.spec.artifacts]
    given = []
    for wanted, artifacts in found:
        for artifact in artifacts:
            name = wanted.name if wanted.artifact is not None else f"{wanted.name}/{artifact.name}"
            given.append(_given(shelf, wanted, artifact, name))
    return given


async def _found(repos: Repositories, wanted: GivenArtifact) -> Sequence[Artifact]:
    job_id = JobId(wanted.job_id)
    if wanted.artifact is not None:
        artifact = await repos.artifacts.get(job_id, wanted.artifact)
        if artifact is not None:
            return [artifact]
    else:
        artifacts = await all_artifacts(repos, job_id)
        if artifacts:
            return artifacts
    raise _missing(wanted, await names_of(repos, job_id))


async def all_artifacts(repos: Repositories, job_id: JobId) -> list[Artifact]:
    """All that a job left, by name."""
    artifacts: list[Artifact] = []
    after: str | None = ""
    while after is not None:
        page = await repos.artifacts.page(job_id, after=after, limit=PAGE)
        artifacts += page.items
        after = page.next_cursor
    return artifacts


async def names_of(repos: Repositories, job_id: JobId) -> str:
    """What a job left, in words for a message."""
    page = await repos.artifacts.page(job_id, after=None, limit=NAMED)
    names = ", ".join(repr(artifact.name) for artifact in page.items)
    if not names:
        return "it left none"
    return f"it left {names}" + ("" if page.next_cursor is None else " and more")


def _given(shelf: Shelf, wanted: GivenArtifact, artifact: Artifact, name: str) -> GivenFile:
    path = shelf.file(artifact)
    if path is None:
        raise _cannot(
            f"The artifact {artifact.name!r} of step {wanted.step!r} lies on another server, whose files are not here: "
            "give the servers different queues, or run the workflow with one."
        )
    if not path.is_file():
        raise _cannot(f"The file of the artifact {artifact.name!r} of step {wanted.step!r} is gone from {path}.")
    return GivenFile(source=path, name=name)


def _missing(wanted: GivenArtifact, there: str) -> StartFailedError:
    what = "no artifacts" if wanted.artifact is None else f"no artifact {wanted.artifact!r}"
    return _cannot(f"Step {wanted.step!r} left {what}; {there}.")


def _cannot(message: str) -> StartFailedError:
    return StartFailedError(message, reason=Reason.INVALID)
