"""A workflow from its document: read and checked as a whole, or rebuilt from what was checked before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from orchestrator.errors import Fault, InvalidError
from orchestrator.jobs.faults import Reading, kind_of, near, shown
from orchestrator.jobs.spec_values import read_input
from orchestrator.model.json import Json
from orchestrator.model.specs import ExecutorKind
from orchestrator.model.workflows import InputDeclaration, Step, When, Workflow
from orchestrator.workflows.checks import FLOW_KEYS, check_workflow
from orchestrator.workflows.document import LoadedDocument
from orchestrator.workflows.input_types import fits, type_of

UNNAMED = "workflow"


def parse_workflow(document: LoadedDocument) -> Workflow:
    """
    Check a document and make it a workflow; one without a name is called after its file.

    Raises `InvalidError` with every fault, each with its path and its line.
    """
    reading = Reading(templates=True)
    check_workflow(document.data, reading)
    if reading.problems or not isinstance(document.data, dict):
        faults = [problem.fault(line=document.line_of(problem.path)) for problem in reading.problems]
        faults.sort(key=lambda fault: fault.line or 0)
        raise _invalid(f"{document.source} is not a valid workflow", faults)
    name = document.data.get("name", _name_of(document.source))
    return workflow_from_document({**document.data, "name": name})


def _invalid(what: str, faults: list[Fault]) -> InvalidError:
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return InvalidError(f"{what}: {count}.", faults=tuple(faults))


def _name_of(source: str) -> str:
    stem = PurePath(source).stem
    return stem if stem.isprintable() and stem.strip("-<> ") and not source.startswith("<") else UNNAMED


def workflow_from_document(document: Mapping[str, Json]) -> Workflow:
    """Rebuild a workflow from a document that `parse_workflow` has accepted, such as that of a stored run."""
    steps = _mapping(document.get("steps"))
    inputs = _mapping(document.get("inputs"))
    return Workflow(
        name=str(document["name"]),
        steps=tuple(_step(name, _mapping(step)) for name, step in steps.items()),
        inputs={name: _declaration(_mapping(declaration)) for name, declaration in inputs.items()},
        outputs=_mapping(document.get("outputs")),
        document=document,
    )


def _mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _step(name: str, step: Mapping[str, Json]) -> Step:
    needs = step.get("needs", [])
    condition = step.get("if")
    if isinstance(condition, bool):
        condition = "true" if condition else "false"
    return Step(
        name=name,
        spec={key: value for key, value in step.items() if key not in FLOW_KEYS},
        needs=tuple(map(str, needs)) if isinstance(needs, list) else (str(needs),),
        condition=condition if isinstance(condition, str) else None,
        when=When(str(step.get("when", When.SUCCESS))),
        artifacts={name: str(source) for name, source in _mapping(step.get("artifacts")).items()},
    )


def _declaration(declaration: Mapping[str, Json]) -> InputDeclaration:
    description = declaration.get("description")
    return InputDeclaration(
        type=str(declaration.get("type", "any")),
        default=declaration.get("default"),
        has_default="default" in declaration,
        description=description if isinstance(description, str) else None,
    )


def bind_inputs(workflow: Workflow, given: Mapping[str, Json]) -> dict[str, Json]:
    """
    The inputs of a run: what was given, and the defaults of what was not, in the order they are declared.

    Raises `InvalidError` with a fault under `inputs` for each one that is unknown, missing or of the wrong type.
    """
    reading = Reading()
    for name in given:
        if name not in workflow.inputs:
            known = f" It has: {', '.join(workflow.inputs)}." if workflow.inputs else " It has none."
            hint = near(name, workflow.inputs) or known
            reading.at(shown(name)).wrong(f"`{workflow.name}` has no input `{shown(name)}`.{hint}")
    bound: dict[str, Json] = {}
    for name, declaration in workflow.inputs.items():
        bound[name] = _bound(given, name, declaration, reading.at(name))
    if reading.problems:
        faults = [problem.fault("inputs") for problem in reading.problems]
        raise _invalid(f"The inputs do not fit the workflow {workflow.name}", faults)
    return bound


def _bound(given: Mapping[str, Json], name: str, declaration: InputDeclaration, reading: Reading) -> Json:
    if name not in given:
        if not declaration.has_default:
            reading.wrong(f"Is missing: give it, for example with `--input {name}=...`.")
        return declaration.default
    value = given[name]
    if not fits(value, declaration.type):
        reading.wrong(f"Must be {type_of(declaration.type)}, not {kind_of(value)}.")
    return read_input(value, reading)


def executors_of(workflow: Workflow, default: ExecutorKind) -> set[ExecutorKind]:
    """The executors that the steps of a workflow run on, where `default` is that of steps that name none."""
    return {_executor(step, default) for step in workflow.steps}


def _executor(step: Step, default: ExecutorKind) -> ExecutorKind:
    named = step.spec.get("executor")
    if isinstance(named, str):
        return ExecutorKind(named)
    return ExecutorKind.DOCKER if "image" in step.spec else default
