"""Imports its neighbour: a script runs where it lies, so this works from any directory."""

from words import greeting

print(greeting("neighbour"))
