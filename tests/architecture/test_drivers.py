"""Drivers stay at home: nothing outside of an adapter names one, so that none of their types or errors can leave."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOMES = {
    "apsw": "orchestrator/stores/sqlite/",
    "sqlite3": "orchestrator/stores/sqlite/",
    "asyncpg": "orchestrator/stores/postgres/",
    "valkey": "orchestrator/caches/",
    "redis": "orchestrator/caches/",
    "cryptography": "orchestrator/stores/",
}


def modules_named(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, by statement or by `import_module("...")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            yield from (
                word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)
            )


def users() -> dict[str, set[str]]:
    """By driver, the files of ours that import it."""
    found: dict[str, set[str]] = {driver: set() for driver in HOMES}
    for package in ("orchestrator", "runtime_api", "sdk"):
        for path in (ROOT / package).rglob("*.py"):
            for module in modules_named(ast.parse(path.read_text(encoding="utf-8"))):
                driver = module.partition(".")[0]
                if driver in HOMES:
                    found[driver].add(str(path.relative_to(ROOT)))
    return found


def test_each_driver_is_imported_in_its_adapter_only():
    """M3, M16, M29: the domain, the doors and the composition root know no driver."""
    found = users()
    abroad = {
        f"{path} imports {driver}"
        for driver, paths in found.items()
        for path in paths
        if not path.startswith(HOMES[driver])
    }
    assert abroad == set()
    assert found["apsw"], "nobody imports apsw: is the search still right?"


def test_imports_are_found_however_they_are_written():
    source = """
import apsw.ext
def late():
    from asyncpg import exceptions
    importlib.import_module("valkey.asyncio")
    __import__("redis")
"""
    assert set(modules_named(ast.parse(source))) == {"apsw.ext", "asyncpg", "valkey.asyncio", "redis"}


def test_a_store_and_what_uses_it_hold_no_name_of_a_driver_in_their_annotations():
    """M16: what crosses the seam is ours; statements shared by both stores know neither."""
    for place in ("contracts", "model", "jobs", "workflows", "stores/sql"):
        for path in (ROOT / "orchestrator" / place).rglob("*.py"):
            names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
            assert not names & set(HOMES), path
