"""`cronium jobs` and `cronium cancel`."""

from __future__ import annotations

import json
from datetime import timedelta

from orchestrator.model.documents import job_document
from orchestrator.model.jobs import JobStatus, Timings
from tests.cli.fake_server import START, failed, make_job, make_lines, named, problem, running

FIRST, SECOND, THIRD = (f"job_{number:026}" for number in (1, 2, 3))


async def test_jobs_are_listed_newest_first(cronium, server):
    server.add(make_job(FIRST))
    server.add(failed(SECOND, spec=named("\x1b[2Jevil\n"), timings=Timings(execution_ms=125_000)))
    server.add(make_job(THIRD, status=JobStatus.QUEUED, started_at=None, finished_at=None, timings=Timings()))
    answer = await cronium("jobs")
    assert (answer.code, answer.err) == (0, "")
    assert [line.split("  ") for line in _columns(answer.out)] == [
        ["ID", "STATUS", "REASON", "EXECUTOR", "NAME", "STARTED", "DURATION"],
        [THIRD, "queued", "-", "process", "hello.sh", "-", "-"],
        [SECOND, "failed", "exit_code", "process", "\\x1b[2Jevil\\n", "2026-05-04 10:30:01", "2m 05s"],
        [FIRST, "succeeded", "-", "process", "hello.sh", "2026-05-04 10:30:01", "2.0s"],
    ]
    assert (await cronium("jobs", "list")).out == answer.out


def _columns(text: str) -> list[str]:
    """Lines with two spaces between the columns."""
    lines = text.splitlines()
    return ["  ".join(part.strip() for part in line.split("  ") if part.strip()) for line in lines]


async def test_jobs_without_any_are_a_heading(cronium):
    answer = await cronium("jobs")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.split() == ["ID", "STATUS", "REASON", "EXECUTOR", "NAME", "STARTED", "DURATION"]


async def test_jobs_are_filtered_and_limited_by_the_server(cronium, server):
    for number in range(30):
        server.add(make_job(f"job_{number:026}") if number % 2 else failed(f"job_{number:026}"))
    answer = await cronium("jobs", "--status", "failed", "--limit", "3")
    assert [line.split()[0] for line in answer.out.splitlines()[1:]] == [f"job_{n:026}" for n in (28, 26, 24)]
    assert answer.err == "There are more: --all, or --limit.\n"
    assert server.asked == [("GET", "/api/v3/jobs?status=failed&limit=3")]


async def test_all_jobs_are_fetched_page_by_page(cronium, server):
    server.page_size = 7
    for number in range(30):
        server.add(make_job(f"job_{number:026}"))
    answer = await cronium("jobs", "list", "--all", "--json")
    found = json.loads(answer.out)
    assert [item["id"] for item in found["items"]] == [f"job_{n:026}" for n in reversed(range(30))]
    assert found["next_cursor"] is None
    assert len(server.asked) == 5
    assert len((await cronium("jobs", "--limit", "9")).out.splitlines()) == 10


async def test_a_job_is_shown_whole(cronium, server):
    job = server.add(
        failed(FIRST, message="It failed:\nsee the log.", output={"rows": 3}, input=0, condition=False, step="load"),
        make_lines("a", "b"),
    )
    shown = dict(line.split("  ", 1) for line in (await cronium("jobs", "show", FIRST)).out.splitlines())
    assert {name: value.strip() for name, value in shown.items()} == {
        "job": FIRST,
        "name": "hello.sh",
        "status": "failed",
        "reason": "exit_code",
        "message": "It failed:\\nsee the log.",
        "exit code": "3",
        "executor": "process",
        "attempt": "1",
        "trigger": "api",
        "created": "2026-05-04 10:30:00",
        "started": "2026-05-04 10:30:01",
        "finished": "2026-05-04 10:30:03",
        "duration": "2.0s",
        "phases": "queued 12ms, setup 8ms, execution 2.0s, cleanup 3ms",
        "step": "load",
        "input": "0",
        "output": '{"rows": 3}',
        "condition": "false",
        "log": "2 lines, 2 B",
    }
    assert json.loads((await cronium("jobs", "show", "last", "--json")).out) == job_document(job)


async def test_the_newest_job_is_last(cronium, server):
    server.add(make_job(FIRST))
    server.add(make_job(SECOND, created_at=START + timedelta(hours=1)))
    assert json.loads((await cronium("jobs", "show", "last", "--json")).out)["id"] == SECOND


async def test_a_job_that_is_not_there_is_said(cronium, server):
    assert (await cronium("jobs", "show", "last")).err == "cronium: There are no jobs yet.\n"
    answer = await cronium("jobs", "show", FIRST)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "cronium: There is no such job; `cronium jobs` lists those there are.\n"


async def test_a_word_that_cannot_be_an_id_is_not_sent(cronium, server):
    for word in ("..", "../jobs", "a b", "job_1/cancel", "%2e%2e", ""):
        answer = await cronium("jobs", "show", word)
        assert (answer.code, answer.err.startswith("cronium: There is no job ")) == (1, True)
    assert server.asked == []


async def test_jobs_are_cancelled(cronium, server):
    server.add(running(make_job(FIRST)))
    server.add(make_job(SECOND))
    answer = await cronium("cancel", FIRST, SECOND)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{FIRST} is being cancelled\n{SECOND} succeeded\n"
    assert server.asked == [("POST", f"/api/v3/jobs/{FIRST}/cancel"), ("POST", f"/api/v3/jobs/{SECOND}/cancel")]


async def test_cancelling_goes_on_after_a_job_that_is_not_there(cronium, server):
    server.add(running(make_job(SECOND)))
    answer = await cronium("jobs", "cancel", FIRST, "last", "--json")
    assert answer.code == 1
    assert answer.err == "cronium: There is no such job; `cronium jobs` lists those there are.\n"
    assert [job["id"] for job in json.loads(answer.out)] == [SECOND]


async def test_cancelling_stops_where_no_server_answers(cronium, server):
    server.refusal = problem(503, "store_busy", "Another process writes; try again.")
    assert (await cronium("cancel", FIRST)).code == 1
    cronium.env["CRONIUM_URL"] = "http://127.0.0.1:1"
    answer = await cronium("cancel", FIRST, SECOND)
    assert (answer.code, answer.err.count("does not answer")) == (3, 1)
