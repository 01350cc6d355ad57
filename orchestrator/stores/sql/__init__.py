"""Repositories in SQL, written once for every database."""

from __future__ import annotations
