"""`cronium why`: the journal of a job in sentences, fetched whole and harmless to a terminal."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from orchestrator.model.documents import time_text
from orchestrator.model.jobs import Job, JobStatus, Reason, Timings
from tests.cli.conftest import Cli
from tests.cli.fake_server import START, FakeServer, failed, make_job, named

SERVER = "4f2a:alpha:100:aaaaaaaa"
FIRST, SECOND, THIRD = (f"job_{number:026}" for number in (1, 2, 3))


@dataclass(slots=True)
class JournalServer:
    """The fake server, with journals that come in pages of at most `page_size` entries."""

    server: FakeServer = field(default_factory=FakeServer)
    journals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    page_size: int = 1000
    asked: list[str] = field(default_factory=list)

    def add(self, job: Job, *told: tuple[float, str, str, dict[str, Any]]) -> Job:
        """A job, and its entries as (seconds after the start, kind, by, data)."""
        self.journals[job.id] = [
            {
                "subject": job.id,
                "seq": seq,
                "ts": time_text(START + timedelta(seconds=seconds)),
                "kind": kind,
                "by": by,
                "data": data,
            }
            for seq, (seconds, kind, by, data) in enumerate(told, start=1)
        ]
        return self.server.add(job)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        job_id = request.path.removeprefix("/api/v3/jobs/").removesuffix("/journal")
        if not request.path.endswith("/journal") or job_id not in self.journals:
            return await self.server.answer(request)
        after, limit = int(request.query["after"]), min(int(request.query["limit"]), self.page_size)
        rest = [entry for entry in self.journals[job_id] if entry["seq"] > after]
        page = rest[:limit]
        final = self.server.jobs[job_id].status.is_final
        return web.json_response(
            {
                "entries": page,
                "next_after": page[-1]["seq"] if page else after,
                "complete": final and len(page) == len(rest),
            }
        )


@asynccontextmanager
async def open_journal_server() -> AsyncIterator[JournalServer]:
    server = JournalServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def journals() -> AsyncIterator[JournalServer]:
    async with open_journal_server() as server:
        yield server


@pytest.fixture
def cronium(lonely: Cli, journals: JournalServer) -> Cli:
    lonely.env.update(CRONIUM_URL=journals.server.url, CRONIUM_TOKEN=journals.server.token or "")
    return lonely


QUEUED = (0.0, "queued", "token:admin", {"executor": "process", "trigger": "api"})
CLAIMED = (0.5, "claimed", SERVER, {"attempt": 1, "fence": 1})
STARTED = (1.0, "started", SERVER, {"attempt": 1})
FAILED = (3.0, "finished", SERVER, {"status": "failed", "reason": "exit_code", "message": "It said 3.", "attempt": 1})


async def test_a_failed_job_is_told_line_by_line_with_times_and_what_to_do(cronium, journals):
    journals.add(failed(FIRST), QUEUED, CLAIMED, STARTED, FAILED)
    answer = await cronium("why", FIRST)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        f"{FIRST} (hello.sh): failed",
        "",
        "2026-05-04 10:30:00  The token 'admin' queued it over the API, to run with the process executor.",
        "2026-05-04 10:30:00  The server on alpha (process 100) claimed it for attempt 1 after 500 ms in the queue.",
        "2026-05-04 10:30:01  Its script was started; setting it up took 500 ms.",
        "2026-05-04 10:30:03  It failed 2.0 s after its script was started: It said 3.",
        f"advice               The script itself says that it failed. Its last lines: `cronium logs {FIRST} --tail 50`.",
    ]
    assert (await cronium("why", "last")).out == answer.out


async def test_as_json_the_sentences_have_kinds_and_times(cronium, journals):
    journals.add(failed(FIRST), QUEUED, FAILED)
    told = json.loads((await cronium("why", FIRST, "--json")).out)
    assert (told["job"], told["status"]) == (FIRST, "failed")
    assert [(sentence["kind"], sentence["at"]) for sentence in told["sentences"]] == [
        ("queued", "2026-05-04T10:30:00.000000Z"),
        ("finished", "2026-05-04T10:30:03.000000Z"),
        ("advice", None),
    ]
    assert told["sentences"][1]["text"] == "It failed: It said 3."


async def test_a_journal_of_many_pages_is_told_whole(cronium, journals):
    journals.page_size = 10
    again = [(float(n), "retrying", SERVER, {"attempt": n, "delay_seconds": 1, "message": "No."}) for n in range(1, 35)]
    journals.add(make_job(FIRST, status=JobStatus.QUEUED, started_at=None, finished_at=None), QUEUED, *again)
    answer = await cronium("why", FIRST)
    assert answer.out.count("Attempt ") == 34
    assert "Attempt 34 failed: No. By its retry policy attempt 35 follows after a delay of 1.0 s." in answer.out


async def test_a_job_that_waits_says_behind_how_many(cronium, journals):
    waiting = {"status": JobStatus.QUEUED, "started_at": None, "finished_at": None, "timings": Timings()}
    journals.add(make_job(FIRST, status=JobStatus.RUNNING, finished_at=None))
    journals.add(make_job(SECOND, **waiting))
    journals.add(make_job(THIRD, **waiting, created_at=START + timedelta(seconds=1)), QUEUED)
    answer = await cronium("why", THIRD)
    assert answer.code == 0
    assert answer.out.splitlines()[-1].startswith("now                  It has been waiting for a slot for ")
    assert "At most 1 queued job comes before it, and 1 job runs with the process executor." in answer.out


async def test_a_job_that_has_ended_costs_no_look_at_the_others(cronium, journals):
    journals.add(failed(FIRST), QUEUED, FAILED)
    await cronium("why", FIRST)
    assert journals.asked == [f"/api/v3/jobs/{FIRST}/journal?after=0&limit=1000", f"/api/v3/jobs/{FIRST}"]


async def test_what_people_and_scripts_named_is_shown_and_never_obeyed(cronium, journals):
    """S09: neither a line of its own nor a control character gets through to the terminal."""
    evil = "\x1b]52;c;eA==\a\r\n2026-05-04 10:30:00  It succeeded.\u202e"
    journals.add(
        make_job(FIRST, spec=named(evil), status=JobStatus.FAILED, reason=Reason.LOST, step=evil, run_id="run_1"),
        (0, "queued", f"token:{evil}", {}),
        (1, evil, f"a:{evil}:1:b", {evil: evil}),
        (2, "retrying", evil, {"attempt": evil, "policy": {evil: evil}, "message": evil}),
        (3, "finished", evil, {"status": evil, "message": evil, "reason": evil}),
    )
    answer = await cronium("why", FIRST)
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 7
    as_json = (await cronium("why", FIRST, "--json")).out
    for text in (answer.out, as_json):
        assert {character for character in text if not character.isprintable()} == {"\n"}


async def test_a_job_that_is_not_there_is_the_usual_error(cronium):
    answer = await cronium("why", FIRST)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "cronium: There is no such job; `cronium jobs` lists those there are.\n"
    assert (await cronium("why", "last")).err == "cronium: There are no jobs yet.\n"
    assert (await cronium("why", "../x")).code == 1
