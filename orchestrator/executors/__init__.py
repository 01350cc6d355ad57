"""Plugs: executors, the places where scripts run."""

from __future__ import annotations
