"""Both stores are held to the same promises (M14)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLLECTED = re.compile(r"tests/stores/(?P<store>\w+)/test_\w+\.py::(?P<suite>Test\w+)::(?P<test>.+)")
# One class of each store per suite: what is collected from them must be equal.
SUITES = {
    "StoreSuite": ("TestSqliteFile", "TestPostgres"),
    "StoreSuite in memory": ("TestSqliteMemory", "TestPostgres"),
    "MigrationSuite": ("TestSqliteMigrations", "TestPostgresMigrations"),
    "LifeSuite": ("TestSqliteLife", "TestPostgresLife"),
}


@pytest.fixture(scope="module")
def collected() -> dict[str, set[str]]:
    """The tests of each class in tests/stores, by the name of the class."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/stores"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        match = COLLECTED.fullmatch(line)
        if match is not None:
            found.setdefault(match["suite"], set()).add(match["test"])
    return found


@pytest.mark.parametrize("suite", SUITES)
def test_the_same_tests_are_collected_for_sqlite_and_postgres(collected, suite):
    """M14: same suite, same ids; a test that only one store has would be a promise that only one keeps."""
    one, other = SUITES[suite]
    assert one in collected, f"no class {one} in tests/stores/sqlite"
    assert other in collected, f"no class {other} in tests/stores/postgres"
    assert collected[one] == collected[other]
    assert collected[one]
