"""Failed assertions of the suites are explained like those of tests."""

from __future__ import annotations

import pytest

for role in ("suite", "values", "counters", "hashes", "lists", "keys", "locks", "bus", "requests"):
    pytest.register_assert_rewrite(f"tests.suites.cache_{role}")
