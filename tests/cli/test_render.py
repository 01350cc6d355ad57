"""What people see: lengths of time, sizes, tables, and no control character that is not ours."""

from __future__ import annotations

import io
import json

import pytest

from orchestrator.cli.render import duration, escape, json_text, pairs, size, table, wants_colour, width


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0ms"),
        (0, "0ms"),
        (0.0004, "0ms"),
        (0.34, "340ms"),
        (0.9994, "999ms"),
        (0.9996, "1.0s"),
        (12.34, "12.3s"),
        (59.94, "59.9s"),
        (59.96, "1m 00s"),
        (245, "4m 05s"),
        (3599.6, "1h 00m"),
        (7620, "2h 07m"),
        (86399, "1d 00h"),
        (3 * 86400 + 4 * 3600, "3d 04h"),
    ],
)
def test_a_length_of_time_has_two_units_at_most(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (52_428_800, "50.0 MiB"),
        (2**42, "4.0 TiB"),
    ],
)
def test_a_size_has_a_unit_that_fits(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain", "plain"),
        ("ü 日本 👩‍💻", "ü 日本 👩‍💻"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x00\x7f\x9b31m", r"\x00\x7f\x9b31m"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("line\u2028break", r"line\u2028break"),
        ("\ud800", r"\ud800"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text, safe):
    assert escape(text) == safe


def test_a_table_is_as_wide_as_its_cells_and_keeps_to_its_lines():
    rows = [{"ID": "1", "NAME": "日本"}, {"ID": "22", "NAME": "a\nb"}, {"ID": "3"}]
    assert table(rows, ["ID", "NAME", "X"]) == "ID  NAME  X\n1   日本  -\n22  a\\nb  -\n3   -     -\n"


def test_an_empty_table_has_its_headings():
    assert table([], ["ID", "STATUS"]) == "ID  STATUS\n"


def test_only_the_status_is_coloured():
    text = table([{"ID": "failed", "STATUS": "failed"}], ["ID", "STATUS"], colour=True)
    assert text == "ID      STATUS\nfailed  \x1b[31mfailed\x1b[0m\n"


def test_pairs_without_a_value_are_left_out():
    assert pairs([("job", "job_1"), ("reason", None), ("message", "a\x1bb")]) == "job      job_1\nmessage  a\\x1bb\n"


def test_wide_and_combining_characters_are_counted_as_terminals_do():
    assert (width("abc"), width("日本"), width("e\u0301")) == (3, 4, 1)


def test_json_keeps_its_value_and_moves_no_cursor():
    value = {"a": "\x1b[2J \x9b31m \u202e \u2028 ü 日本 \ud83d"}
    text = json_text(value)
    assert json.loads(text) == value
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "ü 日本" in text
    text.encode()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(_Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(_Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(_Terminal())
