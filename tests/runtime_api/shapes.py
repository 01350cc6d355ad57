"""Values made from a JSON Schema, and values held against one: as much of it as the runtime API's document uses."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KNOWN = {
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "minimum", "maximum", "minLength",
    "maxLength", "pattern", "anyOf", "default", "title", "description", "$ref",
}  # fmt: skip
KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def fits(value: Any, schema: Any, document: dict[str, Any]) -> bool:
    """Whether a value is what the schema says. Raises `AssertionError` for a schema that says more than is understood."""
    if "$ref" in schema:
        return fits(value, _resolved(schema, document), document)
    assert set(schema) <= KNOWN, schema
    return (
        _is_kind(value, schema)
        and _is_within(value, schema)
        and ("anyOf" not in schema or any(fits(value, one, document) for one in schema["anyOf"]))
        and (not isinstance(value, dict) or _holds(value, schema, document))
        and (not isinstance(value, list) or all(fits(item, schema.get("items", {}), document) for item in value))
    )


def made(schema: Any) -> st.SearchStrategy[Any]:
    """Values that fit, where the schema is one of those that bodies have; anything where it says nothing."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*(made(one) for one in schema["anyOf"]))
    match schema.get("type"):
        case "object" if "properties" in schema:
            required = set(schema.get("required", ()))
            properties = {name: made(one) for name, one in schema["properties"].items()}
            return st.fixed_dictionaries(
                {name: one for name, one in properties.items() if name in required},
                optional={name: one for name, one in properties.items() if name not in required},
            )
        case "string":
            return st.from_regex(schema["pattern"], fullmatch=True) if "pattern" in schema else TEXTS
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum", -1000), schema.get("maximum", 1000))
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
    return ANYTHING


def _resolved(schema: Any, document: dict[str, Any]) -> Any:
    found: Any = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def _is_kind(value: Any, schema: Any) -> bool:
    kinds = schema.get("type", [])
    return not kinds or any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        return not isinstance(value, bool) and isinstance(value, int if kind == "integer" else int | float)
    return isinstance(value, KINDS[kind])


def _is_within(value: Any, schema: Any) -> bool:
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return False
    if isinstance(value, str):
        long_enough = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return long_enough and ("pattern" not in schema or re.search(schema["pattern"], value) is not None)
    return True


def _holds(value: dict[str, Any], schema: Any, document: dict[str, Any]) -> bool:
    properties = schema.get("properties", {})
    if not set(schema.get("required", ())) <= set(value):
        return False
    if schema.get("additionalProperties") is False and not set(value) <= set(properties):
        return False
    return all(fits(part, properties.get(name, {}), document) for name, part in value.items())
