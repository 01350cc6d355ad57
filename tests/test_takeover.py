"""Whose jobs a server may go on with, and what it needs to know for that."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator import takeover
from orchestrator.app import EngineSettings
from orchestrator.model.instances import Instance
from orchestrator.model.specs import ExecutorKind
from orchestrator.places import KEY_FILE, instance_of, load_key
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock
from tests.suites.store_making import LEASE, claim_one


def settings_of(state: Path, sockets: Path, **slots: int) -> EngineSettings:
    state.mkdir(mode=0o700, exist_ok=True)
    return EngineSettings(
        state=state,
        sockets=sockets,
        queue="default",
        alone=True,
        tied=False,
        shared=True,
        default_executor=ExecutorKind.PROCESS,
        slots={ExecutorKind(kind): number for kind, number in slots.items()},
        images={},
        inherit={},
        docker_endpoint="/run/some.sock",
    )


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    """One whose files are here, under this kernel."""
    state = tmp_path / "dead"
    state.mkdir(mode=0o700)
    return Instance(
        id=instance_of(load_key(state / KEY_FILE)),
        state=str(state),
        sockets=str(tmp_path / "sockets" / "server"),
        boot_id=takeover.BOOT_ID.read_text().strip(),
        seen_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_an_instance_whose_files_are_here_can_be_inherited(instance: Instance):
    assert takeover._is_here(instance)


def test_an_instance_of_another_machine_or_of_before_a_reboot_cannot(instance: Instance):
    assert not takeover._is_here(replace(instance, boot_id="another"))


def test_a_directory_that_only_has_the_same_name_is_not_taken_for_the_instance(instance: Instance, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    load_key(other / KEY_FILE)

    assert not takeover._is_here(replace(instance, state=str(other)))
    assert not takeover._is_here(replace(instance, state=str(tmp_path / "missing")))
    assert not (tmp_path / "missing").exists()


def test_what_another_account_has_is_left_alone(instance: Instance, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.geteuid", lambda: 54321)

    assert not takeover._is_here(instance)


async def test_an_instance_says_where_its_files_and_its_containers_are(tmp_path: Path):
    clock = FakeClock()
    settings = settings_of(tmp_path / "dead", tmp_path / "sockets" / "server", process=3, docker=2)
    async with open_sqlite_store(None, clock=clock, exclusive=True) as store:
        for _ in range(2):  # every start does
            await takeover.register(settings, store, clock)
        name = instance_of(load_key(settings.state / KEY_FILE))
        await claim_one(store, clock, owner=f"{name}:host:1:x")
        clock.advance(LEASE)
        async with store.read() as repos:
            [instance] = await repos.instances.bereft("main")

    inheritance = takeover._inheritance(settings_of(tmp_path / "heir", tmp_path / "its own", process=1), instance)

    assert takeover._is_here(instance)
    assert (inheritance.state, inheritance.sockets) == (settings.state, settings.sockets)
    assert inheritance.slots == {ExecutorKind.PROCESS: 1, ExecutorKind.DOCKER: 1}
    assert inheritance.docker_endpoint == "unix:///run/some.sock"
    assert inheritance.sockets.is_dir()


def test_where_it_is_not_known_what_a_server_had_its_containers_are_left_alone(
    instance: Instance, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (Path(instance.state) / takeover.ESTATE_FILE).write_text('{"executors": ["ship"]}')
    heir = settings_of(tmp_path / "heir", tmp_path / "its own", process=1, docker=1)

    with caplog.at_level(logging.WARNING):
        inheritance = takeover._inheritance(heir, instance)

    assert inheritance.slots == {ExecutorKind.PROCESS: 1}
    assert "executors" in caplog.text
