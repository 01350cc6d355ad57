"""What expressions refer to - `inputs.day`, `steps.extract.output`, `run.id` - and whether that is there."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.jobs.faults import near, shown

ROOTS = ("inputs", "steps", "run")
STEP_ATTRIBUTES = ("status", "output", "condition")
RUN_ATTRIBUTES = ("id", "workflow", "status", "created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """`root.member.attribute`, as far as the expression spells it out; None from where it does not."""

    root: str
    member: str | None = None
    attribute: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What expressions may refer to at one place of a workflow. `later` are steps that may not have ended there."""

    inputs: frozenset[str]
    steps: frozenset[str]
    later: frozenset[str] = frozenset()


def problem_of(reference: Reference, names: Names) -> str | None:
    """What is wrong with a reference; None when it is right."""
    match reference.root:
        case "inputs":
            return _input_problem(reference, names)
        case "steps":
            return _step_problem(reference, names)
        case "run":
            return _run_problem(reference)
        case _:
            known = ", ".join(f"`{root}`" for root in ROOTS)
            return f"There is no `{shown(reference.root)}` here, only {known}.{near(reference.root, ROOTS)}"


def _input_problem(reference: Reference, names: Names) -> str | None:
    name = reference.member
    if name is None or name in names.inputs:
        return None
    hint = _dashed("inputs", name, names.inputs) or near(name, names.inputs)
    return f"There is no input `{shown(name)}`; declare it under `inputs`.{hint}"


def _step_problem(reference: Reference, names: Names) -> str | None:
    name, attribute = reference.member, reference.attribute
    if name is None:
        return "Name the step: `steps.NAME.output`."
    if name in names.later:
        return f"Step `{name}` may not have ended here; add it to `needs`."
    if name not in names.steps:
        known = names.steps | names.later
        return f"There is no step `{shown(name)}`.{_dashed('steps', name, known) or near(name, known)}"
    if attribute is not None and attribute not in STEP_ATTRIBUTES:
        known_words = ", ".join(f"`{word}`" for word in STEP_ATTRIBUTES)
        example = f"`steps.{name}.output.{attribute}`"
        return f"A step has {known_words} and no `{shown(attribute)}`; did you mean {example}?"
    return None


def _run_problem(reference: Reference) -> str | None:
    name = reference.member
    if name is None or name in RUN_ATTRIBUTES:
        return None
    known = ", ".join(f"`{word}`" for word in RUN_ATTRIBUTES)
    return f"A run has {known} and no `{shown(name)}`.{near(name, RUN_ATTRIBUTES)}"


def _dashed(root: str, name: str, known: frozenset[str]) -> str:
    """`steps.my-step` is read as a subtraction: say how to write it."""
    found = sorted(one for one in known if one.startswith(f"{name}-"))
    return f" A name with a dash is written `{root}['{found[0]}']`." if found else ""
