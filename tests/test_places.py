"""Where things are: private directories, short socket paths, one key, the caller's interpreters, dead commands."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from orchestrator.errors import DeniedError, InvalidError
from orchestrator.places import (
    SOCKET_PATH_BYTES,
    clean_environment,
    find_interpreter,
    is_queue_of_dead_command,
    load_key,
    make_open,
    make_private,
    queue_of_command,
    remove_if_empty,
    sdk_directory,
    socket_root,
)


@pytest.fixture
def short():
    """A directory with a short path, as a runtime directory has."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="c-") as directory:
        yield Path(directory)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


# Private directories


def test_a_private_directory_is_made_with_its_parents(tmp_path: Path):
    made = make_private(tmp_path / "a" / "b")

    assert mode(made) == 0o700


def test_a_private_directory_that_exists_is_kept_as_it_is(tmp_path: Path):
    made = make_private(tmp_path / "a")
    (made / "file").write_text("kept")

    assert make_private(made) == made
    assert (made / "file").read_text() == "kept"


def test_a_directory_that_is_open_to_others_and_in_use_is_refused_and_left_as_it_is(tmp_path: Path):
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o1777)
    (loose / "of somebody").touch()

    with pytest.raises(DeniedError, match="chmod 700"):
        make_private(loose)

    assert mode(loose) == 0o1777


def test_an_empty_directory_that_is_open_to_others_is_closed_to_them(tmp_path: Path):
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o777)

    assert mode(make_private(loose)) == 0o700


def test_a_directory_of_another_account_is_refused(tmp_path: Path):
    foreign = Path("/usr/share")
    if os.geteuid() == 0:
        foreign = tmp_path / "foreign"
        foreign.mkdir(mode=0o700)
        os.chown(foreign, 65534, 65534)

    with pytest.raises(DeniedError, match=f"{foreign} belongs to another account"):
        make_private(foreign)


def test_a_file_where_the_directory_should_be_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")

    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(InvalidError, match=f"{path} cannot be used as a directory"):
            make_private(path)


def test_an_open_directory_lies_in_a_private_one(tmp_path: Path):
    root = tmp_path / "root"

    for _ in range(2):
        made = make_open(root, "run-1")
        assert (mode(root), mode(made)) == (0o700, 0o755)


def test_a_directory_in_use_is_not_removed(tmp_path: Path):
    root = make_private(tmp_path / "root")
    make_open(root, "run-1")

    remove_if_empty(root)
    assert root.exists()
    remove_if_empty(root / "run-1")
    remove_if_empty(root)
    remove_if_empty(root)
    assert not root.exists()


# Sockets


def test_sockets_lie_in_the_runtime_directory(short: Path):
    root = socket_root(short / "state", {"XDG_RUNTIME_DIR": str(short)})

    assert root.parent == short / "cronium"
    assert (mode(root), mode(root.parent)) == (0o700, 0o700)


def test_each_state_directory_has_sockets_of_its_own(short: Path):
    env = {"XDG_RUNTIME_DIR": str(short)}

    assert socket_root(short / "a", env) != socket_root(short / "b", env)
    assert socket_root(short / "a", env) == socket_root(short / "a", env)


@pytest.mark.parametrize("runtime", [None, "", "/tmp/does-not-exist", "/tmp/" + "x" * 60])
def test_without_a_usable_runtime_directory_sockets_lie_in_tmp(tmp_path: Path, runtime):
    env = {} if runtime is None else {"XDG_RUNTIME_DIR": runtime}
    root = socket_root(tmp_path / "state", env)
    try:
        assert str(root).startswith(f"/tmp/cronium-{os.geteuid()}-")
        assert mode(root) == 0o700
    finally:
        root.rmdir()


def test_a_socket_can_be_bound_however_long_the_state_directory_is(short: Path):
    root = socket_root(short.joinpath(*["a-long-name" * 5] * 5), {"XDG_RUNTIME_DIR": str(short)})
    path = make_open(root, queue_of_command()) / "api.sock"

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))

    assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES


# The key


def test_the_key_is_made_once_and_is_private(tmp_path: Path):
    path = tmp_path / "key"

    first = load_key(path)

    assert load_key(path) == first == path.read_bytes()
    assert len(first) == 32
    assert mode(path) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_installations_have_keys_of_their_own(tmp_path: Path):
    assert load_key(tmp_path / "one") != load_key(tmp_path / "other")


def test_all_who_ask_for_the_key_at_once_get_the_same(tmp_path: Path):
    together = Barrier(8)

    def ask(round_: int) -> bytes:
        together.wait(timeout=20)
        return load_key(tmp_path / f"key-{round_}")

    with ThreadPoolExecutor(8) as pool:
        for round_ in range(20):
            assert len(set(pool.map(ask, [round_] * 8))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"key-{round_}" for round_ in range(20))


# Interpreters and SDKs


def test_an_interpreter_is_the_first_on_the_path(tmp_path: Path):
    first, second = program(tmp_path / "1" / "python3"), program(tmp_path / "2" / "python3")

    assert find_interpreter("python3", f"{tmp_path}/0::{first.parent}:{second.parent}") == str(first)


def test_our_own_virtual_environment_is_passed_over(tmp_path: Path, monkeypatch):
    own, theirs = program(tmp_path / "venv" / "bin" / "python3"), program(tmp_path / "theirs" / "python3")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")

    assert find_interpreter("python3", f"{own.parent}:{theirs.parent}") == str(theirs)
    assert find_interpreter("python3", f"{own.parent}/:{theirs.parent}") == str(theirs)
    assert find_interpreter("python3", str(own.parent)) is None


def test_outside_a_virtual_environment_nothing_is_passed_over(tmp_path: Path, monkeypatch):
    own = program(tmp_path / "bin" / "python3")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))

    assert find_interpreter("python3", str(own.parent)) == str(own)


def test_an_interpreter_that_is_nowhere_is_not_found(tmp_path: Path):
    (tmp_path / "python3").write_text("not executable")

    assert find_interpreter("python3", str(tmp_path)) is None
    assert find_interpreter("python3", "") is None


def test_an_absolute_interpreter_is_taken_where_it_can_be_executed(tmp_path: Path):
    there = program(tmp_path / "sh")

    assert find_interpreter(str(there), "") == str(there)
    assert find_interpreter(str(tmp_path / "missing"), str(tmp_path)) is None


def test_the_sdks_lie_where_scripts_are_told():
    assert {path.name for path in sdk_directory().iterdir()} >= {"python", "js", "bash"}


# Commands and what they inherit


def test_the_queue_of_a_living_command_is_not_a_dead_ones():
    assert queue_of_command() != queue_of_command()
    assert not is_queue_of_dead_command(queue_of_command())


def test_the_queue_of_a_command_that_has_ended_is_a_dead_ones():
    done = subprocess.Popen([shutil.which("true")])
    done.wait(timeout=20)

    _, host, boot, _, started, _ = queue_of_command().split("-")
    assert is_queue_of_dead_command(f"run-{host}-{boot}-{done.pid}-{started}-abcd")


def test_a_process_number_that_is_used_again_is_not_taken_for_the_command():
    _, host, boot, pid, started, _ = queue_of_command().split("-")
    assert is_queue_of_dead_command(f"run-{host}-{boot}-{pid}-{int(started) - 1}-abcd")


def test_commands_before_the_last_boot_are_dead_and_those_of_other_hosts_unknown():
    _, host, _, _, started, _ = queue_of_command().split("-")
    assert is_queue_of_dead_command(f"run-{host}-000000-1-{started}-abcd")
    assert not is_queue_of_dead_command("run-ffffff-000000-999999999-1-abcd")


@pytest.mark.parametrize("queue", ["default", "run", "run-", "run-x-1", "serve-999999999-a", "run--1-a", "", "walk-1"])
def test_the_queue_of_a_server_is_never_a_dead_commands(queue):
    assert not is_queue_of_dead_command(queue)


def test_scripts_of_the_server_inherit_none_of_its_settings():
    env = {"PATH": "/bin", "HOME": "/home/me", "LANG": "C.UTF-8", "CRONIUM_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x"}

    assert clean_environment(env) == {"PATH": "/bin", "HOME": "/home/me", "LANG": "C.UTF-8"}


def test_scripts_have_a_path_even_where_the_server_has_none():
    assert clean_environment({}) == {"PATH": os.defpath}
