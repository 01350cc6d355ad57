"""Variables by API: written, read, listed, deleted, on conditions, by scope; and which events name them."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.door import Door, Reply

PATH = "/api/v3/variables"


async def put(
    door: Door, key: str, value: Any, *, query: str = "", headers: dict[str, str] | None = None, **more: Any
) -> Reply:
    body = {"value": value, **more}
    return await door.ask("PUT", f"{PATH}/{key}{query}", who="write", json=body, headers=headers or {})


async def test_a_variable_is_written_read_and_deleted(door: Door):
    written = await put(door, "a%2Fb", {"rows": [1, None]}, description="What for.")
    assert (written.status, written.headers["ETag"]) == (200, '"1"')
    assert written.body == {
        "scope": "global",
        "key": "a/b",
        "value": {"rows": [1, None]},
        "version": 1,
        "description": "What for.",
        "updated_at": "2026-01-01T00:00:00.000000Z",
        "updated_by": "token:write of tests",
    }
    shown = await door.get(f"{PATH}/a%2Fb", who="read")
    assert (shown.status, shown.headers["ETag"], shown.body) == (200, '"1"', written.body)
    gone = await door.ask("DELETE", f"{PATH}/a%2Fb", who="write")
    assert (gone.status, gone.body["version"]) == (200, 1)
    for method in ("GET", "DELETE"):
        missing = await door.ask(method, f"{PATH}/a%2Fb")
        assert (missing.status, missing.body["code"]) == (404, "variable_not_found")


async def test_a_write_on_a_condition_that_does_not_hold_says_the_version(door: Door):
    assert (await put(door, "k", 1, headers={"If-None-Match": "*"})).status == 200
    assert (await put(door, "k", 2, headers={"If-Match": '"1"'})).headers["ETag"] == '"2"'
    for headers in ({"If-None-Match": "*"}, {"If-Match": '"1"'}):
        refused = await put(door, "k", 3, headers=headers)
        assert (refused.status, refused.body["code"], refused.headers["ETag"]) == (412, "version_mismatch", '"2"')
    refused = await door.ask("DELETE", f"{PATH}/k", who="write", headers={"If-Match": '"1"'})
    assert refused.status == 412
    absent = await put(door, "other", 3, headers={"If-Match": '"1"'})
    assert (absent.status, "ETag" in absent.headers) == (412, False)
    assert (await door.get(f"{PATH}/k")).body["value"] == 2


@pytest.mark.parametrize(
    "headers",
    [{"If-Match": "1"}, {"If-Match": "*"}, {"If-None-Match": '"1"'}, {"If-Match": '"1"', "If-None-Match": "*"}],
)
async def test_a_condition_that_is_none_is_refused(door: Door, headers: dict[str, str]):
    assert (await put(door, "k", 1, headers=headers)).status == 422


async def test_variables_are_listed_by_key_page_by_page(door: Door):
    for key in ("b", "a.2", "a.1", "c"):
        await put(door, key, key)
    first = (await door.get(f"{PATH}?limit=3")).body
    rest = (await door.get(f"{PATH}?limit=3&cursor={first['next_cursor']}")).body
    assert [item["key"] for item in first["items"] + rest["items"]] == ["a.1", "a.2", "b", "c"]
    assert rest["next_cursor"] is None
    some = (await door.get(f"{PATH}?prefix=a.")).body
    assert [item["value"] for item in some["items"]] == ["a.1", "a.2"]


async def test_an_event_has_variables_of_its_own(door: Door):
    event = (await door.ask("POST", "/api/v3/events", json={"name": "nightly", "bash": "true"})).body
    await put(door, "k", "own", query="?scope=event:nightly")
    assert (await door.get(f"{PATH}/k")).status == 404
    own = await door.get(f"{PATH}/k?scope=event:{event['id']}")
    assert (own.body["value"], own.body["scope"]) == ("own", f"event:{event['id']}")
    assert (await door.get(f"{PATH}/k?scope=event:missing")).status == 404
    for scope in ("event", "event:", "job:1"):
        assert (await door.get(f"{PATH}/k?scope={scope}")).status == 422


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("cronium.x", "key_reserved"),
        ("CRONIUM_X", "key_reserved"),
        ("a%0Ab", "key_invalid"),
        ("x" * 256, "key_invalid"),
    ],
)
async def test_a_key_that_cannot_be_used_is_refused(door: Door, key: str, code: str):
    refused = await put(door, key, 1)
    assert (refused.status, refused.body["code"]) == (422, code)


async def test_a_value_beyond_the_limit_is_refused_with_where_to_put_it(door: Door):
    body = io.BytesIO(json.dumps({"value": "x" * (1024 * 1024)}).encode())
    refused = await door.ask("PUT", f"{PATH}/k", who="write", data=body)
    assert (refused.status, refused.body["code"]) == (413, "too_large")
    assert "artifact" in refused.body["detail"]


@pytest.mark.parametrize("key", ["{x}", "a/b", "100%", "%2F", "a b?c#d", "größe", "..."])
async def test_a_key_may_hold_anything_that_can_be_printed(door: Door, key: str):
    path = quote(key, safe="")
    assert (await put(door, path, 1)).body["key"] == key
    assert (await door.get(f"{PATH}/{path}")).body["key"] == key


@pytest.mark.parametrize("body", [[], {}, {"value": 1, "more": 2}, {"value": 1, "description": 5}])
async def test_a_body_of_another_form_is_refused(door: Door, body: Any):
    assert (await door.ask("PUT", f"{PATH}/k", json=body)).status == 422


async def test_reading_needs_read_and_changing_needs_write(door: Door):
    assert (await door.ask("PUT", f"{PATH}/k", who="run", json={"value": 1})).status == 403
    assert (await door.ask("DELETE", f"{PATH}/k", who="read")).status == 403
    assert (await door.ask("GET", PATH, who=None)).status == 401


async def test_the_events_that_name_a_key_are_found(door: Door):
    for name, script in (("one", "echo $(cronium_get region)"), ("two", "true"), ("three", "true # region")):
        await door.ask("POST", "/api/v3/events", json={"name": name, "bash": script})
    await door.ask("POST", "/api/v3/events", json={"name": "four", "bash": "true", "input": {"of": "region"}})
    await door.ask("POST", "/api/v3/events/three/archive")
    found = (await door.get(f"{PATH}/region/usage", who="read")).body
    assert [(event["name"], event["where"]) for event in found["events"]] == [("four", ["input"]), ("one", ["bash"])]
