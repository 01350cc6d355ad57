"""The server's own log on stderr: one JSON object, or one readable line, per record."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import orjson

from orchestrator.model.documents import time_text

# What every record has; anything else on a record was given by the caller as `extra`.
ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

# The objects that our JSON answers with; an `extra` of the same name gets an underscore in front.
RESERVED = frozenset({"ts", "level", "logger", "message", "exception"})


def configure_logging(level: str, format: Literal["json", "text"], labels: Mapping[str, str]) -> None:  # noqa: A002
    """
    Send every record of `level` (debug, info, warning, error) and above to stderr, and nothing elsewhere.

    The first record says what is starting and carries `labels` (`mode`, `store_driver`, `cache_driver`), whatever the
    level: a log without them cannot be read. Fields given as `extra` are part of each record.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    first = root.makeRecord(
        "orchestrator", logging.INFO, __file__, 0, "cronium is starting", (), None, extra=dict(labels)
    )
    root.handle(first)  # past the level, which only `log` asks


class JsonFormatter(logging.Formatter):
    """One JSON object per record: `ts`, `level`, `logger`, `message`, the extra fields, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "ts": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _extra(record).items():
            document[f"_{name}" if name in RESERVED else name] = value
        exception = _exception(self, record)
        if exception:
            document["exception"] = exception
        return _json(document)


class TextFormatter(logging.Formatter):
    """One line per record, with the extra fields as `name=value` behind the message; tracebacks follow below."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_json(value)}" for name, value in _extra(record).items())
        line = f"{_time_of(record)} {record.levelname:<7} {record.name}: {record.getMessage()}{fields}"
        exception = _exception(self, record)
        return f"{line}\n{exception}" if exception else line


def _time_of(record: logging.LogRecord) -> str:
    return time_text(datetime.fromtimestamp(record.created, UTC))


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in ORDINARY}


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _json(value: object) -> str:
    """As JSON, whatever it is: a record must not be lost because a field is odd (a lone surrogate, a huge number)."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z).decode()
    except orjson.JSONEncodeError:
        return json.dumps(value, default=str)
