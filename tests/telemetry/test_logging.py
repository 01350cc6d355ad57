"""The server's own log."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.telemetry.logging import configure_logging

LABELS = {"mode": "standalone", "store_driver": "sqlite", "cache_driver": "memory"}


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_first_record_carries_the_labels_whatever_the_level(level: str, capsys: pytest.CaptureFixture[str]):
    configure_logging(level, "json", LABELS)
    [first] = written(capsys)
    assert first.items() >= LABELS.items()


def test_a_record_is_one_object_with_its_extra_fields(capsys: pytest.CaptureFixture[str]):
    configure_logging("info", "json", LABELS)
    logging.getLogger("orchestrator.jobs").warning("line %d\nof two", 1, extra={"job_id": "job_1", "took": 0.5})
    record = written(capsys)[1]
    assert (record["level"], record["logger"], record["message"]) == ("warning", "orchestrator.jobs", "line 1\nof two")
    assert (record["job_id"], record["took"]) == ("job_1", 0.5)
    assert datetime.fromisoformat(str(record["ts"])).tzinfo == UTC


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]):
    configure_logging("warning", "json", LABELS)
    logging.getLogger("orchestrator").info("quiet")
    assert len(written(capsys)) == 1


def test_an_exception_is_part_of_its_record(capsys: pytest.CaptureFixture[str]):
    configure_logging("info", "json", LABELS)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("orchestrator").exception("it failed")
    record = written(capsys)[1]
    assert "ValueError: broken" in str(record["exception"])


@pytest.mark.parametrize(
    "value", [Path("/x"), {1, 2}, b"bytes", "\ud800", 2**80, float("nan"), {3: "x"}, datetime(2026, 1, 1, tzinfo=UTC)]
)
@pytest.mark.parametrize("format_name", ["json", "text"])
def test_no_field_is_too_odd_to_be_written(value: object, format_name: str, capsys: pytest.CaptureFixture[str]):
    configure_logging("info", "json" if format_name == "json" else "text", LABELS)
    logging.getLogger("orchestrator").info("odd", extra={"value": value})
    captured = capsys.readouterr().err
    assert len(captured.splitlines()) == 2
    assert "value" in captured


def test_an_extra_field_never_hides_the_record_itself(capsys: pytest.CaptureFixture[str]):
    configure_logging("info", "json", LABELS)
    logging.getLogger("orchestrator").info("real", extra={"level": "fake", "ts": "never"})
    record = written(capsys)[1]
    assert (record["level"], record["_level"], record["_ts"]) == ("info", "fake", "never")


def test_text_is_one_line_a_script_cannot_break(capsys: pytest.CaptureFixture[str]):
    configure_logging("info", "text", LABELS)
    logging.getLogger("orchestrator").info("hello", extra={"name_of_job": "evil\nERROR fake"})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert 'mode="standalone"' in lines[0]
    assert lines[1].endswith('INFO    orchestrator: hello name_of_job="evil\\nERROR fake"')


def test_configuring_again_does_not_write_twice(capsys: pytest.CaptureFixture[str]):
    configure_logging("info", "json", LABELS)
    configure_logging("info", "json", LABELS)
    assert len(written(capsys)) == 2
    logging.getLogger("orchestrator").info("once")
    assert len(written(capsys)) == 1
    assert sys.stderr is not None
