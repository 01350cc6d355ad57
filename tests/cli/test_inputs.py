"""What `--input` understands."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.inputs import parse_inputs
from orchestrator.errors import InvalidError


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (["day=monday"], {"day": "monday"}),
        (
            ["n=3", "on=true", "none=null", "list=[1, 2]", 'q="3"'],
            {"n": 3, "on": True, "none": None, "list": [1, 2], "q": "3"},
        ),
        (["text="], {"text": ""}),
        (["url=https://x/?a=b"], {"url": "https://x/?a=b"}),
        (["n=NaN", "m=01", "v=1.2.3"], {"n": "NaN", "m": "01", "v": "1.2.3"}),
        (["ü=ß"], {"ü": "ß"}),
        (['{"a": {"b": 0}}'], {"a": {"b": 0}}),
        (["[1, 2]"], [1, 2]),
        (['"a=b"'], "a=b"),
        (["null"], None),
        (["0"], 0),
        (["a=1", '{"b": 2, "a": 3}', "c=4"], {"a": 3, "b": 2, "c": 4}),
        (["a=1", "a=2"], {"a": 2}),
    ],
)
def test_an_input_is_a_key_with_a_value_or_a_json_text(values, expected):
    assert parse_inputs(values) == expected


def test_a_file_gives_the_whole_input_and_keys_are_joined_to_it(tmp_path: Path):
    path = tmp_path / "in.json"
    path.write_text('{"a": 1, "b": "ü"}')
    assert parse_inputs([f"@{path}"]) == {"a": 1, "b": "ü"}
    assert parse_inputs([f"@{path}", "a=2"]) == {"a": 2, "b": "ü"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (["monday"], "'monday'"),
        (["=1"], "'=1'"),
        (['{"a": 1'], "not understood"),
        (['{"a": "b=c"'], "not understood"),
        (["NaN"], "NaN is not JSON"),
        (["[" * 100_000], "not understood"),
        (["a=1", "[2]"], "is not an object"),
        (["3", "4"], "is not an object"),
        (["@nowhere.json"], "nowhere.json cannot be read"),
        (["@."], "cannot be read"),
    ],
)
def test_what_is_not_understood_is_named(values, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidError, match=named.replace("[", r"\[")):
        parse_inputs(values)


@pytest.mark.parametrize("content", [b"a: 1", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_not_json_is_named(content, tmp_path):
    path = tmp_path / "in.json"
    path.write_bytes(content)
    with pytest.raises(InvalidError, match=r"in\.json is not JSON"):
        parse_inputs([f"@{path}"])
