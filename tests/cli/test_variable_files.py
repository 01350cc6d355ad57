"""Variables in files: what is written is read back equal, and is harmless where others open it."""

from __future__ import annotations

import csv
import io
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.variable_files import FORMATS, Entry, format_of, parse_value, value_text
from orchestrator.errors import InvalidError

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40) | st.sampled_from(
    [
        "=1+1",
        "'=x",
        "''",
        "+1",
        "-1",
        "@x",
        "\t",
        "a\r\nb",
        "5",
        '"5"',
        "null",
        "true",
        "#x",
        "a#b",
        "$(id)",
        "`id`",
        "\\n",
        "{",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
ENTRIES = st.lists(
    st.builds(Entry, key=TEXTS.filter(bool), value=VALUES, description=st.none() | TEXTS.filter(bool)), max_size=4
)
NAMED = st.lists(
    st.builds(Entry, key=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), value=VALUES), max_size=4
)


@given(VALUES)
def test_a_value_comes_back_from_its_text(value):
    back = parse_value(value_text(value))
    assert (back, type(back)) == (value, type(value))


@given(ENTRIES)
@settings(deadline=None)
def test_json_comes_back_equal(entries):
    assert FORMATS["json"].parse(FORMATS["json"].dump(entries)) == entries


@given(ENTRIES)
@settings(deadline=None)
def test_csv_comes_back_equal_and_no_cell_is_a_formula(entries):
    text = FORMATS["csv"].dump(entries)
    assert FORMATS["csv"].parse(text) == entries
    for row in csv.reader(io.StringIO(text, newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


@given(NAMED)
@settings(deadline=None)
def test_an_environment_comes_back_equal(entries):
    try:
        text = FORMATS["env"].dump(entries)
    except InvalidError:
        assert any("\0" in value_text(entry.value) for entry in entries)
        return
    assert FORMATS["env"].parse(text) == entries


@pytest.mark.parametrize("value", ["$(touch x)", "`id`", "a'b", 'a"b', "two\nlines", "; id", "5", "", "#", "\\", " "])
def test_a_shell_reads_an_exported_text_and_runs_nothing(value, tmp_path):
    """The text that stands for the value arrives as it is."""
    (tmp_path / "x.env").write_text(FORMATS["env"].dump([Entry(key="X", value=value)]))
    told = subprocess.run(
        ["/bin/sh", "-c", '. ./x.env; printf "%s|" "$X"; ls'], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{value_text(value)}|x.env\n"


def test_an_environment_that_people_wrote_is_read():
    text = '# first\nexport A=1\r\nB=\'x y\' # behind\nC="q \\"z\\" \\\\ \\n"\nD=a#b\nE=a\\ b\nF=\n'
    found = {entry.key: entry.value for entry in FORMATS["env"].parse(text)}
    assert found == {"A": 1, "B": "x y", "C": 'q "z" \\ \\n', "D": "a#b", "E": "a b", "F": ""}


@pytest.mark.parametrize("text", ["A='x", 'A="x', "A", "1A=x", "A B=1", "=x"])
def test_what_is_no_environment_is_refused(text):
    with pytest.raises(InvalidError):
        FORMATS["env"].parse(text)


def test_keys_that_no_environment_takes_are_named():
    with pytest.raises(InvalidError, match=r"'a\.b'"):
        FORMATS["env"].dump([Entry(key="a.b", value=1)])


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "key,value\n1\n", 'key,value\n"a,1\n'])
def test_what_is_no_table_is_refused(text):
    with pytest.raises(InvalidError):
        FORMATS["csv"].parse(text)


@pytest.mark.parametrize("text", ["", "[1]", "NaN", '{"variables": [1]}', '{"variables": [{"key": "a"}]}'])
def test_what_is_no_list_of_variables_is_refused(text):
    with pytest.raises(InvalidError):
        FORMATS["json"].parse(text)


def test_a_plain_object_is_read_as_keys_and_values():
    assert FORMATS["json"].parse('{"a": 1, "variables": 2}') == [
        Entry(key="a", value=1),
        Entry(key="variables", value=2),
    ]


@pytest.mark.parametrize(
    ("file", "kind"), [("a.json", "json"), (".env", "env"), ("x/db.env", "env"), ("T.CSV", "csv"), ("-", "json")]
)
def test_the_name_of_a_file_tells_its_format(file, kind):
    assert format_of(file) == kind
