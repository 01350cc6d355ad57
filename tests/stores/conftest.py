"""Failed assertions of the suites are explained like those of tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.suites.store_suite")
