"""What travels: the bodies that scripts send, and how values and refusals are written back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictFloat, StrictInt, ValidationError

from runtime_api.backend import Json, Level, Number, RefusalError

MAX_VALUE_BYTES = 1024 * 1024
MAX_BODY_BYTES = MAX_VALUE_BYTES + 1024  # room for the envelope around a value of the full size
MAX_PROGRESS_BYTES = 16 * 1024
MAX_LOG_BYTES = 64 * 1024
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")

TRUE_WORDS = frozenset({"true", "1", "yes", "on"})
FALSE_WORDS = frozenset({"false", "0", "no", "off"})

Body = TypeVar("Body", bound=BaseModel)
# What the store can keep, and what is a number: not true, not "1".
Addend = Annotated[StrictInt, Field(ge=-(2**63), le=2**64 - 1)] | StrictFloat


class OutputBody(BaseModel):
    """The job's output: any JSON value."""

    model_config = ConfigDict(extra="forbid")

    data: JsonValue


class VariableBody(BaseModel):
    """The variable's value: any JSON value."""

    model_config = ConfigDict(extra="forbid")

    value: JsonValue


class IncrementBody(BaseModel):
    """How much to add; may be negative or a fraction. Whole numbers are added exactly."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    by: Addend = 1


class ConditionBody(BaseModel):
    """The job's condition."""

    model_config = ConfigDict(extra="forbid")

    condition: StrictBool


class LogBody(BaseModel):
    """A structured entry of the job's log; `data` may be any JSON value."""

    model_config = ConfigDict(extra="forbid")

    level: Level = "info"
    message: str
    data: JsonValue = None


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
    text = _decoded(body)
    try:
        return parse_json(body)
    except RefusalError:
        return text


def parse_output(body: bytes) -> Json:
    return _parse(OutputBody, body, '{"data": ...}').data


def parse_variable(body: bytes) -> Json:
    return _parse(VariableBody, body, '{"value": ...}').value


def parse_increment(body: bytes) -> Number:
    """How much a JSON body adds; 1 without a body. Raises `RefusalError` 422 `invalid_increment`."""
    try:
        return IncrementBody.model_validate(parse_json(body) if body.strip() else {}).by
    except ValidationError as error:
        raise _no_increment() from error


def parse_increment_text(body: bytes) -> Number:
    """How much a number in a plain text body adds; 1 without one."""
    word = body.strip()
    try:
        return IncrementBody.model_validate({"by": parse_json(word)} if word else {}).by
    except (ValidationError, RefusalError) as error:
        raise _no_increment() from error


def parse_progress(body: bytes) -> Json:
    """A small JSON value. Raises `RefusalError` 413 `too_large`, 422 `invalid_progress` for a percentage beyond 0 to 100."""
    return _progress(body, parse_json(body))


def parse_progress_text(body: bytes) -> Json:
    """As `parse_progress`: a number alone is a percentage, other text a message."""
    value = parse_text(body)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = {"percent": value}
    elif isinstance(value, str):
        value = {"message": value.strip()}
    return _progress(body, value)


def parse_log(body: bytes) -> LogBody:
    if len(body) > MAX_LOG_BYTES:
        raise _too_large("A log entry", MAX_LOG_BYTES, "Write what is larger to stdout or to an artifact.")
    return _parse(LogBody, body, '{"level": "info", "message": "...", "data": ...}')


def parse_log_text(body: bytes) -> LogBody:
    """A message of level `info`."""
    if len(body) > MAX_LOG_BYTES:
        raise _too_large("A log entry", MAX_LOG_BYTES, "Write what is larger to stdout or to an artifact.")
    return LogBody(message=_decoded(body))


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


def as_problem(status: int, code: str, detail: str, more: Mapping[str, Json] | None = None) -> bytes:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail)
    return orjson.dumps({**problem.model_dump(), **(more or {})})


def _progress(body: bytes, value: Json) -> Json:
    if len(body) > MAX_PROGRESS_BYTES:
        raise _too_large("Progress", MAX_PROGRESS_BYTES, "Say it shorter.")
    percent = value.get("percent") if isinstance(value, dict) else None
    if percent is None:
        return value
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        message = "The percentage of progress must be a number from 0 to 100."
        raise RefusalError(422, "invalid_progress", message)
    return value


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        message = f"The text/plain body is not UTF-8: {error}. Encode it, for example as base64."
        raise RefusalError(400, "invalid_encoding", message) from error


def _parse(wire: type[Body], body: bytes, shape: str) -> Body:
    try:
        return wire.model_validate(parse_json(body))
    except ValidationError as error:
        raise RefusalError(422, "invalid_body", f"The request body must be an object of the form {shape}.") from error


def _no_increment() -> RefusalError:
    message = 'An increment must be a finite number: send {"by": 1}, or the number alone as text/plain.'
    return RefusalError(422, "invalid_increment", message)


def _too_large(what: str, limit: int, fix: str) -> RefusalError:
    return RefusalError(413, "too_large", f"{what} is larger than {limit} bytes ({math.ceil(limit / 1024)} KiB). {fix}")
