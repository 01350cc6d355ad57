"""Verbs: the life of a job, from submission to what follows its end."""

from __future__ import annotations
