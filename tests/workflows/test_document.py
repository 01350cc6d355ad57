"""Reading YAML 1.2 and JSON: what words mean, which lines are remembered, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidError
from orchestrator.workflows.document import load_document


def load(text):
    return load_document(text, source="w.yaml").data


def refusal(text) -> str:
    with pytest.raises(InvalidError) as refused:
        load(text)
    assert refused.value.faults
    return refused.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("-7", -7),
        ("12:30:00", "12:30:00"),
        ("2026-11-21", "2026-11-21"),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-x", "-x"),
        (".", "."),
        ("1.2.3", "1.2.3"),
        ("true", True),
        ("True", True),
        ("tRue", "tRue"),
        ("~", None),
        ("null", None),
        ("", None),
        ('"012"', "012"),
        ("'true'", "true"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("!!float 1", 1.0),
        ("! 12", "12"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
    ],
)
def test_words_mean_what_yaml_1_2_says(text, value):
    found = load(f"key: {text}")

    assert found == {"key": value}
    assert type(found["key"]) is type(value)


def test_keys_are_text_also_where_older_yaml_says_otherwise():
    assert load("on: 1\nyes: 2\nn: 3") == {"on": 1, "yes": 2, "n": 3}


@pytest.mark.parametrize(
    "text", ['{"a": 1, "b": [true, null, 1.5e3, "x\\/y"]}', '{\n\t"a":1,\n\t"b":\t[]\n}', "[]", '{"a":"\\u00e9"}']
)
def test_json_is_read_as_json(text):
    assert load(text) == json.loads(text)


def test_json_with_surrogate_pairs_is_read():
    text = json.dumps({"smile": "\U0001f600", "not": "\\ud83d\\ude00"})

    assert load(text) == json.loads(text)


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)  # YAML's keys end at 1024 characters
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON))
def test_whatever_json_is_written_is_read_back(value):
    assert load(json.dumps(value)) == value


def test_aliases_stand_for_what_they_name():
    assert load("a: &x {b: 1}\nc: *x\nd: [*x]") == {"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}]}


def test_lines_are_remembered():
    document = load_document(
        "# a comment\nname: x\nsteps:\n  a:\n    bash: |\n      one\n      two\n    args:\n      - 1\n      - {b: 2}\n",
        source="w.yaml",
    )

    lines = {
        ("name",): 2,
        ("steps", "a"): 4,
        ("steps", "a", "bash"): 5,
        ("steps", "a", "args", 0): 9,
        ("steps", "a", "args", 1, "b"): 10,
        ("steps", "a", "missing", "deep"): 4,
    }
    assert {path: document.line_of(path) for path in lines} == lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", ["`a`", "lines 1 and 3"]),
        ('{"a": 1, "a": 2}', ["`a`", "twice"]),
        ("a: &x {b: 1}\nc:\n  <<: *x", ["w.yaml:3:3", "Merge keys"]),
        ("a: !!timestamp 2026-01-01", ["`!!timestamp`"]),
        ("a: !!binary aGk=", ["`!!binary`"]),
        ("a: !!python/object:os.system {}", ["python/object", "not supported"]),
        ("a: !mine 3", ["`!mine`"]),
        ("a: !!set {b}", ["`!!set`"]),
        ("a: !!int x", ["`!!int`"]),
        ("a: 1\n---\nb: 2", ["w.yaml:2", "second document"]),
        ("a: b: c", ["w.yaml:1:5", "not YAML"]),
        ("a:\n\t- b", ["w.yaml:2", "not YAML"]),
        ("a: [1, 2", ["not YAML"]),
        ('a: "\x01"', ["control characters"]),
        ("a: .nan", [".nan", "not a JSON value"]),
        ("a: -.inf", ["not a JSON value"]),
        ("a: 1e999", ["too large"]),
        ("a: 99999999999999999999", ["64 bits"]),
        ("1: a", ["A key must be text", "`1`"]),
        ("null: a", ["A key must be text"]),
        ("? [a]\n: b", ["A key must be text"]),
        ("? " * 400_000, ["A key must be text"]),
        ("a: *x", ["`*x`", "no anchor"]),
        ("a: &x [*x]", ["inside"]),
        ("a: \ud800", ["surrogate"]),
        ("", ["empty"]),
        ("# nothing\n", ["empty"]),
        ("~", ["empty"]),
    ],
)
def test_what_is_refused_says_where_and_why(text, words):
    message = refusal(text)

    assert all(word in message for word in words), message


def test_a_file_that_is_too_large_is_refused():
    assert "1 MiB" in refusal("a: " + "x" * (1024 * 1024))


@pytest.mark.parametrize("text", ["[" * 500_000, "{a: " * 200_000, "- " * 400_000])
def test_a_file_that_is_nested_too_deep_is_refused(text):
    assert "nested" in refusal(text)


def test_depth_up_to_the_limit_is_read():
    assert load("[" * 50 + "]" * 50)


def test_aliases_are_limited_in_number():
    assert "aliases" in refusal("a: &x 1\nb: [" + ",".join(["*x"] * 101) + "]")


def test_aliases_are_limited_in_what_they_stand_for():
    lines = ["a0: &a0 [" + ",".join(["lol"] * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 9)]

    assert "larger than 4 MiB" in refusal("\n".join(lines))


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    try:
        load(text)
    except InvalidError as error:
        assert error.faults
