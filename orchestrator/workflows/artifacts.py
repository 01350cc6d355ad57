"""`artifacts` of a step: what it finds of earlier steps, `{data.csv: extract/report.csv, all: extract}`."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import Fault, InvalidError
from orchestrator.jobs.faults import Reading, kind_of, near, shown
from orchestrator.model.artifacts import name_problem
from orchestrator.model.jobs import Job
from orchestrator.model.json import Json
from orchestrator.model.specs import GivenArtifact
from orchestrator.model.workflows import Step
from orchestrator.workflows.references import Names

MAX_GIVEN = 1000


def check_artifacts(value: Json, reading: Reading, names: Names) -> None:
    """Note what is wrong: each name a path, each source a step that this one needs, as far as can be known before."""
    if not isinstance(value, dict):
        reading.wrong(f"Must be a mapping such as {{data.csv: extract/report.csv}}, not {kind_of(value)}.")
        return
    if len(value) > MAX_GIVEN:
        reading.wrong(f"There are {len(value)}; a step finds at most {MAX_GIVEN}, or all of a step's under one name.")
        return
    for name, source in value.items():
        at = reading.at(shown(name))
        problem = name_problem(name) or _overlap(name, value)
        if problem is not None:
            at.wrong(f"`{shown(name)}` {problem}.")
        _check_source(source, at, names)


def _check_source(source: Json, reading: Reading, names: Names) -> None:
    if not isinstance(source, str):
        reading.wrong(f"Must be STEP/NAME, or STEP for all that it left, not {kind_of(source)}.")
        return
    step, slash, artifact = source.partition("/")
    if step in names.later:
        reading.wrong(f"Step `{step}` may not have ended here; add it to `needs`.")
    elif step not in names.steps:
        reading.wrong(f"There is no step `{shown(step)}`.{near(step, names.steps | names.later)}")
    problem = name_problem(artifact) if slash else None
    if problem is not None:
        reading.wrong(f"`{shown(artifact)}` {problem}.")


def _overlap(name: str, others: dict[str, Json]) -> str | None:
    """A name below another one has no place there: that is a file, or the directory of another step."""
    parents = ["/".join(name.split("/")[:end]) for end in range(1, name.count("/") + 1)]
    inside = next((parent for parent in parents if parent in others), None)
    return None if inside is None else f"lies below `{inside}`, which is a name of its own"


def given_artifacts(step: Step, jobs: Sequence[Job]) -> tuple[GivenArtifact, ...]:
    """What a step asks for, with the jobs of the steps that left it. Raises `InvalidError` for a step without a job."""
    by_step = {job.step: job for job in jobs}
    given = []
    for name, source in step.artifacts.items():
        earlier, _, artifact = source.partition("/")
        job = by_step.get(earlier)
        if job is None:
            fault = Fault(path=f"artifacts.{name}", message=f"Step `{earlier}` has not run.")
            raise InvalidError(fault.message, faults=(fault,))
        given.append(GivenArtifact(name=name, step=earlier, job_id=job.id, artifact=artifact or None))
    return tuple(given)
