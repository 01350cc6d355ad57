"""Every requirement that a product must meet is named by a test that proves it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROW = re.compile(r"\bM([0-9]{1,2})\b", re.IGNORECASE)
# The rows of modes, stores and caches that are a must. M13, a database in memory, is a should.
MUST = [f"M{number}" for number in range(1, 33) if number != 13]


def rows_in(node: ast.AST) -> set[str]:
    """The rows that a test names: in its name, its docstring, or the docstring of its class."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set()
    if isinstance(node, ast.ClassDef):
        if not any(is_test(member) for member in node.body):
            return set()
        said = ast.get_docstring(node) or ""
    elif is_test(node):
        said = f"{node.name.replace('_', ' ')} {ast.get_docstring(node) or ''}"
    else:
        return set()
    return {f"M{number}" for number in ROW.findall(said)}


def is_test(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")


@pytest.fixture(scope="module")
def proven() -> dict[str, set[str]]:
    """By row, the files whose tests name it."""
    found: dict[str, set[str]] = {}
    for path in TESTS.rglob("*.py"):
        if path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for row in rows_in(node):
                found.setdefault(row, set()).add(str(path.relative_to(TESTS)))
    return found


@pytest.mark.parametrize("row", MUST)
def test_every_requirement_is_named_by_a_test(proven, row):
    assert row in set(proven), f"no test says that it proves {row}: name the row in the docstring of the test that does"


def test_names_and_docstrings_are_read_and_comments_are_not():
    source = '''
def test_a_thing(): "M1, M2: both."
async def test_m3_holds(): ...
class TestAll:
    """M4"""
    def test_it(self): ...
def make(): "M5"
# M6
'''
    assert {row for node in ast.walk(ast.parse(source)) for row in rows_in(node)} == {"M1", "M2", "M3", "M4"}
