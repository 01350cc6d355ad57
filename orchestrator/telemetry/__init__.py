"""Plugs: the clock, logging and metrics of production."""

from __future__ import annotations
