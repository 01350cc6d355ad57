"""Doors: HTTP and WebSocket for people."""

from __future__ import annotations
