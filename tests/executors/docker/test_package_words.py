"""What pip and npm say is shown in part, kept in part, and understood: no engine is needed."""

from __future__ import annotations

import json

import pytest

from orchestrator.executors.docker.package_words import (
    KEPT_LINES,
    MOST_RESOLVED,
    SHOWN_LINES,
    Said,
    clean,
    meaning,
    own_words,
    resolved_of,
)
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Language


def said(*lines: str) -> tuple[Said, list[str]]:
    heard: list[str] = []
    found = Said(heard.append)
    found.take("stdout", "".join(f"{line}\n" for line in lines).encode())
    found.end()
    return found, heard


def test_of_a_flood_a_few_lines_are_shown_and_the_last_ones_kept():
    found, heard = said(*(f"  Downloading {number}.whl (1 kB)" for number in range(1000)))
    assert len(heard) == SHOWN_LINES
    assert found.last[0] == f"  Downloading {1000 - KEPT_LINES}.whl (1 kB)"
    assert len(found.last) == KEPT_LINES


def test_lines_are_put_together_per_stream():
    found, _ = said()
    found.take("stdout", b"Collect")
    found.take("stderr", b"WARNING: slow\nhal")
    found.take("stdout", b"ing x\nrest")
    found.end()
    assert list(found.last) == ["WARNING: slow", "Collecting x", "rest", "hal"]


def test_what_was_installed_is_no_line_for_people():
    found, heard = said("Collecting x", 'cronium-packages:{"x": "1"}')
    assert (found.result, list(found.last), heard) == ('{"x": "1"}', ["Collecting x"], [])


def test_a_line_without_end_is_not_kept_whole():
    found, _ = said()
    for _ in range(40):
        found.take("stdout", b"x" * 100_000)
    found.end()
    assert len(found.last[0]) == 500


def test_passwords_in_addresses_and_colours_are_left_out():
    assert clean("\x1b[31mLooking in http://me:hunter2@host/simple\x1b[0m\r") == "Looking in http://***@host/simple"


def test_the_errors_are_the_words_each_once():
    lines = [
        "Collecting x",
        "ERROR: No such thing.",
        "ERROR: No such thing.",
        "npm error code E404",
        "npm error 404 gone",
    ]
    assert own_words(lines) == "No such thing; 404 gone"
    assert own_words(["something else"]) == "something else"
    assert own_words(["ERROR: Exception:", "OSError: [Errno 28] No space left"]) == "OSError: [Errno 28] No space left"
    assert own_words([]) == "it said nothing"


@pytest.mark.parametrize(
    ("line", "reason", "advice"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "limit",
            "disk is full",
        ),
        ("npm error code ENOSPC", "limit", "disk is full"),
        ("/usr/bin/python3: No module named pip", "invalid", "has no pip"),
        ("[FATAL tini (7)] exec python3 failed: No such file or directory", "invalid", "has no pip"),
        ("npm error code ENOTFOUND", "host_unreachable", "package_network"),
        ("ERROR: Could not fetch URL x: NewConnectionError(...)", "host_unreachable", "package_network"),
        ("SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')", "host_unreachable", "certificate"),
        ("npm error code E401", "invalid", "a user or a token"),
        ("ERROR: ResolutionImpossible: for help", "invalid", "exclude each other"),
        ("ERROR: No matching distribution found for x", "invalid", "musl"),
        ("npm error code ETARGET", "invalid", "Check the name and the version"),
        ("Segmentation fault", "invalid", "last lines"),
    ],
)
def test_a_failure_has_a_reason_and_says_what_to_do(line: str, reason: str, advice: str):
    found, words = meaning(["Collecting x", line], Language.PYTHON, "bridge")
    assert found == Reason(reason)
    assert advice in words


def test_without_a_network_nothing_matches_either_and_the_network_is_named():
    lines = [
        "ERROR: Could not fetch URL x: connection error: Network is unreachable",
        "ERROR: No matching distribution",
    ]
    assert meaning(lines, Language.PYTHON, "mine")[0] is Reason.HOST_UNREACHABLE
    assert meaning(["npm error code E401"], Language.NODE, "mine")[1].endswith("package_npm_config.")


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_result_that_is_none_names_no_packages(text: str):
    assert resolved_of(text) == {}


def test_of_a_result_of_somebodys_own_making_only_so_much_is_kept():
    found = resolved_of(json.dumps({f"{number:04}" + "x" * 1000: ["v"] * 1000 for number in range(5000)}))
    assert len(found) == MOST_RESOLVED
    assert max(map(len, [*found, *found.values()])) == 100
