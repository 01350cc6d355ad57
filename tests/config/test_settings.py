"""The settings themselves: defaults, what follows from them, and what they refuse."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.config import default_data_dir, is_loopback, load_settings
from orchestrator.errors import InvalidError
from orchestrator.model.specs import ExecutorKind, Language


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path: Path):
    """No settings from where the tests happen to run."""
    for name in [name for name in os.environ if name.upper().startswith("CRONIUM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def faults(flags: dict[str, object] | None = None) -> dict[str, str]:
    with pytest.raises(InvalidError) as refused:
        load_settings(flags or {})
    return {fault.path: fault.message for fault in refused.value.faults}


def test_the_defaults_are_safe(tmp_path: Path):
    settings = load_settings({})

    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8080, tmp_path / "cronium")
    assert settings.slots == {ExecutorKind.PROCESS: 16, ExecutorKind.DOCKER: 8}
    assert settings.grace == timedelta(seconds=10)
    assert settings.setup_timeout_seconds == 600
    assert (settings.log_max_bytes, settings.log_max_lines) == (50 * 1024 * 1024, 1_000_000)
    assert not settings.metrics_public


def test_the_environment_is_read_and_flags_win(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("CRONIUM_PORT", "9000")
    monkeypatch.setenv("CRONIUM_HOST", "::1")
    monkeypatch.setenv("CRONIUM_DATA_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("CRONIUM_GRACE_SECONDS", "0.5")

    settings = load_settings({"port": 9001, "host": None, "data_dir": None})

    assert (settings.port, settings.host, settings.data_dir) == (9001, "::1", tmp_path / "elsewhere")
    assert settings.grace == timedelta(milliseconds=500)


def test_one_image_can_be_named_without_the_others(monkeypatch):
    monkeypatch.setenv("CRONIUM_IMAGES__PYTHON", "mirror.example/python:3.13")

    images = load_settings({}).images.by_language()

    assert images[Language.PYTHON] == "mirror.example/python:3.13"
    assert images[Language.NODE] == "node:22-slim"
    assert set(images) == set(Language) - {Language.PROGRAM}


@pytest.mark.parametrize(
    ("host", "executor"),
    [
        ("127.0.0.1", ExecutorKind.PROCESS),
        ("localhost", ExecutorKind.PROCESS),
        ("::1", ExecutorKind.PROCESS),
        ("0.0.0.0", ExecutorKind.DOCKER),
        ("::", ExecutorKind.DOCKER),
        ("192.168.1.5", ExecutorKind.DOCKER),
        ("cronium.example", ExecutorKind.DOCKER),
    ],
)
def test_the_default_executor_follows_from_who_can_reach_the_server(host, executor):
    assert load_settings({"host": host}).executor is executor


def test_a_default_executor_that_is_named_wins(monkeypatch):
    monkeypatch.setenv("CRONIUM_DEFAULT_EXECUTOR", "process")
    assert load_settings({"host": "0.0.0.0"}).executor is ExecutorKind.PROCESS
    assert load_settings({"default_executor": "docker"}).executor is ExecutorKind.DOCKER


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "70000"),
        ("port", "-1"),
        ("port", "http"),
        ("default_executor", "podman"),
        ("mode", "clustered"),
        ("process_jobs", "-1"),
        ("docker_jobs", "many"),
        ("setup_timeout_seconds", "0"),
        ("grace_seconds", "-1"),
        ("log_max_bytes", "1"),
        ("log_max_lines", "5"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("metrics_public", "perhaps"),
    ],
)
def test_a_bad_value_is_named_whether_flag_or_environment(monkeypatch, name, value):
    assert list(faults({name: value})) == [name]

    monkeypatch.setenv(f"CRONIUM_{name.upper()}", value)
    assert list(faults()) == [name]


def test_every_bad_value_is_named(monkeypatch):
    monkeypatch.setenv("CRONIUM_LOG_LEVEL", "loud")
    monkeypatch.setenv("CRONIUM_IMAGES__PYHTON", "python:3")

    assert set(faults({"port": "http"})) == {"port", "log_level", "images.pyhton"}


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        load_settings({}).port = 1


def test_data_lies_where_the_account_keeps_data(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert default_data_dir({"XDG_DATA_HOME": "/data"}) == Path("/data/cronium")
    assert default_data_dir({}) == default_data_dir({"XDG_DATA_HOME": ""}) == tmp_path / ".local/share/cronium"


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("", False), ("0.0.0.0", False)],
)
def test_loopback_is_what_only_this_machine_reaches(host, local):
    assert is_loopback(host) is local
