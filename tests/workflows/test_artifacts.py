"""`artifacts` of a step: what a file may say, and which jobs it means when the step starts."""

from __future__ import annotations

import json

import pytest

from orchestrator.errors import InvalidError
from orchestrator.model.jobs import Job, JobId, JobStatus, TriggerKind
from orchestrator.model.specs import ExecutorKind, GivenArtifact, JobSpec, Language, Script
from orchestrator.model.workflows import Step
from orchestrator.workflows.artifacts import MAX_GIVEN, given_artifacts
from orchestrator.workflows.definition import parse_workflow, workflow_from_document
from orchestrator.workflows.document import load_document
from tests.fakes import NEW_YEAR


def workflow(artifacts: object, needs: str = "middle"):
    document = {
        "steps": {
            "first": {"shell": "true"},
            "middle": {"shell": "true", "needs": ["first"]},
            "other": {"shell": "true"},
            "last": {"shell": "true", "needs": [needs], "artifacts": artifacts},
        }
    }
    return parse_workflow(load_document(json.dumps(document), source="flow.json"))


def problems(artifacts: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidError) as refused:
        workflow(artifacts)
    return [(fault.path, fault.message) for fault in refused.value.faults]


def test_a_step_may_name_files_and_all_of_what_it_needs_directly_or_not():
    wanted = {"in/data.csv": "first/out/report.csv", "all": "middle"}
    parsed = workflow(wanted)
    assert parsed.steps[-1].artifacts == wanted
    assert "artifacts" not in parsed.steps[-1].spec
    assert workflow_from_document(parsed.document).steps[-1].artifacts == wanted


@pytest.mark.parametrize(
    ("artifacts", "path", "message"),
    [
        (["first"], "artifacts", "Must be a mapping such as {data.csv: extract/report.csv}"),
        ({"a": 1}, "artifacts.a", "Must be STEP/NAME, or STEP for all that it left"),
        ({"a": "other/x"}, "artifacts.a", "Step `other` may not have ended here; add it to `needs`."),
        ({"a": "last/x"}, "artifacts.a", "Step `last` may not have ended here"),
        ({"a": "frist/x"}, "artifacts.a", "There is no step `frist`. Did you mean `first`?"),
        ({"a": "first/../x"}, "artifacts.a", "`../x` is no path below the directory."),
        ({"a": "first/"}, "artifacts.a", "is no path below the directory"),
        ({"../a": "first/x"}, "artifacts.../a", "`../a` is no path below the directory."),
        ({"/a": "first/x"}, "artifacts./a", "is no path"),
        ({"a": "first", "a/b": "middle/x"}, "artifacts.a/b", "`a/b` lies below `a`, which is a name of its own."),
        ({str(n): "first" for n in range(MAX_GIVEN + 1)}, "artifacts", "There are 1001; a step finds at most 1000"),
    ],
)
def test_what_cannot_be_is_named_with_its_place(artifacts: object, path: str, message: str):
    [(where, what)] = problems(artifacts)
    assert where == f"steps.last.{path}"
    assert message in what


def test_artifacts_of_a_job_file_are_no_key():
    from orchestrator.jobs.spec_document import parse_job_spec

    with pytest.raises(InvalidError) as refused:
        parse_job_spec({"shell": "true", "artifacts": {"a": "job_1/x"}})
    assert [fault.path for fault in refused.value.faults] == ["artifacts"]


def a_job(step: str) -> Job:
    return Job(
        id=JobId(f"job_{step}"),
        status=JobStatus.SUCCEEDED,
        spec=JobSpec(script=Script(language=Language.SHELL, text="")),
        executor=ExecutorKind.PROCESS,
        queue="q",
        trigger=TriggerKind.WORKFLOW,
        priority=0,
        created_at=NEW_YEAR,
        step=step,
    )


def test_the_jobs_of_the_steps_are_those_of_the_run():
    step = Step(name="last", spec={}, artifacts={"data.csv": "first/out/report.csv", "all": "middle"})
    assert given_artifacts(step, [a_job("first"), a_job("middle")]) == (
        GivenArtifact(name="data.csv", step="first", job_id="job_first", artifact="out/report.csv"),
        GivenArtifact(name="all", step="middle", job_id="job_middle"),
    )
    with pytest.raises(InvalidError, match="Step `first` has not run"):
        given_artifacts(step, [a_job("middle")])
