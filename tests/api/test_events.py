"""Events by API: created, listed, shown, run, paused, archived, and when they fire."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.api.events import MAX_FIRES
from tests.api.door import Door, Reply

NIGHTLY = {"name": "nightly", "bash": "echo hello", "schedule": "30 2 * * *"}
URL = "https://hooks.example.org/services/T0KEN?key=s3cret"


async def create(door: Door, document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    reply = await door.ask("POST", "/api/v3/events", who="write", json={**(document or NIGHTLY), **changes})
    assert reply.status == 201, reply.body
    return reply.body


async def change(door: Door, event: str, verb: str) -> Reply:
    return await door.ask("POST", f"/api/v3/events/{event}/{verb}", who="write")


async def test_a_created_event_is_active_says_when_it_fires_and_is_found_by_id_and_by_name(door: Door):
    reply = await door.ask("POST", "/api/v3/events", who="write", json={**NIGHTLY, "description": "Every night."})
    event = reply.body
    assert (reply.status, reply.headers["Location"]) == (201, f"/api/v3/events/{event['id']}")
    assert event == {
        "id": event["id"],
        "name": "nightly",
        "status": "active",
        "description": "Every night.",
        "schedule": {"cron": "30 2 * * *"},
        "max_executions": None,
        "executions": 0,
        "next_fire_at": "2026-01-01T02:30:00.000000Z",
        "notify": None,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:00.000000Z",
        "spec": {"bash": "echo hello"},
    }
    for reference in (event["id"], "nightly"):
        assert (await door.get(f"/api/v3/events/{reference}", who="read")).body == event


async def test_a_name_may_hold_anything(door: Door):
    event = await create(door, name="a/b ?#%2f ü")
    shown = await door.get("/api/v3/events/a%2Fb%20%3F%23%252f%20%C3%BC")
    assert (shown.status, shown.body) == (200, event)


async def test_what_may_be_secret_of_an_event_is_not_shown(door: Door):
    """Neither the values of the environment nor the path of the webhook."""
    said = {"env": {"API_KEY": "s3cret"}, "notify": {"failure": {"webhook": URL}}}
    event = await create(door, **said)
    assert event["spec"]["env"] == ["API_KEY"]
    assert event["notify"] == {"failure": {"webhook": "https://hooks.example.org/***"}}
    for path in ("", "/nightly", "/nightly/journal", "/nightly/next"):
        reply = await door.get(f"/api/v3/events{path}")
        assert reply.status == 200
        assert "s3cret" not in str(reply.body)
        assert "T0KEN" not in str(reply.body)


async def test_every_fault_of_an_event_is_named(door: Door):
    document = {"bash": "true", "schedule": "30 25 * * *", "max_executions": 0, "notifi": {}}
    reply = await door.ask("POST", "/api/v3/events", json=document)
    assert (reply.status, reply.body["code"]) == (422, "invalid")
    assert sorted(error["path"] for error in reply.body["errors"]) == ["", "max_executions", "notifi", "schedule"]
    assert (await door.get("/api/v3/events")).body["items"] == []


async def test_a_name_is_taken_until_its_event_is_archived(door: Door):
    first = await create(door)
    taken = await door.ask("POST", "/api/v3/events", json=NIGHTLY)
    assert (taken.status, taken.body["code"]) == (409, "event_name_taken")
    assert (await change(door, "nightly", "archive")).body["status"] == "archived"
    second = await create(door)
    assert (await door.get("/api/v3/events/nightly")).body["id"] == second["id"]
    assert (await door.get(f"/api/v3/events/{first['id']}")).body["status"] == "archived"


async def test_events_are_listed_by_status_page_by_page_and_without_their_scripts(door: Door):
    created = [(await create(door, name=f"event-{number}"))["id"] for number in range(5)]
    await change(door, "event-1", "pause")
    await change(door, "event-2", "archive")
    first = (await door.get("/api/v3/events?limit=3")).body
    rest = (await door.get(f"/api/v3/events?limit=3&cursor={first['next_cursor']}")).body
    assert [event["id"] for event in first["items"] + rest["items"]] == [created[at] for at in (4, 3, 1, 0)]
    assert rest["next_cursor"] is None
    assert "spec" not in first["items"][0]
    for status, expected in (("active", [4, 3, 0]), ("paused", [1]), ("archived", [2])):
        page = (await door.get(f"/api/v3/events?status={status}")).body
        assert [event["id"] for event in page["items"]] == [created[at] for at in expected]


@pytest.mark.parametrize(
    ("query", "path"), [("status=gone", "status"), ("cursor=x", "cursor"), ("limit=0", "limit"), ("limit=201", "limit")]
)
async def test_a_wrong_parameter_of_the_list_is_named(door: Door, query: str, path: str):
    reply = await door.get(f"/api/v3/events?{query}")
    assert reply.status == 422
    assert [error["path"] for error in reply.body["errors"]] == [path]


async def test_an_event_is_run_by_hand_with_its_own_input_or_a_given_one(door: Door):
    event = await create(door, input={"day": "monday"})
    runs = [("", None), ("{}", None), ('{"input": {"day": "friday"}}', {"day": "friday"}), ('{"input": null}', None)]
    inputs = []
    for body, _ in runs:
        reply = await door.ask("POST", "/api/v3/events/nightly/run", who="run", data=body)
        job = reply.body
        assert (reply.status, reply.headers["Location"]) == (202, f"/api/v3/jobs/{job['id']}")
        assert (job["event_id"], job["trigger"], job["name"]) == (event["id"], "manual", "nightly")
        assert (job["scheduled_at"], job["held"]) == (None, False)
        inputs.append(job["input"])
    assert inputs == [{"day": "monday"}, {"day": "monday"}, {"day": "friday"}, None]
    assert (await door.get("/api/v3/events/nightly")).body["executions"] == 4


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [("[]", 422, ""), ('{"inputs": 1}', 422, "inputs"), ('{"input": 1, "env": {}}', 422, "env"), ("{", 400, None)],
)
async def test_what_a_run_does_not_take_is_named_and_runs_nothing(door: Door, body: str, status: int, path: str | None):
    await create(door)
    reply = await door.ask("POST", "/api/v3/events/nightly/run", data=body)
    assert reply.status == status
    assert [error["path"] for error in reply.body["errors"]] == ([] if path is None else [path])
    assert (await door.get("/api/v3/jobs")).body["items"] == []


async def test_the_same_run_with_the_same_key_is_one_job_by_id_and_by_name(door: Door):
    """M33: also when both come at the same time, and when the event has made its last job with it."""
    event = await create(door, max_executions=2)
    headers = {"Idempotency-Key": "deploy-17"}
    answers = await asyncio.gather(
        *(
            door.ask("POST", f"/api/v3/events/{reference}/run", headers=headers)
            for reference in ("nightly", event["id"]) * 3
        )
    )
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["id"] for answer in answers}) == 1
    other = await door.ask("POST", "/api/v3/events/nightly/run", headers=headers, json={"input": 1})
    assert (other.status, other.body["code"]) == (409, "idempotency_key_reused")
    assert (await door.get("/api/v3/events/nightly")).body["executions"] == 1


async def test_a_paused_event_fires_no_more_and_is_still_run_by_hand(door: Door):
    await create(door)
    paused = (await change(door, "nightly", "pause")).body
    assert (paused["status"], paused["next_fire_at"]) == ("paused", None)
    assert (await change(door, "nightly", "pause")).body == paused
    assert (await door.ask("POST", "/api/v3/events/nightly/run")).status == 202
    active = (await change(door, "nightly", "activate")).body
    assert (active["status"], active["next_fire_at"]) == ("active", "2026-01-01T02:30:00.000000Z")


async def test_an_archived_event_is_neither_run_nor_activated(door: Door):
    event = await create(door)
    await change(door, "nightly", "archive")
    for verb in ("run", "activate", "pause"):
        reply = await change(door, event["id"], verb)
        assert (reply.status, reply.body["code"]) == (409, "event_archived")
    assert (await change(door, event["id"], "archive")).status == 200
    assert (await change(door, "nightly", "run")).status == 404


async def test_an_event_makes_no_more_jobs_than_it_may(door: Door):
    await create(door, max_executions=1)
    assert (await door.get("/api/v3/events/nightly/next?count=5")).body["times"] == ["2026-01-01T02:30:00.000000Z"]
    assert (await door.ask("POST", "/api/v3/events/nightly/run")).status == 202
    again = await door.ask("POST", "/api/v3/events/nightly/run")
    assert (again.status, again.body["code"]) == (409, "event_exhausted")
    shown = (await door.get("/api/v3/events/nightly")).body
    assert (shown["executions"], shown["max_executions"], shown["next_fire_at"]) == (1, 1, None)
    assert (await door.get("/api/v3/events/nightly/next")).body["times"] == []


async def test_the_next_fires_are_told(door: Door):
    await create(door)
    reply = await door.get("/api/v3/events/nightly/next?count=3", who="read")
    assert reply.body["status"] == "active"
    assert reply.body["times"] == [f"2026-01-0{day}T02:30:00.000000Z" for day in (1, 2, 3)]
    assert len((await door.get("/api/v3/events/nightly/next")).body["times"]) == 10
    assert len((await door.get(f"/api/v3/events/nightly/next?count={MAX_FIRES}")).body["times"]) == MAX_FIRES
    for count in ("0", str(MAX_FIRES + 1), "x"):
        wrong = await door.get(f"/api/v3/events/nightly/next?count={count}")
        assert (wrong.status, wrong.body["errors"][0]["path"]) == (422, "count")


async def test_intervals_count_from_the_creation_and_begin_with_the_time_that_the_event_shows(door: Door):
    event = await create(door, schedule={"every": "90m"})
    assert event["schedule"] == {"every": "1h30m"}
    door.context.clock.advance(timedelta(minutes=10))
    times = (await door.get("/api/v3/events/nightly/next?count=2")).body["times"]
    assert times == ["2026-01-01T01:30:00.000000Z", "2026-01-01T03:00:00.000000Z"]
    assert times[0] == event["next_fire_at"]


async def test_a_paused_event_says_when_it_would_fire_and_others_have_no_times(door: Door):
    await create(door)
    await create(door, {"name": "by hand", "bash": "true"})
    event = (await change(door, "nightly", "pause")).body
    reply = await door.get("/api/v3/events/nightly/next?count=1")
    assert (reply.body["status"], reply.body["times"]) == ("paused", ["2026-01-01T02:30:00.000000Z"])
    assert (await door.get("/api/v3/events/by%20hand/next")).body["times"] == []
    await create(door, name="poll", schedule={"every": "1h"})
    await change(door, "poll", "pause")
    door.context.clock.advance(timedelta(minutes=10))
    assert (await door.get("/api/v3/events/poll/next?count=1")).body["times"] == ["2026-01-01T01:10:00.000000Z"]
    assert (await change(door, "poll", "activate")).body["next_fire_at"] == "2026-01-01T01:10:00.000000Z"
    await change(door, "nightly", "archive")
    assert (await door.get(f"/api/v3/events/{event['id']}/next")).body["times"] == []


async def test_the_journal_of_an_event_says_who_changed_it(door: Door):
    event = await create(door)
    await change(door, "nightly", "pause")
    open_ = (await door.get("/api/v3/events/nightly/journal")).body
    await change(door, "nightly", "archive")
    page = (await door.get(f"/api/v3/events/{event['id']}/journal?after=1")).body
    assert [(entry["kind"], entry["by"]) for entry in page["entries"]] == [
        ("event_paused", "token:write of tests"),
        ("event_archived", "token:write of tests"),
    ]
    assert (open_["complete"], page["complete"], page["next_after"]) == (False, True, 3)


async def test_jobs_are_listed_by_event(door: Door):
    event = await create(door)
    other = await door.submit()
    job = (await door.ask("POST", "/api/v3/events/nightly/run")).body
    for reference in ("nightly", event["id"]):
        page = (await door.get(f"/api/v3/jobs?event_id={reference}")).body
        assert [item["id"] for item in page["items"]] == [job["id"]]
    assert (await door.get("/api/v3/jobs?event_id=nightly&status=failed")).body["items"] == []
    assert other.id in str((await door.get("/api/v3/jobs")).body)
    gone = await door.get("/api/v3/jobs?event_id=weekly")
    assert (gone.status, gone.body["code"]) == (404, "not_found")


async def test_a_job_that_waits_for_a_place_says_so(door: Door):
    await create(door, concurrency=1)
    first, second = [(await door.ask("POST", "/api/v3/events/nightly/run")).body for _ in range(2)]
    assert (first["held"], second["held"]) == (False, True)
    assert first["concurrency_key"] == second["concurrency_key"]


@pytest.mark.parametrize("path", ["nobody", "evt_0", "nobody/next", "nobody/journal"])
async def test_an_event_that_is_not_there_is_not_found(door: Door, path: str):
    reply = await door.get(f"/api/v3/events/{path}")
    assert (reply.status, reply.body["code"]) == (404, "not_found")
