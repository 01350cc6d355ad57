"""What an attempt is given of the secrets that its job names, and what of them can be seen (S18)."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.store import Store
from orchestrator.errors import StartFailedError
from orchestrator.jobs.vault import Vault
from orchestrator.model.jobs import JobStatus, Reason
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Stream
from orchestrator.model.specs import RetryPolicy, WantedSecret
from orchestrator.stores.key_ring import KeyFile
from orchestrator.stores.sealing import AesSealer
from tests.jobs.scripted import AWAY, PATIENCE_SECONDS, Rig, ScriptedProcess, open_rig

VALUE = "hunter-22-and-more"
WANTED = (WantedSecret(name="K", variable="KEY"),)


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


@pytest.fixture
def vault(rig, tmp_path) -> Vault:
    return Vault(store=rig.store, clock=rig.clock, sealer=AesSealer(KeyFile(tmp_path / "secret.key")))


async def run(rig: Rig, vault: Vault | None, **changes) -> str:
    claim = await rig.claimed(**{"secrets": WANTED, **changes})
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rig.runner(vault=vault).run(claim, asyncio.Event())
    return claim.job.id


def printing(*lines: bytes):
    def on_start(process: ScriptedProcess) -> None:
        for line in lines:
            process.say(line)
        process.end(0)

    return on_start


async def test_a_secret_is_in_the_environment_and_masked_in_the_log(rig, vault):
    await vault.set("K", VALUE, by="t")

    def on_start(process: ScriptedProcess) -> None:
        process.say(f"key={VALUE}\n".encode())
        process.say(VALUE[:7].encode())
        process.say(VALUE[7:].encode() + b"\n" + base64.b64encode(VALUE.encode()) + b"\n")
        process.end(0)

    rig.executor.on_start = on_start
    job_id = await run(rig, vault)

    assert rig.executor.specs[0].env["KEY"] == VALUE
    texts = await rig.texts(job_id)
    assert texts[:2] == ["key=***", "***"]
    assert VALUE not in "".join(texts)
    assert texts[-1] == "The script printed the secret K; the log shows *** instead."
    assert (await rig.lines(job_id))[-1].stream is Stream.SYSTEM


async def test_that_it_was_printed_is_in_the_journal_without_the_value(rig, vault):
    await vault.set("K", VALUE, by="t")
    rig.executor.on_start = printing(VALUE.encode() + b"\n")
    job_id = await run(rig, vault)

    async with rig.store.read() as repos:
        entries = await repos.journal.read(job_id)
    (told,) = [entry for entry in entries if entry.kind is EntryKind.SECRETS_PRINTED]
    assert told.data == {"secrets": ["K"], "attempt": 1}
    assert VALUE not in repr(entries)


async def test_nothing_is_said_where_nothing_was_printed(rig, vault):
    await vault.set("K", VALUE, by="t")
    rig.executor.on_start = printing(b"quiet\n")
    job_id = await run(rig, vault)
    assert await rig.texts(job_id) == ["quiet"]
    assert EntryKind.SECRETS_PRINTED not in await rig.journal(job_id)


@dataclass
class StumblingStore:
    """A store that is away for one of its readers."""

    store: Store
    refused: int
    reads: int = 0
    begin: Any = field(init=False)

    def __post_init__(self) -> None:
        self.begin = self.store.begin

    @asynccontextmanager
    async def read(self):
        self.reads += 1
        if self.reads == self.refused:
            raise AWAY
        async with self.store.read() as repos:
            yield repos


async def test_a_store_that_is_away_while_a_job_gets_its_secrets_delays_it_and_no_more(rig, vault):
    """They are read once, for its environment and for the mask of its log."""
    await vault.set("K", VALUE, by="t")
    store = StumblingStore(rig.store, refused=1)
    rig.executor.on_start = printing(b"done\n")
    job_id = await run(rig, replace(vault, store=store))

    job = await rig.job(job_id)
    assert (job.status, job.attempt, job.message) == (JobStatus.SUCCEEDED, 1, None)
    assert rig.executor.specs[0].env["KEY"] == VALUE
    assert store.reads == 2


async def test_a_missing_secret_fails_the_job_before_its_script_starts(rig, vault):
    job_id = await run(rig, vault, retry=RetryPolicy(attempts=3))
    job = await rig.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, Reason.INVALID)
    assert "cronium secrets set K" in (job.message or "")
    assert rig.executor.processes == {}


async def test_without_a_server_a_job_with_secrets_fails_and_others_run(rig):
    job_id = await run(rig, None)
    assert (await rig.job(job_id)).reason is Reason.INVALID
    rig.executor.on_start = printing(b"hello\n")
    assert await rig.texts(await run(rig, None, secrets=())) == ["hello"]


async def test_what_an_executor_says_of_its_failure_is_masked(rig, vault):
    await vault.set("K", VALUE, by="t")
    rig.executor.start_failures[""] = StartFailedError(f"cannot exec KEY={VALUE}", reason=Reason.LIMIT)
    job = await rig.job(await run(rig, vault))
    assert job.message == "cannot exec KEY=***"


async def test_a_later_supervisor_masks_the_value_that_the_attempt_was_given(rig, vault):
    await vault.set("K", VALUE, by="t")
    claim = await rig.claimed(secrets=WANTED)
    first = asyncio.ensure_future(rig.runner(vault=vault).run(claim, asyncio.Event()))
    await rig.changes.until(lambda: bool(rig.observer.started))
    first.cancel()
    await asyncio.wait({first})
    await vault.set("K", "changed-meanwhile", by="t")
    adopted = await rig.adopt()
    process = rig.process_of(claim.job)
    process.say(f"{VALUE} changed-meanwhile\n".encode())
    process.end(0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rig.runner(vault=vault, owner="other").adopt(adopted, asyncio.Event())

    assert (await rig.texts(claim.job.id))[0] == "*** changed-meanwhile"
    async with rig.store.read() as repos:
        assert await repos.secrets.granted(claim.job.id, 1) == []
