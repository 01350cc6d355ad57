"""What travels: the bodies that scripts send, and how values and refusals are written back."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, JsonValue, StrictBool, ValidationError

from runtime_api.backend import Json, RefusalError

MAX_VALUE_BYTES = 1024 * 1024
MAX_BODY_BYTES = MAX_VALUE_BYTES + 1024  # room for the envelope around a value of the full size

TRUE_WORDS = frozenset({"true", "1", "yes", "on"})
FALSE_WORDS = frozenset({"false", "0", "no", "off"})

Body = TypeVar("Body", bound=BaseModel)


class OutputBody(BaseModel):
    """`POST /executions/{id}/output`."""

    model_config = ConfigDict(extra="forbid")

    data: JsonValue


class VariableBody(BaseModel):
    """`PUT /executions/{id}/variables/{key}`."""

    model_config = ConfigDict(extra="forbid")

    value: JsonValue


class ConditionBody(BaseModel):
    """`POST /executions/{id}/condition`."""

    model_config = ConfigDict(extra="forbid")

    condition: StrictBool


class Problem(BaseModel):
    """A refusal as a problem document (RFC 9457); `code` is stable, `detail` says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


def parse_json(body: bytes) -> Json:
    """Return the JSON value of a body. Raises `RefusalError` 400 `invalid_json`, also for what could not be written back."""
    try:
        value: Json = orjson.loads(body)
        orjson.dumps({"data": value})  # reads deeper documents than it writes: what is kept must be able to come back
    except orjson.JSONDecodeError as error:
        message = f"The request body is not JSON: {error}. NaN and Infinity are not JSON; send null or a string."
        raise RefusalError(400, "invalid_json", message) from error
    except orjson.JSONEncodeError as error:
        message = f"The request body cannot be kept as JSON: {error}. Nest it less deeply (at most 250 levels)."
        raise RefusalError(400, "invalid_json", message) from error
    return value


def parse_text(body: bytes) -> Json:
    """Return the value that a plain text body stands for: JSON where it is JSON, else the text itself."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        message = f"The text/plain body is not UTF-8: {error}. Encode it, for example as base64."
        raise RefusalError(400, "invalid_encoding", message) from error
    try:
        return parse_json(body)
    except RefusalError:
        return text


def parse_output(body: bytes) -> Json:
    return _parse(OutputBody, body, '{"data": ...}').data


def parse_variable(body: bytes) -> Json:
    return _parse(VariableBody, body, '{"value": ...}').value


def parse_condition(body: bytes) -> bool:
    """Return the condition of a JSON body. Raises `RefusalError` 422 `invalid_condition` for anything but a boolean."""
    try:
        return ConditionBody.model_validate(parse_json(body)).condition
    except ValidationError as error:
        message = 'The condition must be a JSON boolean: send {"condition": true} or {"condition": false}.'
        raise RefusalError(422, "invalid_condition", message) from error


def parse_condition_text(body: bytes) -> bool:
    """Return the condition that a word stands for, in either case and with spaces around it."""
    word = body.decode(errors="replace").strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    message = f"{word[:40]!r} is not a condition: send true, 1, yes or on; or false, 0, no or off."
    raise RefusalError(422, "invalid_condition", message)


def as_success(value: Json) -> bytes:
    return orjson.dumps({"success": True, "data": value})


def as_text(value: Json) -> bytes:
    """Write a value for programs without a JSON parser: text as it is, null as nothing, all else as JSON."""
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    return orjson.dumps(value)


def as_problem(status: int, code: str, detail: str) -> bytes:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail)
    return orjson.dumps(problem.model_dump())


def _parse(wire: type[Body], body: bytes, shape: str) -> Body:
    try:
        return wire.model_validate(parse_json(body))
    except ValidationError as error:
        raise RefusalError(422, "invalid_body", f"The request body must be an object of the form {shape}.") from error
