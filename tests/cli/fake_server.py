"""A server that answers what a test wants it to, in the shapes of the real one, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from orchestrator.model.documents import job_document, line_document
from orchestrator.model.jobs import Job, JobId, JobStatus, LogTotals, Reason, Timings, TriggerKind
from orchestrator.model.logs import Line, Stream
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script

TOKEN = "crn_" + "t" * 43
START = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
CUT = "cut"  # in a play: end the connection in the middle of a message
HOLD = "hold"  # in a play: say nothing more until `release` is set


def make_job(job_id: str = "job_00000000000000000000000001", **changes: Any) -> Job:
    """A job that has succeeded, but for `changes`."""
    job = Job(
        id=JobId(job_id),
        status=JobStatus.SUCCEEDED,
        spec=JobSpec(script=Script(language=Language.BASH, text="echo"), name="hello.sh"),
        executor=ExecutorKind.PROCESS,
        queue="default",
        trigger=TriggerKind.API,
        priority=0,
        created_at=START,
        exit_code=0,
        attempt=1,
        started_at=START + timedelta(seconds=1),
        finished_at=START + timedelta(seconds=3),
        timings=Timings(queued_ms=12, setup_ms=8, execution_ms=2000, cleanup_ms=3),
    )
    return replace(job, **changes)


def named(name: str) -> JobSpec:
    return JobSpec(script=Script(language=Language.BASH, text="echo"), name=name)


def running(job: Job) -> Job:
    """The job before its end."""
    return replace(job, status=JobStatus.RUNNING, finished_at=None, exit_code=None, reason=None, message=None)


def failed(job_id: str = "job_00000000000000000000000001", code: int | None = 3, **changes: Any) -> Job:
    return make_job(job_id, status=JobStatus.FAILED, exit_code=code, reason=Reason.EXIT_CODE, **changes)


def make_lines(*texts: str | tuple[str, str]) -> list[Line]:
    """Lines numbered from 1: a text of stdout, or (stream, text)."""
    pairs = [text if isinstance(text, tuple) else ("stdout", text) for text in texts]
    return [
        Line(seq=seq, at=START, stream=Stream(stream), text=text, attempt=1)
        for seq, (stream, text) in enumerate(pairs, start=1)
    ]


def message(kind: str, **fields: Any) -> dict[str, Any]:
    """A message of the live feed."""
    if "job" in fields:
        fields["job"] = job_document(fields["job"])
    if "lines" in fields:
        fields["lines"] = [line_document(line) for line in fields["lines"]]
    return {"type": kind, **fields}


@dataclass(slots=True)
class FakeServer:
    """`plays`: what each connection that follows a log is told; when they are used up, all there is and the end."""

    url: str = ""
    token: str | None = TOKEN
    jobs: dict[str, Job] = field(default_factory=dict)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    plays: list[list[dict[str, Any] | str]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    refusal: web.Response | None = None
    page_size: int = 1000
    release: asyncio.Event = field(default_factory=asyncio.Event)
    followed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, job: Job, lines: list[Line] | None = None) -> Job:
        """Newest last; the totals of the log follow from the lines."""
        kept = lines or []
        size = sum(len(line.text) for line in kept)
        self.lines[job.id] = kept
        self.jobs[job.id] = replace(job, log=LogTotals(lines=len(kept), bytes=size))
        return self.jobs[job.id]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs))
        if self.refusal is not None:
            return self.refusal
        return self._unknown(request) or await self._known(request)

    def _unknown(self, request: web.Request) -> web.Response | None:
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            code = "token_invalid" if "Authorization" in request.headers else "token_missing"
            return problem(401, code, "This needs a token: Authorization: Bearer crn_...")
        return None

    async def _known(self, request: web.Request) -> web.StreamResponse:
        match request.method, request.path.removeprefix("/api/v3").strip("/").split("/"):
            case "GET", ["jobs"]:
                return self._page(request)
            case "POST", ["jobs"]:
                self.bodies.append(await request.json())
                return web.json_response(job_document(next(iter(self.jobs.values()))), status=202)
            case "GET", ["jobs", job_id] if job_id in self.jobs:
                return web.json_response(job_document(self.jobs[job_id]))
            case "POST", ["jobs", job_id, "cancel"] if job_id in self.jobs:
                return web.json_response(job_document(self.jobs[job_id]), status=202)
            case "GET", ["jobs", job_id, "logs"] if job_id in self.jobs:
                if request.query.get("follow") == "1":
                    return await self._follow(request, job_id)
                return self._lines(request, job_id)
        return problem(404, "not_found", "There is no such job; `cronium jobs` lists those there are.")

    def _page(self, request: web.Request) -> web.Response:
        status = request.query.get("status")
        found = [job for job in reversed(self.jobs.values()) if status in (None, job.status.value)]
        begin = int(request.query.get("cursor", 0))
        end = begin + min(int(request.query["limit"]), self.page_size)
        cursor = str(end) if end < len(found) else None
        return web.json_response({"items": [job_document(job) for job in found[begin:end]], "next_cursor": cursor})

    def _lines(self, request: web.Request, job_id: str) -> web.Response:
        after, limit = int(request.query["after"]), min(int(request.query["limit"]), self.page_size)
        rest = [line for line in self.lines[job_id] if line.seq > after]
        page = rest[:limit]
        return web.json_response(
            {
                "lines": [line_document(line) for line in page],
                "next_after": page[-1].seq if page else after,
                "complete": self.jobs[job_id].status.is_final and len(page) == len(rest),
            }
        )

    async def _follow(self, request: web.Request, job_id: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        after = int(request.query["after"])
        rest = [line for line in self.lines[job_id] if line.seq > after]
        told = (
            self.plays.pop(0) if self.plays else [message("lines", lines=rest), message("end", job=self.jobs[job_id])]
        )
        for part in told:
            if part == CUT:
                await response.write(b'{"type": "lines", "lin')
                assert request.transport is not None
                request.transport.abort()
                return response
            if part == HOLD:
                self.followed.set()
                await self.release.wait()
                continue
            await response.write(json.dumps(part).encode() + b"\n")
        return response


def problem(status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> web.Response:
    document = {"type": "about:blank", "title": "Problem", "status": status, "code": code, "detail": detail}
    return web.json_response(
        {**document, "errors": errors or [], "request_id": "req_1"},
        status=status,
        content_type="application/problem+json",
    )


@asynccontextmanager
async def open_fake_server(port: int = 0) -> AsyncIterator[FakeServer]:
    server = FakeServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        server.release.set()
        await runner.cleanup()
