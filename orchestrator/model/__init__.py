"""Nouns: frozen values and the words they use. Nothing here does I/O."""

from __future__ import annotations
