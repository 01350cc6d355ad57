"""What needs no engine of warm starts: the text that is handed over, who is first, and how many are to wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.executors.docker import warm_slot
from orchestrator.executors.docker.warm_demand import WINDOW_SECONDS, Demand
from orchestrator.executors.docker.warm_slot import WarmFiles, open_gate
from orchestrator.executors.docker.warm_text import MAX_BYTES, assignment

ODD = ["", " a  b ", "'\"$HOME`\\", "*", "line\nbreak", "--", "ü✓\u0101\u0080\u0081\u0088\U0001f680", "-n", "'", "\\'"]


def run(text: bytes, env: dict[str, str]) -> bytes:
    """What the shell of a container does with it, whose latch is not held."""
    return subprocess.run(
        ["/bin/sh", "-c", "exec 4</dev/null; . /dev/stdin"], input=text, env=env, capture_output=True, check=True
    ).stdout


def test_arguments_and_environment_arrive_as_they_are_and_nothing_else_does():
    env = {f"NAME.{number}": text for number, text in enumerate(ODD)}
    code = "import os, sys; sys.stdout.buffer.write(repr((sys.argv[1:], dict(os.environb))).encode())"
    text = assignment([sys.executable, "-I", "-c", code, *ODD], env, ["FROM=image", "NAME.0=replaced"])
    assert text is not None
    around = {"PATH": os.environ["PATH"], "HOSTNAME": "here", "HOME": "/home", "SECRET": "of the shell"}
    argv, seen = eval(run(text, around))
    assert argv == ODD
    seen.pop(b"LC_CTYPE", None)  # Python's own
    given = {"PATH": around["PATH"], "HOSTNAME": "here", "HOME": "/home", "FROM": "image", **env}
    assert seen == {name.encode(): value.encode() for name, value in given.items()}


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (["a=b"], {}),  # env(1) would take it for a variable
        (["/cronium/program"], {}),  # is not there yet when it is looked for
        (["echo", "a\0b"], {}),
        (["echo"], {"A": "\udc80"}),
        (["echo", "x" * MAX_BYTES], {}),
    ],
)
def test_what_cannot_be_said_to_a_shell_is_started_cold(argv: list[str], env: dict[str, str]):
    assert assignment(argv, env, []) is None


@pytest.fixture
def files(tmp_path: Path) -> WarmFiles:
    made = WarmFiles(tmp_path / "warm" / "slot")
    made.make()
    return made


def attempt(tmp_path: Path) -> Path:
    directory = tmp_path / "attempt"
    (directory / "sdk").mkdir(parents=True)
    (directory / "script.sh").write_text("echo hello\n")
    (directory / "sdk").chmod(0o555)
    directory.chmod(0o555)
    return directory


def test_what_was_given_cannot_be_given_up(tmp_path: Path, files: WarmFiles):
    files.fill(attempt(tmp_path), None, b"exec true\n")
    assert files.is_open()
    assert files.give()
    assert not files.is_open()
    assert files.was_given()
    files.hide()
    assert files.was_given()
    assert files.given_at() is not None
    assert sorted(path.name for path in files.files.iterdir()) == ["script.sh", "sdk"]
    assert (files.files / "sdk").stat().st_mode & 0o777 == 0o555


def test_what_was_given_up_cannot_be_given(tmp_path: Path, files: WarmFiles):
    files.fill(attempt(tmp_path), None, b"exec true\n")
    assert not files.was_given()
    assert not files.give()
    assert not files.was_given()
    assert not files.is_open()


def test_a_secret_is_on_no_disk_any_more_once_it_is_hidden(tmp_path: Path, files: WarmFiles):
    files.fill(attempt(tmp_path), None, b"exec env TOKEN=cra_secret true\n")
    files.give()
    files.hide()
    left = [path for path in files.directory.rglob("*") if path.is_file()]
    assert left
    assert not any(b"cra_secret" in path.read_bytes() for path in left)


def test_after_the_machine_went_down_nobody_says_that_it_never_ran(tmp_path: Path, files, monkeypatch):
    """What was decided in the last seconds may not have come to the disk: `lost` is true then, never started may not be."""
    boot = tmp_path / "boot"
    boot.write_text("another boot\n")
    monkeypatch.setattr(warm_slot, "BOOT_ID", boot)
    assert files.was_given()


def test_the_directory_of_the_artifacts_is_the_one_that_the_container_has(tmp_path: Path, files: WarmFiles):
    artifacts = tmp_path / "attempt.artifacts"
    artifacts.mkdir()
    artifacts.chmod(0o777)
    inode = files.artifacts.stat().st_ino
    files.fill(attempt(tmp_path), artifacts, b"exec true\n")
    assert artifacts.stat().st_ino == inode
    assert artifacts.stat().st_mode & 0o7777 == 0o777


def test_a_gate_opens_only_where_somebody_waits(files: WarmFiles):
    assert open_gate(files.gate) is None
    reader = os.open(files.gate, os.O_RDONLY | os.O_NONBLOCK)
    writer = open_gate(files.gate)
    os.close(reader)
    assert writer is not None
    os.close(writer)


def test_removing_files_that_are_read_only_and_again(tmp_path: Path, files: WarmFiles):
    files.fill(attempt(tmp_path), None, b"exec true\n")
    files.give()
    files.hide()
    files.remove()
    files.remove()
    assert not files.directory.exists()


def test_what_is_asked_for_most_has_most_of_the_places():
    demand: Demand[str] = Demand()
    for profile in "aaaaaaabbb":
        demand.ask(profile, 0.0)
    assert demand.shares(4, 1.0) == {"a": 3, "b": 1}


def test_never_more_wait_than_were_asked_for_nor_than_are_allowed():
    demand: Demand[str] = Demand()
    assert demand.shares(8, 0.0) == {}
    for profile in "aab":
        demand.ask(profile, 0.0)
    assert demand.shares(8, 1.0) == {"a": 2, "b": 1}
    assert demand.shares(0, 1.0) == {}


def test_of_equals_the_one_asked_for_last_is_first():
    demand: Demand[str] = Demand()
    demand.ask("old", 0.0)
    demand.ask("new", 1.0)
    assert demand.shares(1, 2.0) == {"new": 1}


def test_what_nobody_asked_for_in_ten_minutes_is_forgotten():
    demand: Demand[str] = Demand()
    demand.ask("old", 0.0)
    demand.ask("new", 100.0)
    assert demand.shares(8, WINDOW_SECONDS) == {"new": 1}
    assert demand.shares(8, WINDOW_SECONDS + 100.0) == {}
