"""What a script's own comment asks for, and what of it holds."""

from __future__ import annotations

import pytest

from orchestrator.errors import StartFailedError
from orchestrator.jobs.inline_packages import Needs, needs_of, read_inline
from orchestrator.jobs.spec_document import parse_job_spec

BLOCK = """#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "requests<3",
#   "rich",
# ]
# ///

import requests
"""


def test_dependencies_and_the_version_of_python_are_read_from_the_comment():
    assert read_inline(BLOCK) == Needs(packages=("requests<3", "rich"), requires_python=">=3.11")


@pytest.mark.parametrize(
    "text",
    [
        "print(1)\n",
        "# /// script\n# dependencies = ['x']\nprint(1)\n",
        "# /// pyproject\n# dependencies = ['x']\n# ///\n",
        " # /// script\n # dependencies = ['x']\n # ///\n",
        "#/// script\n#dependencies = ['x']\n#///\n",
        "# /// script\n#dependencies = ['x']\n# ///\n",
    ],
    ids=["none", "never ends", "another type", "indented", "no blank", "no blank inside"],
)
def test_what_is_no_block_by_the_specification_is_a_comment(text: str):
    assert read_inline(text) == Needs()


def test_a_block_ends_with_the_last_end_of_its_comment():
    text = '# /// script\n# dependencies = ["a"]\n# [tool.x]\n# text = """\n# ///\n# """\n#\n# ///\nprint(1)\n'
    assert read_inline(text).packages == ("a",)


def test_lines_of_a_file_from_windows_are_read_too():
    assert read_inline(BLOCK.replace("\n", "\r\n")) == read_inline(BLOCK)


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("dependencies = [", "is not TOML"),
        ('dependencies = "requests"', "must be a list"),
        ("dependencies = [3]", "'3', which is no requirement"),
        ('dependencies = ["--index-url=x"]', "which is no requirement"),
        ('dependencies = ["x @ https://h/x.whl"]', "no address"),
        ('dependencies = ["../x"]', "no path"),
        ("requires-python = 3.11", "requires-python"),
    ],
)
def test_a_comment_that_nobody_can_obey_is_refused_with_what_is_wrong(inside: str, said: str):
    with pytest.raises(StartFailedError, match=said) as caught:
        read_inline(f"# /// script\n# {inside}\n# ///\n")
    assert caught.value.reason == "invalid"


def test_two_blocks_are_refused():
    with pytest.raises(StartFailedError, match="There are 2 of them"):
        read_inline(BLOCK + BLOCK)


def test_the_key_of_the_job_wins_over_the_comment_and_that_is_said():
    needs = needs_of(parse_job_spec({"python": BLOCK, "packages": ["httpx"]}))
    assert needs.packages == ("httpx",)
    assert needs.requires_python == ">=3.11"
    assert needs.notes == ("The job's `packages` hold; the `dependencies` in the script's comment are not installed.",)


def test_without_the_key_the_comment_holds():
    assert needs_of(parse_job_spec({"python": BLOCK})) == read_inline(BLOCK)


def test_a_comment_that_says_the_same_is_no_news():
    assert needs_of(parse_job_spec({"python": BLOCK, "packages": ["rich", "requests<3"]})).notes == ()


def test_the_comment_is_pythons_alone():
    assert needs_of(parse_job_spec({"node": BLOCK, "packages": ["lodash@4"]})) == Needs(packages=("lodash@4",))


@pytest.mark.parametrize(
    "requirement",
    [
        "requests",
        "requests>=2.31,<3",
        "uvicorn[standard] ~= 0.30",
        'tomli>=2; python_version < "3.11"',
        "numpy (>=1.26)",
        "lodash@4",
        "lodash@^4.17 || ^3",
        "@types/node@~20.1",
        "@scope/name",
        "left-pad@latest",
    ],
)
def test_a_name_with_its_versions_is_a_requirement(requirement: str):
    language = {"node": "x"} if "@" in requirement else {"python": "x"}
    assert parse_job_spec({**language, "packages": [requirement]}).packages == (requirement,)
