"""Secrets at the door: values go in and never come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.jobs.event_document import parse_event
from orchestrator.jobs.vault import Vault
from orchestrator.stores.key_ring import KeyFile
from orchestrator.stores.sealing import AesSealer
from tests.api.door import Door, open_door

VALUE = "hunter-22-and-more"
SECRETS = "/api/v3/secrets"


@pytest.fixture
async def keeping(tmp_path: Path):
    """A door whose server keeps secrets."""
    async with open_door(tmp_path) as door:
        vault = Vault(store=door.store, clock=door.context.clock, sealer=AesSealer(KeyFile(tmp_path / "secret.key")))
        object.__setattr__(door.context, "vault", vault)
        yield door


async def put(door: Door, **changes):
    return await door.ask("POST", SECRETS, json={"name": "API_KEY", "value": VALUE, **changes})


async def test_a_secret_is_made_and_changed_and_its_value_is_in_no_answer(keeping):
    made = await put(keeping, description="of the API")
    assert made.status == 201
    assert made.headers["Location"] == f"{SECRETS}/API_KEY"
    assert made.body["version"] == 1
    listed = await keeping.get(SECRETS)
    shown = await keeping.get(f"{SECRETS}/API_KEY")
    assert listed.body["items"] == [shown.body] == [made.body]
    assert set(shown.body) == {"name", "event_id", "description", "version", "created_at", "updated_at", "last_used_at"}
    assert VALUE not in repr([made, listed, shown])


async def test_a_secret_of_an_event_is_apart_from_the_global_one(keeping):
    event = await keeping.context.registrar.create(parse_event({"name": "nightly", "bash": "true"}), by="t")
    await put(keeping)
    made = await put(keeping, event="nightly", value="of-the-event")
    assert made.body["event_id"] == event.id
    only = await keeping.get(f"{SECRETS}?event=nightly")
    assert [item["event_id"] for item in only.body["items"]] == [event.id]
    gone = await keeping.ask("POST", f"{SECRETS}/API_KEY/delete?event=nightly")
    assert gone.status == 200
    assert [item["event_id"] for item in (await keeping.get(SECRETS)).body["items"]] == [None]
    assert (await put(keeping, event="no-such")).status == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "API_KEY"}, "value"),
        ({"value": VALUE}, "name"),
        ({"name": "API_KEY", "value": 12345678}, "value"),
        ({"name": "a b", "value": VALUE}, "name"),
        ({"name": "API_KEY", "value": "short"}, "value"),
        ({"name": "API_KEY", "value": VALUE, "description": "x" * 501}, "description"),
        ({"name": "API_KEY", "value": VALUE, VALUE: 1}, ""),
        ([VALUE], ""),
    ],
)
async def test_what_is_wrong_is_named_and_no_value_is_repeated(keeping, body, path: str):
    answer = await keeping.ask("POST", SECRETS, json=body)
    assert answer.status == 422
    assert [fault["path"] for fault in answer.body["errors"]] == [path]
    assert VALUE not in repr(answer.body)
    assert "12345678" not in repr(answer.body)


async def test_a_body_that_is_no_json_is_not_repeated(keeping):
    answer = await keeping.ask("POST", SECRETS, data=f'{{"value": "{VALUE}')
    assert answer.status in {400, 422}
    assert VALUE not in repr(answer.body)


async def test_readers_see_names_writers_write_and_only_an_admin_rotates(keeping):
    await put(keeping)
    tried = {
        who: [
            (await keeping.ask("GET", SECRETS, who=who)).status,
            (await keeping.ask("POST", SECRETS, who=who, json={"name": "B_KEY", "value": VALUE})).status,
            (await keeping.ask("POST", "/api/v3/secret-key/rotate", who=who)).status,
        ]
        for who in ("read", "run", "write", "admin")
    }
    assert tried == {
        "read": [200, 403, 403],
        "run": [200, 403, 403],
        "write": [200, 201, 403],
        "admin": [200, 200, 200],
    }


async def test_the_key_is_rotated(keeping):
    await put(keeping)
    done = await keeping.ask("POST", "/api/v3/secret-key/rotate?forget=1")
    assert done.body["rewrapped"] == 1
    assert (await keeping.ask("POST", "/api/v3/secret-key/rotate?forget=perhaps")).status == 422
    assert (await put(keeping)).body["version"] == 2


async def test_what_is_not_there_is_not_found(keeping):
    assert (await keeping.get(f"{SECRETS}/API_KEY")).status == 404
    assert (await keeping.ask("POST", f"{SECRETS}/API_KEY/delete")).status == 404


async def test_lists_are_paged(keeping):
    for number in range(5):
        await put(keeping, name=f"K{number}")
    first = await keeping.get(f"{SECRETS}?limit=3")
    rest = await keeping.get(f"{SECRETS}?limit=3&cursor={first.body['next_cursor']}")
    assert [item["name"] for item in first.body["items"] + rest.body["items"]] == [f"K{number}" for number in range(5)]
    assert rest.body["next_cursor"] is None


async def test_a_server_without_secrets_says_so(tmp_path: Path):
    async with open_door(tmp_path) as door:
        assert (await put(door)).status == 404
        assert (await door.get(SECRETS)).status == 404
