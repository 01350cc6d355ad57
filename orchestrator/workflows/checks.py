"""Check a workflow document: every fault at once, those of its steps and of its expressions among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.jobs.faults import MAX_PROBLEMS, Reading, kind_of, near, shown
from orchestrator.jobs.spec_document import SPEC_KEYS, read_spec
from orchestrator.jobs.spec_values import TEMPLATED_KEYS, read_input, read_name
from orchestrator.model.json import Json
from orchestrator.model.workflows import When
from orchestrator.workflows.artifacts import check_artifacts
from orchestrator.workflows.conditions import check, check_condition
from orchestrator.workflows.graph import find_cycle, upstream
from orchestrator.workflows.input_types import INPUT_TYPES, fits, type_of
from orchestrator.workflows.references import Names

WORKFLOW_KEYS = ("name", "description", "inputs", "steps", "outputs")
LATER_WORKFLOW_KEYS = ("triggers", "vars")
FLOW_KEYS = ("needs", "if", "when", "artifacts")
LATER_FLOW_KEYS = ("foreach",)
INPUT_KEYS = ("type", "default", "description")
OTHER_FLOW_WORDS = {"depends_on": "needs", "after": "needs", "need": "needs", "require": "needs", "requires": "needs"}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
MAX_STEPS = 1000
MAX_EXPRESSIONS = 2000  # half a millisecond each to compile


@dataclass(slots=True)
class _Expressions:
    """Counts the expressions that were checked, over the whole file."""

    left: int = MAX_EXPRESSIONS
    inputs: frozenset[str] = field(default_factory=frozenset)

    def check(self, text: str, reading: Reading, names: Names, *, is_condition: bool = False) -> None:
        if self.left <= 0:
            return
        self.left -= 1 if is_condition else text.count("{{")
        if self.left <= 0:
            reading.wrong(f"There are more than {MAX_EXPRESSIONS} expressions in the file; work values out in scripts.")
            return
        for problem in check_condition(text, names) if is_condition else check(text, names):
            reading.wrong(problem)


def check_workflow(document: Json, reading: Reading) -> None:
    """Note everything that is wrong with a workflow document."""
    if not isinstance(document, dict):
        reading.wrong(f"A workflow is a mapping with `steps`, not {kind_of(document)}.")
        return
    _check_keys(document, reading)
    expressions = _Expressions(inputs=_check_inputs(document.get("inputs", {}), reading.at("inputs")))
    steps = document.get("steps")
    if not isinstance(steps, dict) or not steps:
        reading.at("steps").wrong("Give at least one step, as a mapping from its name to what it does.")
        steps = {}
    elif len(steps) > MAX_STEPS:
        reading.at("steps").wrong(f"There are {len(steps)} steps; a workflow has at most {MAX_STEPS}.")
        return
    _check_steps(steps, reading.at("steps"), expressions)
    _check_outputs(document.get("outputs", {}), reading.at("outputs"), expressions, frozenset(steps))


def _check_keys(document: Mapping[str, Json], reading: Reading) -> None:
    for key in list(document)[:MAX_PROBLEMS]:
        if key in LATER_WORKFLOW_KEYS:
            reading.at(key).wrong(f"`{key}` is not supported by this version yet; remove it.")
        elif key not in WORKFLOW_KEYS:
            reading.at(shown(key)).wrong(f"Unknown key `{shown(key)}`.{near(key, WORKFLOW_KEYS)}")
    if "name" in document:
        read_name(document["name"], reading.at("name"))
    _check_description(document, reading)


def _check_description(document: Mapping[str, Json], reading: Reading) -> None:
    if not isinstance(document.get("description", ""), str):
        reading.at("description").wrong(f"Must be text, not {kind_of(document['description'])}.")


def _check_inputs(inputs: Json, reading: Reading) -> frozenset[str]:
    """Check what is declared and return the names."""
    if not isinstance(inputs, dict):
        reading.wrong(f"Must be a mapping such as {{day: {{type: string}}}}, not {kind_of(inputs)}.")
        return frozenset()
    for name, declaration in inputs.items():
        at = reading.at(name)
        if not NAME.fullmatch(name):
            at.wrong(f"`{shown(name)}` is not a name: use letters, digits, `_` and `-`, a letter or `_` first.")
        if isinstance(declaration, dict):
            _check_declaration(declaration, at)
        elif declaration is not None:
            at.wrong(f"Must be a mapping such as {{type: string, default: x}}, not {kind_of(declaration)}.")
    return frozenset(inputs)


def _check_declaration(declaration: Mapping[str, Json], reading: Reading) -> None:
    for key in declaration:
        if key not in INPUT_KEYS:
            reading.at(shown(key)).wrong(f"Unknown key `{shown(key)}`.{near(key, INPUT_KEYS)}")
    _check_description(declaration, reading)
    kind = declaration.get("type", "any")
    if not isinstance(kind, str) or kind not in INPUT_TYPES:
        hint = near(kind, INPUT_TYPES) if isinstance(kind, str) else ""
        reading.at("type").wrong(f"Must be one of {', '.join(f'`{one}`' for one in INPUT_TYPES)}.{hint}")
    elif "default" in declaration and not fits(declaration["default"], kind):
        reading.at("default").wrong(f"Must be {type_of(kind)}, as `type` says, not {kind_of(declaration['default'])}.")
    read_input(declaration.get("default"), reading.at("default"))


def _check_steps(steps: Mapping[str, Json], reading: Reading, expressions: _Expressions) -> None:
    needs = {name: _needs(step, reading.at(name, "needs"), steps) for name, step in steps.items()}
    cycle = find_cycle(needs)
    if cycle is not None:
        around = " -> ".join(f"`{name}`" for name in [*cycle[:10], cycle[0]])
        reading.at(cycle[0], "needs").wrong(f"These steps wait for each other: {around}. Remove one of the needs.")
    for name, step in steps.items():
        before = upstream(name, needs) if cycle is None else frozenset(steps)
        names = Names(inputs=expressions.inputs, steps=before, later=frozenset(steps) - before)
        _check_step(name, step, reading.at(name), names, expressions)


def _needs(step: Json, reading: Reading, steps: Mapping[str, Json]) -> list[str]:
    """The steps that a step names as its needs and that exist."""
    value = step.get("needs", []) if isinstance(step, dict) else []
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list):
        reading.wrong(f"Must be a list of step names, not {kind_of(value)}.")
        return []
    found: list[str] = []
    for index, name in enumerate(named):
        at = reading.at(index) if isinstance(value, list) else reading
        if not isinstance(name, str) or name not in steps:
            hint = near(name, steps) if isinstance(name, str) else ""
            at.wrong(f"There is no step `{shown(str(name))}`.{hint}")
        elif name == reading.path[-2]:
            at.wrong("A step cannot need itself; remove it.")
        elif name in found:
            at.wrong(f"`{name}` is there twice; remove one.")
        else:
            found.append(name)
    return found


def _check_step(name: str, step: Json, reading: Reading, names: Names, expressions: _Expressions) -> None:
    if not NAME.fullmatch(name):
        reading.wrong(f"`{shown(name)}` is not a name: use letters, digits, `_` and `-`, a letter or `_` first.")
    if not isinstance(step, dict):
        reading.wrong(f"A step is a mapping such as {{bash: echo hello}}, not {kind_of(step)}.")
        return
    _check_flow(step, reading, names, expressions)
    spec = {key: value for key, value in step.items() if key not in _flow_words(step)}
    read_spec(spec, reading)
    for key in sorted(TEMPLATED_KEYS & spec.keys()):
        for path, text in texts_in(spec[key]):
            expressions.check(text, reading.at(key, *path), names)


def _flow_words(step: Mapping[str, Json]) -> set[str]:
    """The keys of a step that are not of a job specification, also those that only look like it."""
    other = {key for key in step if key not in SPEC_KEYS and key.lower().replace("-", "_") in OTHER_FLOW_WORDS}
    return {*FLOW_KEYS, *LATER_FLOW_KEYS, *other}


def _check_flow(step: Mapping[str, Json], reading: Reading, names: Names, expressions: _Expressions) -> None:
    for key in _flow_words(step).intersection(step).difference(FLOW_KEYS):
        at = reading.at(key)
        if key in LATER_FLOW_KEYS:
            at.wrong(f"`{key}` is not supported by this version yet; remove it.")
        else:
            at.wrong(f"Unknown key `{shown(key)}`. Did you mean `{OTHER_FLOW_WORDS[key.lower().replace('-', '_')]}`?")
    when = step.get("when", When.SUCCESS)
    if not isinstance(when, str) or when not in list(When):
        reading.at("when").wrong(f"Must be one of {', '.join(f'`{one}`' for one in When)}.")
    elif when == When.FAILURE and not step.get("needs"):
        reading.at("when").wrong("`when: failure` needs a step that can fail: name it under `needs`.")
    _check_condition(step.get("if", True), reading.at("if"), names, expressions)
    check_artifacts(step.get("artifacts", {}), reading.at("artifacts"), names)


def _check_condition(value: Json, reading: Reading, names: Names, expressions: _Expressions) -> None:
    if isinstance(value, bool):
        return
    if not isinstance(value, str) or not value.strip():
        reading.wrong('Must be an expression such as "{{ steps.extract.output.rows > 0 }}".')
        return
    expressions.check(value, reading, names, is_condition=True)


def _check_outputs(outputs: Json, reading: Reading, expressions: _Expressions, steps: frozenset[str]) -> None:
    if not isinstance(outputs, dict):
        reading.wrong(f"Must be a mapping from names to values, not {kind_of(outputs)}.")
        return
    read_input(outputs, reading)
    names = Names(inputs=expressions.inputs, steps=steps)
    for path, text in texts_in(outputs):
        expressions.check(text, reading.at(*path), names)


def texts_in(value: Json) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text inside a value that may hold a template, with the path to it."""
    waiting: list[tuple[tuple[str | int, ...], Json]] = [((), value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, str) and "{{" in item:
            yield path, item
        elif isinstance(item, list):
            waiting.extend(((*path, index), item[index]) for index in reversed(range(len(item))))
        elif isinstance(item, dict):
            waiting.extend(((*path, key), item[key]) for key in reversed(item))
