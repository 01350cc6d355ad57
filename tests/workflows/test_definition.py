"""Workflow files: what becomes of a good one, and that a bad one lists every fault with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import InvalidError
from orchestrator.model.specs import ExecutorKind
from orchestrator.model.workflows import InputDeclaration, Step, When
from orchestrator.workflows.definition import bind_inputs, executors_of, parse_workflow, workflow_from_document
from orchestrator.workflows.document import LoadedDocument, load_document

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))

GOOD = """\
name: nightly
description: Counts.
inputs:
  day: {type: string, default: yesterday, description: Which day.}
  limit: {type: integer}
  free:
steps:
  extract:
    python: |
      print("{{ not a template }}")
    timeout: 5m
  check-it:
    needs: extract
    if: "{{ steps.extract.output.rows > inputs.limit }}"
    env: {ROWS: "{{ steps.extract.output.rows }}"}
    args: ["{{ inputs.day }}", 1]
    bash: echo "$ROWS"
  tell:
    needs: [check-it, extract]
    when: always
    if: true
    input: {text: "done: {{ run.status }}"}
    image: "python:{{ inputs.day }}"
    python: print(1)
outputs:
  rows: "{{ steps.extract.output.rows }}"
  checked: "{{ steps['check-it'].status }}"
"""


def parse(text, source="w.yaml"):
    return parse_workflow(load_document(text, source=source))


def faults(text) -> list[tuple[int | None, str, str]]:
    with pytest.raises(InvalidError) as refused:
        parse(text)
    return [(fault.line, fault.path, fault.message) for fault in refused.value.faults]


def test_a_good_file_becomes_a_workflow():
    workflow = parse(GOOD)

    assert workflow.name == "nightly"
    assert workflow.steps == (
        Step(name="extract", spec={"python": 'print("{{ not a template }}")\n', "timeout": "5m"}),
        Step(
            name="check-it",
            spec={
                "env": {"ROWS": "{{ steps.extract.output.rows }}"},
                "args": ["{{ inputs.day }}", 1],
                "bash": 'echo "$ROWS"',
            },
            needs=("extract",),
            condition="{{ steps.extract.output.rows > inputs.limit }}",
        ),
        Step(
            name="tell",
            spec={
                "input": {"text": "done: {{ run.status }}"},
                "image": "python:{{ inputs.day }}",
                "python": "print(1)",
            },
            needs=("check-it", "extract"),
            condition="true",
            when=When.ALWAYS,
        ),
    )
    assert workflow.inputs == {
        "day": InputDeclaration(type="string", default="yesterday", has_default=True, description="Which day."),
        "limit": InputDeclaration(type="integer"),
        "free": InputDeclaration(),
    }
    assert workflow.outputs == {"rows": "{{ steps.extract.output.rows }}", "checked": "{{ steps['check-it'].status }}"}


def test_a_stored_document_gives_the_same_workflow():
    workflow = parse(GOOD)

    assert workflow_from_document(json.loads(json.dumps(workflow.document))) == workflow


def test_json_without_a_file_is_a_workflow_too():
    document = LoadedDocument(data={"name": "x", "steps": {"a": {"bash": "true"}}}, source="the request")

    assert parse_workflow(document).steps[0].name == "a"


@pytest.mark.parametrize(
    ("source", "name"), [("dir/backup.yaml", "backup"), ("<stdin>", "workflow"), ("-", "workflow")]
)
def test_a_workflow_without_a_name_is_called_after_its_file(source, name):
    workflow = parse("steps: {a: {bash: 'true'}}", source)

    assert (workflow.name, workflow.document["name"]) == (name, name)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_right(path):
    assert parse(path.read_text(), str(path)).name == path.stem


def test_every_fault_is_listed_with_its_line():
    found = faults(
        "name: bad\n"
        "step: {}\n"
        "steps:\n"
        "  a:\n"
        "    pyhton: x\n"
        "    timeout: soon\n"
        "  b:\n"
        "    needs: [zzz]\n"
        "    bash: y\n"
        "    args:\n"
        "      - '{{ steps.a.output }}'\n"
        "outputs:\n"
        "  x: '{{ steps.c.output }}'\n"
    )

    assert [(line, path) for line, path, _ in found] == [
        (2, "step"),
        (4, "steps.a"),
        (5, "steps.a.pyhton"),
        (6, "steps.a.timeout"),
        (8, "steps.b.needs.0"),
        (11, "steps.b.args.0"),
        (13, "outputs.x"),
    ]


STEP = "steps:\n  a: {{bash: 'true'}}\n  b:\n    bash: 'true'\n    {}\n"


@pytest.mark.parametrize(
    ("line", "path", "words"),
    [
        ("needs: [b]", "steps.b.needs.0", "cannot need itself"),
        ("needs: [a, a]", "steps.b.needs.1", "twice"),
        ("needs: [aa]", "steps.b.needs.0", "Did you mean `a`?"),
        ("needs: 3", "steps.b.needs", "Must be a list"),
        ("needs: {a: 1}", "steps.b.needs", "Must be a list"),
        ("depends_on: [a]", "steps.b.depends_on", "Did you mean `needs`?"),
        ("when: never", "steps.b.when", "`success`, `failure`, `always`"),
        ("when: failure", "steps.b.when", "name it under `needs`"),
        ("foreach: [1]", "steps.b.foreach", "not supported by this version yet"),
        ("concurrency: 3", "steps.b.concurrency", "Needs a `key`"),
        ("on: server", "steps.b.on", "not supported by this version yet"),
        ("if: ''", "steps.b.if", "Must be an expression"),
        ("if: 3", "steps.b.if", "Must be an expression"),
        ("if: '{{ steps.a.output }}'", "steps.b.if", "add it to `needs`"),
        ("if: '{{ steps.b.output }}'", "steps.b.if", "add it to `needs`"),
        ("if: '{{ 1 + }}'", "steps.b.if", "unexpected"),
        ("if: '{{ true }} {{ true }}'", "steps.b.if", "one expression"),
        ("env: {X: '{{ inputs.nope }}'}", "steps.b.env.X", "declare it under `inputs`"),
        ("env: {X: '{{ unclosed'}", "steps.b.env.X", "not closed"),
        ("input: {a: [1, '{{ steps.z }}']}", "steps.b.input.a.1", "no step `z`"),
        ("workdir: '{{ steps.z.output }}'", "steps.b.workdir", "no step `z`"),
        ("name: '{{ inputs.x }}'", "steps.b.name", "Templates are filled in only in"),
        ("timeout: '{{ inputs.x }}'", "steps.b.timeout", "number of seconds"),
        ("python: x", "steps.b.python", "exclude each other"),
    ],
)
def test_a_wrong_line_in_a_step_is_found(line, path, words):
    found = {fault_path: message for _, fault_path, message in faults(STEP.format(line))}

    assert words in found.get(path, ""), found


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("[]", "", "A workflow is a mapping"),
        ("name: x", "steps", "at least one step"),
        ("steps: {}", "steps", "at least one step"),
        ("steps: [a]", "steps", "at least one step"),
        ("steps: {a: }", "steps.a", "A step is a mapping"),
        ("steps: {a b: {bash: x}}", "steps.a b", "not a name"),
        ("steps: {1a: {bash: x}}", "steps.1a", "not a name"),
        ("steps: {a: {bash: x}}\nname: 3", "name", "Must be text"),
        ("steps: {a: {bash: x}}\ntriggers: []", "triggers", "not supported by this version yet"),
        ("steps: {a: {bash: x}}\noutputs: []", "outputs", "Must be a mapping"),
        ("steps: {a: {bash: x}}\noutput: {}", "output", "Did you mean `outputs`?"),
        ("steps: {a: {bash: x}}\ninputs: [x]", "inputs", "Must be a mapping"),
        ("steps: {a: {bash: x}}\ninputs: {a.b: {}}", "inputs.a.b", "not a name"),
        ("steps: {a: {bash: x}}\ninputs: {a: string}", "inputs.a", "Must be a mapping"),
        ("steps: {a: {bash: x}}\ninputs: {a: {type: strng}}", "inputs.a.type", "Did you mean `string`?"),
        ("steps: {a: {bash: x}}\ninputs: {a: {default: x, type: integer}}", "inputs.a.default", "a whole number"),
        ("steps: {a: {bash: x}}\ninputs: {a: {default: null, type: string}}", "inputs.a.default", "not null"),
        ("steps: {a: {bash: x}}\ninputs: {a: {defualt: x}}", "inputs.a.defualt", "Did you mean `default`?"),
        ("steps: {a: {bash: x}}\ndescription: 3", "description", "Must be text"),
    ],
)
def test_a_wrong_file_is_refused(text, path, words):
    found = {fault_path: message for _, fault_path, message in faults(text)}

    assert words in found.get(path, ""), found


def test_a_cycle_is_named():
    found = faults(
        "steps:\n  a: {bash: x, needs: c}\n  b: {bash: x, needs: a}\n  c: {bash: x, needs: b}\n  d: {bash: x, needs: a}"
    )

    assert len(found) == 1
    assert "`a` -> `c` -> `b` -> `a`" in found[0][2]


def test_a_long_chain_is_no_trouble():
    steps = {f"s{n}": {"bash": "true", **({"needs": [f"s{n - 1}"]} if n else {})} for n in range(1000)}
    steps["s999"]["args"] = ["{{ steps.s0.output }}"]

    assert len(parse(json.dumps({"steps": steps})).steps) == 1000
    assert "at most 1000" in faults(json.dumps({"steps": {**steps, "x": {"bash": "true"}}}))[0][2]


def test_expressions_are_limited_in_number():
    args = ["{{ inputs }}" * 10] * 300

    assert "more than 2000 expressions" in faults(json.dumps({"steps": {"a": {"bash": "x", "args": args}}}))[0][2]


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ({"limit": 3}, {"day": "yesterday", "limit": 3, "free": None}),
        ({"limit": 4.0, "free": [1], "day": "x"}, {"day": "x", "limit": 4.0, "free": [1]}),
    ],
)
def test_inputs_are_bound_with_their_defaults(given, bound):
    workflow = parse(GOOD.replace("free:", "free: {default: null}"))

    assert bind_inputs(workflow, given) == bound


def test_inputs_that_do_not_fit_are_all_named():
    with pytest.raises(InvalidError) as refused:
        bind_inputs(parse(GOOD), {"day": 3, "limt": 1})

    assert {fault.path: fault.message for fault in refused.value.faults} == {
        "inputs.limt": "`nightly` has no input `limt`. Did you mean `limit`?",
        "inputs.day": "Must be text, not a number.",
        "inputs.limit": "Is missing: give it, for example with `--input limit=...`.",
        "inputs.free": "Is missing: give it, for example with `--input free=...`.",
    }


def test_the_executors_of_a_workflow_are_known_beforehand():
    workflow = parse("steps:\n  a: {bash: x}\n  b: {bash: x, image: debian}\n  c: {bash: x, executor: process}")

    assert executors_of(workflow, ExecutorKind.PROCESS) == {ExecutorKind.PROCESS, ExecutorKind.DOCKER}
    assert executors_of(workflow, ExecutorKind.DOCKER) == {ExecutorKind.PROCESS, ExecutorKind.DOCKER}
