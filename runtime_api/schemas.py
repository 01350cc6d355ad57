"""JSON Schemas of what operations answer, by the names that the table of operations uses."""

from __future__ import annotations

from runtime_api.backend import Json

TEXT: dict[str, Json] = {"type": "string"}
TEXT_OR_NULL: dict[str, Json] = {"type": ["string", "null"]}
WHOLE: dict[str, Json] = {"type": "integer", "minimum": 1}


def _closed(**properties: Json) -> dict[str, Json]:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


VARIABLE = _closed(
    key=TEXT,
    value={},
    version=WHOLE,
    scope={"enum": ["global", "event"]},
    updated_at=TEXT_OR_NULL,
    description=TEXT_OR_NULL,
)

ANSWERS: dict[str, dict[str, Json]] = {
    "any": {},
    "nothing": {"type": "null"},
    "status": _closed(status={"const": "ok"}),
    "condition": {"type": ["boolean", "null"]},
    "context": {"type": "object"},
    "version": _closed(version=WHOLE),
    "sum": _closed(value={"type": "number"}, version=WHOLE),
    "page": _closed(items={"type": "array", "items": VARIABLE}, next_cursor=TEXT_OR_NULL),
    "line": _closed(seq=WHOLE),
}
