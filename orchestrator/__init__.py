"""Cronium: runs scripts, never loses one, shows every line."""

from __future__ import annotations

__version__ = "0.1.0"
