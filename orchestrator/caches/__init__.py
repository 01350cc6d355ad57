"""Plugs: caches."""

from __future__ import annotations
