"""What can be a secret, and which ones a job asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidError
from orchestrator.jobs.redact import Mask
from orchestrator.jobs.secret_values import check_name, check_value
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.model.specs import WantedSecret


@pytest.mark.parametrize(
    "value",
    ["", "abc", "     \n", "12345", "a\n\n\n\n\n", "aaaaaaaaaaaa", "abababab", "password", "PASSWORD\n", "true", "localhost",
     "nul\0nul", "a" * 70_000, "half \ud800 a pair", "ab\ncd\nef\ngh"],
)  # fmt: skip
def test_a_value_that_cannot_be_kept_or_masked_is_refused_and_not_repeated(value: str):
    with pytest.raises(InvalidError) as refused:
        check_value(value)
    assert refused.value.code == "secret_refused"
    assert refused.value.faults[0].path == "value"
    word = value.strip()
    assert len(word) < 6 or word not in refused.value.message


@given(st.text(min_size=6, max_size=200))
def test_a_value_that_is_taken_is_masked(value: str):
    try:
        check_value(value)
    except InvalidError:
        return
    shown = "\n".join(Mask([], {"S": value}).text(line) for line in value.split("\n"))
    assert "***" in shown


@pytest.mark.parametrize("value", ["s3cr3t", "correct horse", "x" * 30_000 + "yz", "line one is long\nb\n"])
def test_usual_values_are_taken(value: str):
    check_value(value)
    assert "***" in Mask([], {"S": value}).text(value.partition("\n")[0])


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-x", "x" * 129, "ü", "a\n"])
def test_a_name_that_is_none_is_refused(name: str):
    with pytest.raises(InvalidError, match="name of a secret"):
        check_name(name)


def test_a_job_names_its_secrets_and_their_variables():
    spec = parse_job_spec(
        {"bash": "true", "secrets": ["API_KEY", {"name": "db-password", "as": "PGPASSWORD"}, {"name": "K"}]}
    )
    assert spec.secrets == (
        WantedSecret(name="API_KEY", variable="API_KEY"),
        WantedSecret(name="db-password", variable="PGPASSWORD"),
        WantedSecret(name="K", variable="K"),
    )


@pytest.mark.parametrize(
    ("secrets", "path"),
    [
        ("API_KEY", "secrets"),
        ([["API_KEY"]], "secrets.0"),
        (["db-password"], "secrets.0"),
        (["A_KEY", {"name": "B", "as": "A_KEY"}], "secrets.1"),
        ([{"name": "A", "as": "CRONIUM_TOKEN"}], "secrets.0"),
        ([{"name": "A", "as": "PYTHONPATH"}], "secrets.0"),
        ([{"name": "A", "as": "a=b"}], "secrets.0"),
        ([{"name": "A", "value": "x"}], "secrets.0.value"),
        (["X"] * 101, "secrets"),
        ([{"name": "A", "as": "TAKEN"}], "secrets.0"),
    ],
)
def test_what_is_wrong_with_secrets_is_named(secrets, path: str):
    with pytest.raises(InvalidError) as refused:
        parse_job_spec({"bash": "true", "env": {"TAKEN": "1"}, "secrets": secrets})
    assert [fault.path for fault in refused.value.faults] == [path]
