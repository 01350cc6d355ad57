"""How the store suites make what they store, and how they open a store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from orchestrator.contracts.store import Outcome, Store
from orchestrator.model.artifacts import Artifact
from orchestrator.model.events import Event, EventStatus
from orchestrator.model.instances import Instance
from orchestrator.model.jobs import (
    Claim,
    EventId,
    Job,
    JobId,
    JobStatus,
    RunId,
    TriggerKind,
)
from orchestrator.model.logs import Line, Stream
from orchestrator.model.secrets import SealedValue
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from orchestrator.model.workflows import Run, RunStatus
from orchestrator.stores.migrate import read_migrations
from tests.fakes import FakeClock

LEASE = timedelta(seconds=15)
ODD_TEXT = "tab\tnul\0back\\slash\\0 \\\0 é 日本 \U0001f600 '\" $1 \x7f\u2028"
ODD_JSON = {"z": [1, 1.0, -0.5, 2**63, -(2**63)], "a": {"\0": None, "": [True, False, []]}, "ü": ODD_TEXT, "e": {}}
EVERY_KIND = dict.fromkeys(ExecutorKind, 1_000_000)
# Both stores have the same tables. What `Store.check` writes is nobody's data.
TABLES = [
    table
    for migration in read_migrations("orchestrator.stores.sqlite")
    for table in re.findall(r"CREATE TABLE (\w+)", migration.sql)
    if table != "checks"
]
_numbers = count(1)


class BoomError(Exception):
    """What a body raises on purpose."""


def make_job(clock: FakeClock, **changes) -> Job:
    job = Job(
        id=JobId(f"job_{next(_numbers):08d}"),
        status=JobStatus.QUEUED,
        spec=JobSpec(script=Script(language=Language.BASH, text="true")),
        executor=ExecutorKind.PROCESS,
        queue="main",
        trigger=TriggerKind.API,
        priority=0,
        created_at=clock.now(),
    )
    return replace(job, **changes)


def make_run(clock: FakeClock, **changes) -> Run:
    run = Run(
        id=RunId(f"run_{next(_numbers):08d}"),
        workflow_name="nightly",
        status=RunStatus.QUEUED,
        document={"name": "nightly"},
        input={},
        queue="main",
        created_at=clock.now(),
    )
    return replace(run, **changes)


def make_event(clock: FakeClock, **changes) -> Event:
    number = next(_numbers)
    event = Event(
        id=EventId(f"evt_{number:08d}"),
        name=f"event-{number}",
        status=EventStatus.ACTIVE,
        spec=JobSpec(script=Script(language=Language.BASH, text="true")),
        queue="main",
        created_at=clock.now(),
        updated_at=clock.now(),
        anchor=clock.now(),
    )
    return replace(event, **changes)


def make_instance(clock: FakeClock, **changes) -> Instance:
    instance = Instance(
        id=f"ins_{next(_numbers):08d}", state="/var/state", sockets="/run/sockets", boot_id="boot", seen_at=clock.now()
    )
    return replace(instance, **changes)


def make_artifact(clock: FakeClock, job_id: JobId, **changes) -> Artifact:
    artifact = Artifact(
        job_id=job_id,
        attempt=1,
        name="report.csv",
        size=7,
        sha256="00" * 32,
        media_type="text/csv",
        created_at=clock.now(),
        place="here",
        folder="1-1",
    )
    return replace(artifact, **changes)


def make_lines(clock: FakeClock, first: int, texts: list[str], *, attempt: int = 1) -> list[Line]:
    return [
        Line(seq=seq, at=clock.now(), stream=Stream.STDOUT, text=text, attempt=attempt)
        for seq, text in enumerate(texts, start=first)
    ]


def outcome(clock: FakeClock, status: JobStatus = JobStatus.SUCCEEDED, **changes) -> Outcome:
    return Outcome(status=status, finished_at=clock.now(), **changes)


async def insert(store: Store, *jobs: Job) -> None:
    async with store.begin() as repos:
        for job in jobs:
            await repos.jobs.insert(job)


async def claim_all(store: Store, owner: str = "one", **changes) -> list[Claim]:
    async with store.begin() as repos:
        return await repos.jobs.claim(owner, "main", **({"free": EVERY_KIND, "lease": LEASE} | changes))


async def claim_one(store: Store, clock: FakeClock, owner: str = "one", **changes) -> Claim:
    """A new job, claimed."""
    job = make_job(clock, **changes)
    await insert(store, job)
    claims = await claim_all(store, owner)
    return next(claim for claim in claims if claim.job.id == job.id)


async def get(store: Store, job_id: JobId) -> Job:
    async with store.read() as repos:
        return await repos.jobs.get(job_id)


async def row_counts(store: Store) -> dict[str, int]:
    """How many rows each table has, whatever the repositories would say."""
    counts = {}
    async with store.read() as repos:
        for table in TABLES:
            counts[table] = (await repos.jobs.connection.rows(f"SELECT COUNT(*) FROM {table}"))[0][0]
    return counts


def assert_same(found: Sequence[object], wanted: Sequence[object]) -> None:
    """Equal with types and the order of keys: `==` alone takes 0 for False and 1 for 1.0."""
    for one, other in zip(found, wanted, strict=True):
        assert repr(one) == repr(other)


class StoreOpening:
    """What a test class says about its store, and the fixtures made of it."""

    def open_store(self, tmp_path: Path, clock: FakeClock) -> AbstractAsyncContextManager[Store]:
        raise NotImplementedError

    async def pass_time(self, clock: FakeClock, length: timedelta) -> None:
        """Let leases of `length` run out on the database's clock."""
        clock.advance(length)

    @pytest.fixture
    def clock(self):
        return FakeClock(datetime(2026, 3, 29, 1, 59, 59, 123457, tzinfo=UTC))

    @pytest.fixture
    async def store(self, tmp_path, clock):
        async with self.open_store(tmp_path, clock) as store:
            yield store


def sealed(name: str, version: int, *, key_id: str = "k1", scope: str = "global") -> SealedValue:
    return SealedValue(scope=scope, name=name, version=version, key_id=key_id, wrapped=b"\0w", sealed=b"\xff\0s")
