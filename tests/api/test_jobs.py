"""Submitting, listing, showing and cancelling jobs; health and metrics."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from orchestrator.api.app import Readiness
from tests.api.door import Door, open_door

FIELDS = {
    "id", "status", "reason", "message", "exit_code", "attempt", "executor", "created_at", "started_at", "finished_at",
    "timings", "input", "output", "condition", "progress", "event_id", "run_id", "step", "parent_id", "log",
}  # fmt: skip


async def test_a_submitted_job_is_accepted_queued_and_found_where_the_answer_says(door: Door):
    document = {"python": "print(1)", "name": "one", "input": {"falsy": [0, "", False, None]}, "executor": "process"}
    reply = await door.ask("POST", "/api/v3/jobs", who="run", json=document)
    assert reply.status == 202
    job = reply.body
    assert set(job) >= FIELDS
    assert (job["status"], job["executor"], job["name"]) == ("queued", "process", "one")
    assert job["input"] == {"falsy": [0, "", False, None]}
    assert job["created_at"] == "2026-01-01T00:00:00.000000Z"
    assert reply.headers["Location"] == f"/api/v3/jobs/{job['id']}"
    assert (await door.get(reply.headers["Location"])).body == job


async def test_the_journal_says_which_token_submitted(door: Door):
    job = (await door.ask("POST", "/api/v3/jobs", who="run", json={"bash": "true"})).body
    reply = await door.get(f"/api/v3/jobs/{job['id']}/journal")
    [entry] = reply.body["entries"]
    assert (entry["kind"], entry["by"], entry["seq"]) == ("queued", "token:run of tests", 1)
    assert (reply.body["next_after"], reply.body["complete"]) == (1, False)


async def test_the_type_of_the_body_is_not_asked(door: Door):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = await door.ask("POST", "/api/v3/jobs", headers=headers, data=b'{"bash": "true"}')
    assert reply.status == 202


async def test_jobs_are_listed_newest_first_page_by_page(door: Door):
    submitted = [(await door.submit()).id for _ in range(7)]
    seen: list[str] = []
    cursor = ""
    for _ in range(4):
        page = (await door.get(f"/api/v3/jobs?limit=2{cursor}")).body
        seen += [job["id"] for job in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
        await door.submit()  # what comes later does not shift the pages
    assert seen == submitted[::-1]


async def test_jobs_are_listed_by_status(door: Door):
    job = await door.submit()
    await door.finish(await door.claim(job))
    waiting = await door.submit()
    for status, expected in (("queued", [waiting.id]), ("succeeded", [job.id]), ("failed", [])):
        page = (await door.get(f"/api/v3/jobs?status={status}")).body
        assert [item["id"] for item in page["items"]] == expected
        assert page["next_cursor"] is None


async def test_a_queued_job_is_cancelled_at_once_and_twice_is_once(door: Door):
    job = await door.submit()
    reply = await door.ask("POST", f"/api/v3/jobs/{job.id}/cancel", who="run")
    assert (reply.status, reply.body["status"], reply.body["reason"]) == (202, "cancelled", "cancelled")
    again = await door.ask("POST", f"/api/v3/jobs/{job.id}/cancel", who="run")
    assert (again.status, again.body) == (202, reply.body)


async def test_head_answers_as_get_does_without_the_body(door: Door):
    job = await door.submit()
    got = await door.get(f"/api/v3/jobs/{job.id}")
    head = await door.ask("HEAD", f"/api/v3/jobs/{job.id}")
    assert (head.status, head.headers["Content-Length"]) == (200, got.headers["Content-Length"])


async def test_output_nested_deeper_than_usual_is_still_answered(door: Door):
    deep: list[object] = []
    for _ in range(240):
        deep = [deep]
    reply = await door.ask("POST", "/api/v3/jobs", json={"bash": "true", "input": deep})
    assert reply.status in (202, 422)
    assert (await door.get("/api/v3/jobs")).status == 200


async def test_readiness_is_told_by_the_status_too(tmp_path: Path):
    async def not_ready() -> Readiness:
        return Readiness(ready=False, details={"store": "does not answer"})

    async with open_door(tmp_path, readiness=not_ready) as door:
        reply = await door.get("/readyz", who=None)
        assert reply.status == 503
        assert reply.body == {"status": "unavailable", "details": {"store": "does not answer"}}
        assert (await door.get("/healthz", who=None)).body == {"status": "ok"}


async def test_a_scrape_counts_the_jobs_in_the_store(door: Door):
    job = await door.submit()
    await door.submit()
    await door.claim(job)
    async with door.http.get(f"{door.url}/metrics", headers=door.bearer("read")) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await response.text()
    found = re.findall(r'^cronium_jobs\{executor="process",status="(\w+)"\} (\d+)', text, re.MULTILINE)
    assert dict(found) == {"queued": "0", "running": "2"}


@pytest.mark.parametrize("path", ["/healthz", "/api/v3/jobs"])
async def test_answers_do_not_say_what_they_are_served_by(door: Door, path: str):
    reply = await door.get(path)
    assert reply.headers["Server"] == "cronium"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Cache-Control"] == "no-store"


async def test_the_same_submission_with_the_same_key_is_one_job(door):
    """M33: also when both come at the same time; what is written differently and means the same is the same."""
    headers = {"Idempotency-Key": "deploy-17"}
    bodies = ['{"bash": "true", "name": "a"}', '{ "name":"a", "bash":"true" }']
    answers = await asyncio.gather(
        *(door.ask("POST", "/api/v3/jobs", data=body, headers=headers) for body in bodies * 3)
    )
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["id"] for answer in answers}) == 1
    other = await door.ask("POST", "/api/v3/jobs", json={"bash": "false"}, headers=headers)
    assert (other.status, other.body["code"]) == (409, "idempotency_key_reused")
    theirs = await door.ask("POST", "/api/v3/jobs", json={"bash": "false"}, headers=headers, who="run")
    assert theirs.status == 202
    again = await door.ask("POST", "/api/v3/jobs", json={"bash": "true", "name": "a"})
    assert again.body["id"] != answers[0].body["id"]


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é"])
async def test_a_key_that_is_none_is_named(door, key):
    answer = await door.ask("POST", "/api/v3/jobs", json={"bash": "true"}, headers={"Idempotency-Key": key})
    assert answer.status == 422
    assert [error["path"] for error in answer.body["errors"]] == ["Idempotency-Key"]
    async with door.store.read() as repos:
        assert await repos.jobs.count() == {}
