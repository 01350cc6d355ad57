"""The types that an input of a workflow can be declared with."""

from __future__ import annotations

from orchestrator.model.json import Json

WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "a boolean",
    "object": "a mapping",
    "array": "a list",
    "any": "any value",
}
INPUT_TYPES = tuple(WORDS)


def fits(value: Json, kind: str) -> bool:
    """Whether a value is of a type. As in JSON Schema, 4.0 is an integer, and null is nothing but `any`."""
    match kind:
        case "string":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and (isinstance(value, int) or _is_whole(value))
        case "boolean":
            return isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case _:
            return True


def type_of(kind: str) -> str:
    """What a type is called in a message."""
    return WORDS[kind]


def _is_whole(value: Json) -> bool:
    return isinstance(value, float) and value.is_integer()
