"""Patterns mean to us what they mean to a server, and what a server is asked for holds all that matches."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.caches.glob import Glob
from orchestrator.contracts.cache import literally
from orchestrator.errors import InvalidError

ALPHABET = "ab*?[]^-\\é"


@given(st.text(alphabet=ALPHABET), st.text(alphabet=ALPHABET))
def test_a_literal_pattern_matches_itself_alone(text, other):
    assert Glob(literally(text)).matches(text)
    assert Glob(literally(text)).matches(other) is (text == other)


@given(st.text(alphabet="ab*?", max_size=12), st.text(alphabet="ab", max_size=12))
def test_runs_and_single_characters_match_as_in_file_names(pattern, text):
    expected = re.compile(fnmatch.translate(pattern)).match(text) is not None
    assert Glob(pattern).matches(text) is expected


@given(st.text(alphabet=ALPHABET), st.text(alphabet=ALPHABET), st.text(alphabet=ALPHABET, max_size=3))
def test_what_a_server_is_asked_for_matches_at_least_as_much(pattern, text, prefix):
    try:
        glob = Glob(pattern)
    except InvalidError:
        return
    coarse = glob.coarse(prefix)
    assert "?" not in re.sub(r"\\.", "", coarse)
    assert "[" not in re.sub(r"\\.", "", coarse)
    assert Glob(coarse).matches(prefix + text) or not glob.matches(text)


def test_a_pattern_with_many_runs_is_matched_in_steps_that_do_not_explode():
    assert not Glob("*a" * 200 + "b").matches("a" * 2_000)


@pytest.mark.parametrize(("pattern", "coarse"), [("a*b", "p\\*a*b"), ("?[ab]x", "p\\**x"), ("[a]\\*", "p\\*a\\*")])
def test_a_server_is_asked_for_the_literal_parts(pattern, coarse):
    assert Glob(pattern).coarse("p*") == coarse
