"""Seams: Protocols whose docstrings are the promises that tests/suites/ checks."""

from __future__ import annotations
