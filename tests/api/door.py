"""A served API on a real store, with the verbs but without a dispatcher: tests play the supervisor of jobs."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.api.app import ApiContext, Readiness, create_api
from orchestrator.api.server import open_api_server
from orchestrator.api.tokens import new_token
from orchestrator.caches.memory import MemoryCache
from orchestrator.contracts.observer import SilentObserver
from orchestrator.contracts.store import Claim, Outcome, Store
from orchestrator.jobs.cancel import Canceller
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.registrar import Registrar
from orchestrator.jobs.requeue import Requeuer
from orchestrator.jobs.submit import Submission, Submitter
from orchestrator.model.jobs import Job, JobStatus, TriggerKind
from orchestrator.model.logs import Cursor, Line, Stream
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from orchestrator.model.tokens import Scope, Token
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.telemetry.metrics import PrometheusObserver
from tests.fakes import FakeClock

SPEC = JobSpec(script=Script(language=Language.BASH, text="echo hello"), name="greeting", input={"day": "monday"})
LEASE = timedelta(seconds=15)


@dataclass(kw_only=True)
class Door:
    """What a test holds: the door from outside (`url`, `http`, `tokens`) and the engine behind it."""

    context: ApiContext
    url: str
    http: aiohttp.ClientSession
    tokens: dict[str, str]

    @property
    def store(self) -> Store:
        return self.context.store

    def bearer(self, who: str = "admin") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[who]}"}

    async def ask(self, method: str, path: str, *, who: str | None = "admin", **more: Any) -> Reply:
        """One request, its answer read to the end."""
        headers = {**(self.bearer(who) if who else {}), **more.pop("headers", {})}
        async with self.http.request(method, self.url + path, headers=headers, **more) as response:
            is_json = method != "HEAD" and response.content_type.endswith("json")
            body = await response.json(content_type=None) if is_json else await response.text()
            return Reply(status=response.status, headers=response.headers.copy(), body=body)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.ask("GET", path, **more)

    async def submit(self, spec: JobSpec = SPEC) -> Job:
        return await self.context.submitter.submit(Submission(spec=spec, trigger=TriggerKind.API, by="token:test"))

    async def claim(self, job: Job) -> Claim:
        """Supervise `job`, and with it every other queued one."""
        async with self.store.begin() as repos:
            claims = await repos.jobs.claim("me", "main", {ExecutorKind.PROCESS: 1000}, lease=LEASE)
        claim = next(claim for claim in claims if claim.job.id == job.id)
        self.context.feed.changed(claim.job)
        return claim

    async def write(self, claim: Claim, texts: Sequence[str]) -> list[Line]:
        """Store and publish lines as the supervisor of a job does."""
        async with self.store.begin() as repos:
            last, _ = await repos.logs.cursor(claim.job.id)
            lines = [
                Line(seq=last + index, at=self.context.clock.now(), stream=Stream.STDOUT, text=text, attempt=1)
                for index, text in enumerate(texts, 1)
            ]
            await repos.logs.append(claim, lines, Cursor())
        await self.context.feed.published(claim.job, lines)
        return lines

    async def finish(self, claim: Claim, status: JobStatus = JobStatus.SUCCEEDED) -> Job:
        outcome = Outcome(status=status, finished_at=self.context.clock.now(), exit_code=0)
        async with self.store.begin() as repos:
            job = await repos.jobs.finish(claim, outcome)
        self.context.feed.changed(job)
        return job


@dataclass(kw_only=True)
class Reply:
    status: int
    headers: Any
    body: Any


@asynccontextmanager
async def open_door(path: Path, **changes: Any) -> AsyncIterator[Door]:
    """Serve on a free port; `changes` replace fields of the context."""
    clock = FakeClock()
    async with open_sqlite_store(path / "cronium.db", clock=clock, exclusive=True) as store:
        context = replace(make_context(store, clock), **changes)
        async with open_api_server(create_api(context), "127.0.0.1", 0) as url, aiohttp.ClientSession() as http:
            yield Door(context=context, url=url, http=http, tokens=await store_tokens(store, clock))


def make_context(store: Store, clock: FakeClock) -> ApiContext:
    feed = Feed(store)
    silent = SilentObserver()
    numbers = itertools.count(1)
    submitter = Submitter(
        store=store,
        clock=clock,
        observer=silent,
        new_id=lambda prefix: f"{prefix}_{next(numbers):026}",
        wake=lambda: None,
        ended=feed.changed,
        default_executor=ExecutorKind.PROCESS,
        executors=frozenset(ExecutorKind),
        queue="main",
    )
    canceller = Canceller(
        store=store, clock=clock, observer=silent, feed=feed, poke=lambda job_id: None, wake=lambda: None
    )
    metrics = PrometheusObserver(version="1", mode="standalone", store_driver="sqlite", cache_driver="memory")
    return ApiContext(
        store=store,
        clock=clock,
        observer=metrics,
        submitter=submitter,
        canceller=canceller,
        requeuer=Requeuer(store=store, clock=clock, submitter=submitter),
        registrar=Registrar(store=store, clock=clock, submitter=submitter, wake=lambda: None),
        feed=feed,
        cache=MemoryCache(clock),
        metrics_text=metrics.render,
        readiness=ready,
    )


async def ready() -> Readiness:
    return Readiness(ready=True, details={"store": "ok"})


async def store_tokens(store: Store, clock: FakeClock) -> dict[str, str]:
    """One token per scope, a revoked one, and one that nobody has heard of."""
    tokens: dict[str, str] = {}
    async with store.begin() as repos:
        for name in (*Scope, "revoked"):
            token, digest = new_token()
            tokens[name] = token
            revoked = name == "revoked"
            await repos.tokens.insert(
                Token(
                    id=f"tok_{name}",
                    name=f"{name} of tests",
                    scope=Scope.ADMIN if revoked else Scope(name),
                    digest=digest,
                    created_at=clock.now(),
                    revoked_at=clock.now() if revoked else None,
                )
            )
    tokens["wrong"] = new_token()[0]
    return tokens
