"""The published schema says what the checks say, as far as a schema can."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidError
from orchestrator.jobs.spec_document import SPEC_KEYS, parse_job_spec
from orchestrator.workflows.checks import FLOW_KEYS, WORKFLOW_KEYS
from orchestrator.workflows.definition import parse_workflow
from orchestrator.workflows.document import LoadedDocument, load_document
from orchestrator.workflows.schema import job_spec_schema, workflow_schema

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
KINDS = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
}
CHECKS = {
    "$schema": lambda rule, value, schema: True,
    "title": lambda rule, value, schema: True,
    "description": lambda rule, value, schema: True,
    "type": lambda rule, value, schema: any(KINDS[kind](value) for kind in ([rule] if isinstance(rule, str) else rule)),
    "enum": lambda rule, value, schema: value in rule,
    "anyOf": lambda rule, value, schema: any(fits(one, value) for one in rule),
    "oneOf": lambda rule, value, schema: sum(fits(one, value) for one in rule) == 1,
    "pattern": lambda rule, value, schema: not isinstance(value, str) or re.search(rule, value) is not None,
    "minLength": lambda rule, value, schema: not isinstance(value, str) or len(value) >= rule,
    "maxLength": lambda rule, value, schema: not isinstance(value, str) or len(value) <= rule,
    "minimum": lambda rule, value, schema: not KINDS["number"](value) or value >= rule,
    "maximum": lambda rule, value, schema: not KINDS["number"](value) or value <= rule,
    "exclusiveMinimum": lambda rule, value, schema: not KINDS["number"](value) or value > rule,
    "required": lambda rule, value, schema: not isinstance(value, dict) or all(key in value for key in rule),
    "minProperties": lambda rule, value, schema: not isinstance(value, dict) or len(value) >= rule,
    "propertyNames": lambda rule, value, schema: not isinstance(value, dict) or all(fits(rule, key) for key in value),
    "properties": lambda rule, value, schema: (
        not isinstance(value, dict) or all(fits(rule[key], value[key]) for key in value if key in rule)
    ),
    "additionalProperties": lambda rule, value, schema: (
        not isinstance(value, dict)
        or all(fits(rule, value[key]) for key in value if key not in schema.get("properties", {}))
    ),
    "items": lambda rule, value, schema: not isinstance(value, list) or all(fits(rule, item) for item in value),
    "uniqueItems": lambda rule, value, schema: (
        not isinstance(value, list) or len({json.dumps(item) for item in value}) == len(value)
    ),
}


def fits(schema, value) -> bool:
    """The part of JSON Schema that ours uses; a keyword that is not known here fails the test."""
    if isinstance(schema, bool):
        return schema
    return all(CHECKS[keyword](rule, value, schema) for keyword, rule in schema.items())


def is_workflow(document) -> bool:
    try:
        parse_workflow(LoadedDocument(data=document, source="test"))
    except InvalidError:
        return False
    return True


def is_job(document) -> bool:
    try:
        parse_job_spec(document)
    except InvalidError:
        return False
    return True


def test_the_schemas_are_json_and_name_every_key():
    workflow, job = json.loads(json.dumps(workflow_schema())), json.loads(json.dumps(job_spec_schema()))

    assert set(workflow["properties"]) == set(WORKFLOW_KEYS)
    assert set(workflow["properties"]["steps"]["additionalProperties"]["properties"]) == {*SPEC_KEYS, *FLOW_KEYS}
    assert set(job["properties"]) == set(SPEC_KEYS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_fit_the_schema(path):
    assert fits(workflow_schema(), load_document(path.read_text(), source=path.name).data)


VALUES = [
    ("bash", "true", True),
    ("bash", "", False),
    ("bash", 3, False),
    ("name", "x", True),
    ("name", "", False),
    ("name", "x" * 201, False),
    ("executor", "docker", True),
    ("executor", "ssh", False),
    ("image", "python:3.12-slim", True),
    ("image", "a b", False),
    ("pull", "always", True),
    ("pull", "often", False),
    ("network", "bridge", True),
    ("network", "a b", False),
    ("args", ["a", 1, True], True),
    ("args", [None], False),
    ("args", "a", False),
    ("workdir", "/srv", True),
    ("workdir", "srv", False),
    ("input", {"a": [None]}, True),
    ("env", {"A": 1}, True),
    ("env", {"1": 1}, False),
    ("env", {"CRONIUM_X": 1}, False),
    ("env", {"A": None}, False),
    ("timeout", "1h30m", True),
    ("timeout", "90", True),
    ("timeout", 1.5, True),
    ("timeout", 0, False),
    ("timeout", "soon", False),
    ("priority", 1000, True),
    ("priority", 1001, False),
    ("concurrency", {"key": "k"}, True),
    ("concurrency", {"key": "k", "limit": 2, "when_full": "skip"}, True),
    ("concurrency", 2, False),
    ("concurrency", {"limit": 2}, False),
    ("concurrency", {"key": ""}, False),
    ("concurrency", {"key": "k", "limit": 0}, False),
    ("concurrency", {"key": "k", "when_full": "wait"}, False),
    ("concurrency", {"key": "k", "more": 1}, False),
    ("cpus", 0.5, True),
    ("cpus", 0, False),
    ("memory", "512MB", True),
    ("memory", "1 gib", True),
    ("memory", 5, False),
    ("memory", "lots", False),
    ("pids", 5, True),
    ("pids", 0, False),
    ("retry", {}, False),
]


@pytest.mark.parametrize(("key", "value", "right"), VALUES)
def test_schema_and_checks_agree_on_a_job(key, value, right):
    document = {"bash": "true", key: value}

    assert (fits(job_spec_schema(), document), is_job(document)) == (right, right)


@pytest.mark.parametrize(("key", "value", "right"), VALUES)
def test_schema_and_checks_agree_on_a_step(key, value, right):
    document = {"steps": {"a": {"bash": "true", key: value}}}

    assert (fits(workflow_schema(), document), is_workflow(document)) == (right, right)


@pytest.mark.parametrize(
    ("document", "right"),
    [
        ({"steps": {"a": {"bash": "x"}}}, True),
        ({"steps": {"a": {"bash": "x", "when": "always", "if": True}, "b": {"bash": "x", "needs": "a"}}}, True),
        ({"steps": {"a": {"bash": "x", "args": "{{ inputs }}", "workdir": "{{ run.id }}"}}}, True),
        ({"steps": {"a": {"bash": "x"}}, "inputs": {"x": None, "y": {"type": "array", "default": []}}}, True),
        ({"steps": {"a": {"bash": "x"}}, "outputs": {"x": "{{ run.id }}"}, "name": "n", "description": "d"}, True),
        ({}, False),
        ([], False),
        ({"steps": {}}, False),
        ({"steps": {"a": {}}}, False),
        ({"steps": {"a": {"bash": "x", "python": "x"}}}, False),
        ({"steps": {"a b": {"bash": "x"}}}, False),
        ({"steps": {"a": {"bash": "x", "when": "never"}}}, False),
        ({"steps": {"a": {"bash": "x", "if": 3}}}, False),
        ({"steps": {"a": {"bash": "x", "needs": [3]}}}, False),
        ({"steps": {"a": {"bash": "x"}}, "inputs": {"x": {"type": "text"}}}, False),
        ({"steps": {"a": {"bash": "x"}}, "triggers": []}, False),
    ],
)
def test_schema_and_checks_agree_on_a_workflow(document, right):
    assert (fits(workflow_schema(), document), is_workflow(document)) == (right, right)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "5m", "/x", "", "{{ run.id }}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["A", "b", "1"]), inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*SPEC_KEYS, "x"]), JSON, max_size=4))
def test_what_the_checks_accept_fits_the_schema(document):
    if is_job(document):
        assert fits(job_spec_schema(), document)
