"""Verbs: workflows - reading a file, planning, and going on to the next step."""

from __future__ import annotations
