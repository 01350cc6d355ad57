"""Expressions and templates: what they give, what they refuse, and that hostile ones cost next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidError
from orchestrator.workflows.conditions import check, check_condition, evaluate, is_true, render
from orchestrator.workflows.references import Names

SCOPE = {
    "inputs": {"day": "monday", "limit": 3, "my-day": "x", "none": None, "rate": 0.5},
    "steps": {
        "a": {
            "status": "succeeded",
            "output": {
                "rows": 42,
                "names": ["b", "a", "b"],
                "deep": {"x": [1, {"y": True}]},
                "items": [{"n": 1}, {"n": 2}],
            },
            "condition": True,
        },
        "my-step": {"status": "skipped", "output": None, "condition": None},
    },
    "run": {"id": "run_1", "workflow": "w", "status": "succeeded", "created_at": "2026-01-01T00:00:00Z"},
}
NAMES = Names(inputs=frozenset({"day", "limit", "my-day"}), steps=frozenset({"a", "my-step"}), later=frozenset({"z"}))


def value(expression):
    return render("{{ " + expression + " }}", SCOPE)


def refusal(text) -> str:
    with pytest.raises(InvalidError) as refused:
        render(text, SCOPE)
    return refused.value.message


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("steps.a.output.rows", 42),
        ("steps.a.output.rows > 41 and not false", True),
        ("steps.a.output.names[0]", "b"),
        ("steps.a.output.names[-1]", "b"),
        ("steps.a.output.names[0:2]", ["b", "a"]),
        ("steps.a.output.deep.x[1].y", True),
        ("steps['my-step'].output", None),
        ("steps.a.output.items", [{"n": 1}, {"n": 2}]),
        ("inputs['my-day']", "x"),
        ("inputs.day == 'monday'", True),
        ("inputs.day in ['monday', 'friday']", True),
        ("inputs.day not in 'mondays'", False),
        ("1 < inputs.limit <= 3", True),
        ("inputs.limit * 2 + 1", 7),
        ("inputs.limit / 2", 1.5),
        ("inputs.limit // 2", 1),
        ("inputs.limit % 2", 1),
        ("2 ** 10", 1024),
        ("-inputs.limit", -3),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
        ("'a' ~ 1 ~ true ~ none", "a1truenull"),
        ("'yes' if inputs.limit else 'no'", "yes"),
        ("{'a': [1, (2, 3)]}", {"a": [1, [2, 3]]}),
        ("null", None),
        ("none", None),
        ("'{{ }}'", "{{ }}"),
        ('"}}"', "}}"),
        ("steps.a.output.absent | default('x')", "x"),
        ("steps['my-step'].output.rows | default(0)", 0),
        ("inputs.none | default('x')", None),
        ("inputs.none | default('x', true)", "x"),
        ("steps.a.output.absent is defined", False),
        ("steps.a.output.absent is undefined", True),
        ("inputs.none is none", True),
        ("inputs.none is null", True),
        ("inputs.limit is number and inputs.day is string", True),
        ("inputs is mapping and steps.a.output.names is list", True),
        ("true is boolean", True),
        ("steps.a.output.names | length", 3),
        ("steps.a.output.names | sort | join(',')", "a,b,b"),
        ("steps.a.output.names | sort(reverse=true) | first", "b"),
        ("steps.a.output.names | unique", ["b", "a"]),
        ("steps.a.output.names | reverse | last", "b"),
        ("steps.a.output.items | map('n') | sum", 3),
        ("steps.a.output.items | map(attribute='n')", [1, 2]),
        ("[3, 1, 2.5] | min", 1),
        ("[3, 1, 2.5] | max", 3),
        ("' Ab ' | trim | lower", "ab"),
        ("'ab' | upper | replace('B', 'c')", "Ac"),
        ("'a,b' | split(',')", ["a", "b"]),
        ("'ab' | startswith('a') and 'ab' | endswith('b')", True),
        ("'42' | int + '0.5' | float", 42.5),
        ("2.5 | round", 3),
        ("2.345 | round(1)", 2.3),
        ("(-3) | abs", 3),
        ("inputs.limit | string", "3"),
        ("{'a': 1} | tojson", '{"a": 1}'),
        ("'[1]' | fromjson", [1]),
        ("{'a': 1} | keys", ["a"]),
        ("{'a': 1} | values", [1]),
        ("run.id", "run_1"),
    ],
)
def test_an_expression_gives_a_value_with_its_type(expression, expected):
    found = value(expression)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rows={{ steps.a.output.rows }}", "rows=42"),
        ("{{ true }} {{ none }} {{ 1.5 }} {{ [1, 'a'] }}", 'true null 1.5 [1, "a"]'),
        ("{{ inputs.day }}{{ inputs.limit }}", "monday3"),
        (" {{ inputs.limit }}", " 3"),
        ("{% raw %} {# no #} }}", "{% raw %} {# no #} }}"),
        ("{{ '{{' }}.Names}}", "{{.Names}}"),
        ("", ""),
        ("plain", "plain"),
    ],
)
def test_a_text_with_templates_becomes_text(text, expected):
    assert render(text, SCOPE) == expected


def test_templates_are_filled_in_at_any_depth_but_not_in_keys():
    assert render({"{{ x }}": [{"a": "{{ inputs.limit }}"}, 1, None]}, SCOPE) == {"{{ x }}": [{"a": 3}, 1, None]}


def test_what_is_filled_in_is_not_filled_in_again():
    assert render("{{ inputs.x }}", {**SCOPE, "inputs": {"x": "{{ run.id }}"}}) == "{{ run.id }}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ steps.a.output.rws }}", ["there is no `rws`", "`rows`"]),
        ("{{ steps.a.output.names[7] }}", ["no item 7"]),
        ("{{ inputs.limit.x }}", ["a number has no `x`"]),
        ("{{ inputs.none.x.y }}", ["null has no `x`"]),
        ("{{ 1 < 'a' }}", ["number and text"]),
        ("{{ 1 + 'a' }}", ["two numbers, two texts"]),
        ("{{ true + 1 }}", ["two numbers"]),
        ("{{ 1 / 0 }}", ["division by zero"]),
        ("{{ [] | first }}", ["not empty"]),
        ("{{ [1, 'a'] | sort }}", ["list of numbers or a list of texts"]),
        ("{{ inputs.day | int }}", ["do not fit"]),
        ("{{ x }", ["not closed"]),
        ("{{ 'x }}", ["not closed"]),
        ("{{- 1 }}", ["not supported"]),
        ("{{ 1 -}}", ["not supported"]),
        ("{{ }}", ["empty"]),
        ("{{ a b }}", ["`b` is not expected"]),
        ("{{ 1 + }}", ["unexpected"]),
        ("{{ inputs.day | lowr }}", ["Did you mean `lower`?"]),
        ("{{ inputs.day is odd }}", ["there is no test `odd`"]),
        ("{{ inputs.day | lower(1) }}", ["cannot be used like that"]),
        ("{{ 1 if false }}", ["needs an `else`"]),
        ("{{ {1: 2} }}", ["keys of a mapping must be text"]),
    ],
)
def test_a_refusal_says_what_is_wrong(text, words):
    message = refusal(text)

    assert all(word in message for word in words), message


BIG = {**SCOPE, "inputs": {"big": [0] * 300_000, "text": "x" * 1_000_000, "rows": [[0] * 500] * 500}}
HOSTILE = {
    "huge power": "9 ** 9 ** 9 ** 9",
    "huge power of a float": "9.9 ** 9999999",
    "negative power": "(0 - 9) ** 0.5",
    "huge product": "9999999999999999 * 9999999999999999",
    "huge literal": "9" * 1900,
    "infinite literal": "1e999 > 0",
    "repeated text": "'a' * 10 ** 9",
    "repeated list": "[0] * 10 ** 9",
    "nested repetition": "[[[0] * 9999] * 9999] * 9999",
    "dunder walk": "''.__class__.__mro__[1].__subclasses__()",
    "dunder walk by items": "''['__class__']['__mro__']",
    "dunder of a mapping": "inputs.__class__.__init__.__globals__",
    "dunder by filter": "inputs | map('__class__')",
    "attr filter": "inputs | attr('__class__')",
    "method": "inputs.keys()",
    "method without call": "inputs.pop",
    "format method": "'{0.__class__}'.format(inputs)",
    "percent format": "'%999999999d' % 1",
    "format filter": "'%999999999d' | format(1)",
    "range": "range(999999999) | list",
    "nested ranges": "[x for x in range(9)]",
    "lipsum": "lipsum(n=99999)",
    "cycler": "cycler.__init__.__globals__.os",
    "self": "self",
    "self walk": "self._TemplateReference__context",
    "context names": "caller",
    "statement": "1 %}{% for x in y %}",
    "second expression": "1 }}{{ '' * 9",
    "assignment": "x = 1",
    "long input": "1 + " * 499 + "1",
    "too long input": "1" + " " * 2000 + "+ 1",
    "many brackets": "(" * 900 + "1" + ")" * 900,
    "many lists": "[" * 900 + "]" * 900,
    "many minus signs": "1" + " - - " * 300 + "1",
    "many nots": "not " * 450 + "1",
    "long chain of attributes": "inputs" + ".a" * 900,
    "long chain of filters": "inputs.text" + "|trim" * 300,
    "long chain of conditions": "1 if 1 else " * 150 + "1",
    "work through lists": "inputs.big" + "|reverse" * 30,
    "growing list": "inputs.big" + " + inputs.big" * 30,
    "growing text": "inputs.text" + " + inputs.text" * 30,
    "joined text": " ~ ".join(["inputs.text"] * 30),
    "long separator": "inputs.big | join(inputs.text)",
    "long replacement": "inputs.text | replace('x', inputs.text)",
    "replacement of nothing": "inputs.text | replace('', inputs.text)",
    "shared lists written out": "[" + ",".join(["inputs.big"] * 50) + "]",
    "shared lists as JSON": "[" + ",".join(["inputs.rows"] * 50) + "] | tojson",
    "digits": "1.5 | round(999999999)",
    "many digits to read": "('9' + '9' * 1) | int",
    "not a number": "'nan' | float",
    "infinity": "'inf' | float",
    "infinity as integer": "'1e999' | int",
    "deep JSON": "inputs.deep | fromjson",
    "not finite JSON": "'[NaN]' | fromjson",
    "cut constant": "1[0:1]",
    "cut by nothing": "inputs.big[::0]",
    "star arguments": "inputs.text | replace(*inputs.big)",
    "keyword star arguments": "inputs.text | replace(**inputs)",
    "wide character": "'\\ud800'",
    "bad escape": "'\\x'",
}


@pytest.mark.parametrize("expression", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_expressions_are_refused(expression):
    scope = {**BIG, "inputs": {**BIG["inputs"], "deep": "[" * 100_000 + "]" * 100_000}}

    with pytest.raises(InvalidError):
        render("{{ " + expression + " }}", scope)


def test_one_filling_in_is_bounded_however_many_templates_it_has():
    with pytest.raises(InvalidError, match="together are larger than 4 MiB"):
        render({f"k{n}": "x{{ inputs.text }}" for n in range(50)}, BIG)


def test_a_budget_is_of_one_filling_in():
    for _ in range(10):
        assert len(str(render("{{ inputs.text }}", BIG))) == 1_000_000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ inputs.day }}", None),
        ("{{ inputs }}", None),
        ("{{ steps.a.output.x.y }} {{ steps['my-step'].status }}", None),
        ("{{ run.status }}", None),
        ("plain {% %}", None),
        ("{{ null }}", None),
        ("{{ inputs.dya }}", "There is no input `dya`; declare it under `inputs`. Did you mean `day`?"),
        ("{{ inputs.my-day }}", "A name with a dash is written `inputs['my-day']`."),
        ("{{ steps.my-step.output }}", "A name with a dash is written `steps['my-step']`."),
        ("{{ steps.b.output }}", "There is no step `b`."),
        ("{{ steps.z.output }}", "Step `z` may not have ended here; add it to `needs`."),
        ("{{ steps.a.rows }}", "did you mean `steps.a.output.rows`?"),
        ("{{ steps }}", "Name the step"),
        ("{{ steps[inputs.day] }}", "Name the step"),
        ("{{ run.stats }}", "Did you mean `status`?"),
        ("{{ vars.x }}", "There is no `vars` here"),
        ("{{ step.a }}", "Did you mean `steps`?"),
        ("{{ secrets }}", "There is no `secrets` here"),
        ("{{ self }}", "There is no `self` here"),
        ("{{ 1 + }}", "unexpected"),
        ("{{ [inputs.nope, {'a': steps.b}] | first }}", "There is no step `b`"),
    ],
)
def test_names_are_checked_before_anything_runs(text, problem):
    found = check(text, NAMES)

    assert any(problem in one for one in found) if problem else found == []


def test_a_condition_is_one_expression_with_or_without_braces():
    for text in ("{{ steps.a.output.rows > 3 }}", "steps.a.output.rows > 3", " {{ steps.a.output.rows > 3 }}\n"):
        assert check_condition(text, NAMES) == []
        assert evaluate(text, SCOPE) is True
    assert "one expression" in check_condition("{{ true }} and {{ false }}", NAMES)[0]


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", "false", [], {}])
def test_empty_values_and_the_word_false_are_not_true(value):
    assert not is_true(value)


@pytest.mark.parametrize("value", [True, 1, -0.5, "x", "0", [0], {"a": None}])
def test_all_other_values_are_true(value):
    assert is_true(value)


@settings(deadline=None)
@given(st.text(alphabet="{}[]()'\".|+-*/%~<>=!,: abcinputsteps019_\\", max_size=80))
def test_any_text_is_rendered_or_refused(text):
    try:
        render("{{" + text, SCOPE)
    except InvalidError as error:
        assert error.message
    check(text, NAMES)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None)
@given(JSON)
def test_a_value_goes_through_unchanged(value):
    assert render("{{ inputs.x }}", {"inputs": {"x": value}}) == value


def test_nothing_heavy_is_imported_where_there_is_no_expression():
    program = (
        "import sys\n"
        "from orchestrator.workflows.conditions import render\n"
        "from orchestrator.workflows import definition, plan\n"
        "render({'a': ['plain']}, {})\n"
        "print([name for name in ('jinja2', 'yaml', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "[]\n"
