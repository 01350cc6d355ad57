"""Secrets: what goes in, who is given them, and another key for them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.contracts.sealing import Sealer
from orchestrator.errors import InvalidError, NotFoundError, StartFailedError, UnavailableError
from orchestrator.jobs.vault import SUBJECT, Vault
from orchestrator.model.journal import EntryKind
from orchestrator.model.secrets import GLOBAL_SCOPE, SealedValue
from orchestrator.model.specs import WantedSecret
from orchestrator.stores.key_ring import KeyFile
from orchestrator.stores.sealing import AesSealer
from orchestrator.stores.sqlite import open_sqlite_store
from tests.conftest import ROOT
from tests.fakes import FakeClock
from tests.suites.store_making import claim_one, make_job, outcome

VALUE = "hunter-22-é"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def store(clock):
    async with open_sqlite_store(None, clock=clock, exclusive=False) as store:
        yield store


@pytest.fixture
def ring(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "secret.key")


@pytest.fixture
def vault(store, clock, ring) -> Vault:
    return Vault(store=store, clock=clock, sealer=AesSealer(ring))


def wanting(*names: str):
    job = make_job(FakeClock())
    return replace(job.spec, secrets=tuple(WantedSecret(name=name, variable=name) for name in names))


async def attempt(vault, clock, *names: str, **changes):
    claim = await claim_one(vault.store, clock, spec=wanting(*names), **changes)
    await vault.grant(claim.job)
    return claim


async def values(vault, claim) -> dict[str, str]:
    return {one.variable: one.value for one in await vault.given(claim.job)}


async def test_an_attempt_gets_what_it_names_and_nothing_else(vault, clock):
    await vault.set("K", VALUE, by="t")
    await vault.set("OTHER", "something-else", by="t")
    assert await values(vault, await attempt(vault, clock, "K")) == {"K": VALUE}
    assert await values(vault, await attempt(vault, clock)) == {}


async def test_a_secret_of_its_event_comes_before_the_global_one(vault, clock):
    await vault.set("K", VALUE, by="t")
    await vault.set("K", "of-the-event", scope="evt_1", by="t")
    assert await values(vault, await attempt(vault, clock, "K", event_id="evt_1")) == {"K": "of-the-event"}
    assert await values(vault, await attempt(vault, clock, "K", event_id="evt_2")) == {"K": VALUE}


async def test_an_attempt_keeps_what_it_was_given_when_it_is_changed_and_deleted(vault, clock):
    await vault.set("K", VALUE, by="t")
    claim = await attempt(vault, clock, "K")
    await vault.set("K", "the-next-one", by="t")
    await vault.delete("K", by="t")
    assert await values(vault, claim) == {"K": VALUE}
    async with vault.store.begin() as repos:
        await repos.jobs.finish(claim, outcome(clock))
    await vault.forget(claim.job)
    assert await values(vault, claim) == {}


async def test_missing_secrets_are_all_named_with_the_command_that_makes_them(vault, clock):
    await vault.set("K", VALUE, by="t")
    with pytest.raises(StartFailedError, match=r"no secrets A, B,.*cronium secrets set A") as refused:
        await attempt(vault, clock, "K", "B", "A")
    assert refused.value.reason == "invalid"
    with pytest.raises(StartFailedError, match=r"no secret A,"):
        await attempt(vault, clock, "A")
    assert (await vault.get("K")).last_used_at is None


async def test_a_secret_that_cannot_be_opened_fails_the_attempt_and_names_the_key(vault, clock, ring):
    await vault.set("K", VALUE, by="t")
    ring.path.unlink()
    other = replace(vault, sealer=AesSealer(ring))
    with pytest.raises(StartFailedError, match=r"need the key [0-9a-f]{16}") as refused:
        await attempt(other, clock, "K")
    assert refused.value.reason == "invalid"
    async with vault.store.read() as repos:
        assert await other.missing_keys() == await repos.secrets.key_ids()


async def test_nothing_is_sealed_with_another_key_than_the_one_in_force(vault, ring):
    """A restore without its key, or a second server with a key of its own: an error, and nothing lost."""
    await vault.set("K", VALUE, by="t")
    kept = ring.path.read_text()
    ring.path.unlink()
    other = replace(vault, sealer=AesSealer(ring))
    with pytest.raises(UnavailableError) as refused:
        await other.set("K", "another-value", by="t")
    assert refused.value.code == "secret_key_missing"
    assert (await vault.get("K")).version == 1
    ring.path.write_text(kept)
    assert (await other.set("K", "another-value", by="t")).version == 2


async def test_when_the_last_secret_is_deleted_another_key_may_begin(vault, ring):
    await vault.set("K", VALUE, by="t")
    await vault.delete("K", by="t")
    ring.path.unlink()
    assert (await replace(vault, sealer=AesSealer(ring)).set("K", VALUE, by="t")).version == 1


async def test_an_unreadable_key_file_is_an_error_that_names_it(vault, ring):
    ring.path.mkdir()
    with pytest.raises(UnavailableError, match=r"secret\.key") as refused:
        await vault.set("K", VALUE, by="t")
    assert refused.value.code == "secret_key_unreadable"


async def test_what_is_no_secret_is_refused(vault):
    for name, value in [("a b", VALUE), ("K", "true"), ("K", "abc")]:
        with pytest.raises(InvalidError):
            await vault.set(name, value, by="t")
    with pytest.raises(InvalidError, match="description"):
        await vault.set("K", VALUE, description="two\nlines", by="t")
    with pytest.raises(NotFoundError, match="cronium secrets list"):
        await vault.delete("K", by="t")


async def test_changes_are_in_the_journal_without_the_value(vault):
    await vault.set("K", VALUE, by="token:me")
    await vault.delete("K", by="token:me")
    async with vault.store.read() as repos:
        entries = await repos.journal.read(f"{SUBJECT}{GLOBAL_SCOPE}/K")
    assert [(entry.kind, entry.by, entry.data) for entry in entries] == [
        (EntryKind.SECRET_SET, "token:me", {"version": 1}),
        (EntryKind.SECRET_DELETED, "token:me", {"version": 1}),
    ]


async def test_two_writers_at_once_leave_one_of_their_values(vault, clock):
    await asyncio.gather(*(vault.set("K", f"value-number-{number}", by="t") for number in range(10)))
    assert (await vault.get("K")).version == 10
    assert (await values(vault, await attempt(vault, clock, "K")))["K"].startswith("value-number-")


async def test_another_key_changes_no_value(vault, clock, ring):
    for number in range(250):
        await vault.set(f"K{number}", f"value-number-{number}", by="t")
    claim = await attempt(vault, clock, "K7")
    before = ring.path.read_text()
    done = await vault.rotate(by="t")
    assert done.rewrapped == 250
    assert ring.path.read_text().endswith(before)  # backups made before can still be opened
    assert await values(vault, claim) == {"K7": "value-number-7"}
    assert (await vault.rotate(forget=True, by="t")).rewrapped == 250
    assert len(ring.path.read_text().splitlines()) == 1
    fresh = replace(vault, sealer=AesSealer(ring))
    assert await values(fresh, claim) == {"K7": "value-number-7"}


async def test_a_rotation_with_two_at_once_and_writers_beside_it_loses_nothing(vault, clock):
    for number in range(30):
        await vault.set(f"K{number}", f"value-number-{number}", by="t")

    async def write() -> None:
        for number in range(30, 60):
            await vault.set(f"K{number}", f"value-number-{number}", by="t")

    await asyncio.gather(write(), vault.rotate(forget=True, by="t"), vault.rotate(forget=True, by="t"))
    claim = await attempt(vault, clock, *(f"K{number}" for number in range(60)))
    assert await values(vault, claim) == {f"K{number}": f"value-number-{number}" for number in range(60)}


class Stopping:
    """A sealer that breaks off at some step, as a process that is killed there."""

    def __init__(self, inner: Sealer, *, at: str, times: int) -> None:
        self.inner, self.at, self.times = inner, at, times

    def _pass(self, step: str) -> None:
        self.times -= step == self.at
        if self.times <= 0 and step == self.at:
            raise KeyboardInterrupt

    def key_ids(self) -> tuple[str, ...]:
        return self.inner.key_ids()

    def seal(self, value: str, **more) -> SealedValue:
        return self.inner.seal(value, **more)

    def open(self, value: SealedValue) -> str:
        return self.inner.open(value)

    def rewrap(self, value: SealedValue, *, key_id: str) -> SealedValue:
        self._pass("rewrap")
        return self.inner.rewrap(value, key_id=key_id)

    def make_key(self) -> str:
        made = self.inner.make_key()
        self._pass("make_key")
        return made

    def drop_keys(self, *, but: str) -> None:
        self.inner.drop_keys(but=but)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from orchestrator.jobs.vault import Vault
from orchestrator.stores.key_ring import KeyFile
from orchestrator.stores.sealing import AesSealer
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock
from tests.jobs.test_vault import Stopping

async def main(state, at, times):
    clock = FakeClock()
    async with open_sqlite_store(state / "cronium.db", clock=clock, exclusive=True) as store:
        sealer = AesSealer(KeyFile(state / "secret.key"))
        vault = Vault(store=store, clock=clock, sealer=sealer)
        for number in range(150):
            await vault.set(f"K{number}", f"value-number-{number}", by="t")
        stopping = Vault(store=store, clock=clock, sealer=Stopping(sealer, at=at, times=int(times)))
        try:
            await stopping.rotate(by="t")
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("at", "times", "left"), [("make_key", 1, 150), ("rewrap", 1, 150), ("rewrap", 101, 50), ("rewrap", 150, 50)]
)
async def test_a_rotation_that_was_killed_goes_on_and_everything_opens_meanwhile(tmp_path, clock, at, times, left):
    command = [sys.executable, "-c", KILLED, str(tmp_path), at, str(times)]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        timeout=60,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    ring = KeyFile(tmp_path / "secret.key")
    assert len(ring.path.read_text().splitlines()) == 2
    async with open_sqlite_store(tmp_path / "cronium.db", clock=clock, exclusive=True) as store:
        vault = Vault(store=store, clock=clock, sealer=AesSealer(ring))
        claim = await attempt(vault, clock, *(f"K{number}" for number in range(0, 150, 3)))
        wanted = {f"K{number}": f"value-number-{number}" for number in range(0, 150, 3)}
        assert await values(vault, claim) == wanted
        assert (await vault.rotate(forget=True, by="t")).rewrapped == left
        assert len(ring.path.read_text().splitlines()) == 1
        assert await values(vault, claim) == wanted
