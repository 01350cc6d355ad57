"""Failed assertions of the suite are explained like those of tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.suites.cache_suite")
