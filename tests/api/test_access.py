"""Who may do what, on every route of the table, with every kind of caller."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from orchestrator.api.access import CACHED_FOR, Open, Route
from orchestrator.api.routes import all_routes
from orchestrator.model.json import Json
from orchestrator.model.tokens import Scope
from tests.api.door import Door, open_door

ROUTES = all_routes(metrics_public=False)
GUARDED = [route for route in ROUTES if route.access is not Open.PUBLIC]


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", GUARDED, ids=named)
async def test_a_guarded_route_answers_only_callers_of_its_scope(door: Door, route: Route):
    needed = route.access
    assert isinstance(needed, Scope)
    for who in (None, "wrong", "revoked", *Scope):
        job = await door.submit()
        reply = await door.ask(route.method, route.path.replace(":[^/]+}", "}").replace("{id}", job.id), who=who)
        if who is None:
            assert (reply.status, reply.body["code"]) == (401, "token_missing")
        elif who in ("wrong", "revoked"):
            assert (reply.status, reply.body["code"]) == (401, "token_invalid")
        elif not Scope(who).allows(needed):
            assert (reply.status, reply.body["code"]) == (403, "scope_missing")
        else:
            assert reply.status not in (401, 403)


@pytest.mark.parametrize("route", [route for route in GUARDED if route.method == "GET"], ids=named)
async def test_head_is_guarded_as_get_is(door: Door, route: Route):
    reply = await door.ask("HEAD", route.path.replace("{id}", "job_1"), who=None)
    assert reply.status == 401


async def test_only_these_routes_are_public(door: Door):
    assert {route.path for route in ROUTES if route.access is Open.PUBLIC} == {"/healthz", "/readyz"}
    for path in ("/healthz", "/readyz"):
        assert (await door.get(path, who=None)).status == 200
        assert (await door.get(path, who="wrong")).status == 200


async def test_metrics_are_public_only_where_configured(door: Door, tmp_path: Path):
    assert (await door.get("/metrics", who=None)).status == 401
    async with (
        open_door(tmp_path / "public", metrics_public=True) as public,
        public.http.get(f"{public.url}/metrics") as response,
    ):
        assert response.status == 200
        assert "cronium_build_info{" in await response.text()
    others = [route for route in all_routes(metrics_public=True) if route.access is Open.PUBLIC]
    assert {route.path for route in others} == {"/healthz", "/readyz", "/metrics"}


@pytest.mark.parametrize(
    "target",
    [
        "//api/v3/jobs",
        "/api//v3/jobs",
        "/api/v3/jobs/",
        "/API/V3/JOBS",
        "/healthz/../api/v3/jobs",
        "/healthz/..%2fapi/v3/jobs",
        "/healthz/%2e%2e/api/v3/jobs",
        "/./api/v3/jobs",
        "/%2e/api/v3/jobs",
        "/api/v3/%6aobs",
        "/healthz;/../api/v3/jobs",
        "/healthz%00/../api/v3/jobs",
        "/healthz%3f/../api/v3/jobs",
        "/readyz\\..\\api\\v3\\jobs",
        "http://other.example/api/v3/jobs",
        "http://other.example/healthz/../api/v3/jobs",
        "/api/v3/jobs?token={admin}",
        "/api/v3/jobs?access_token={admin}&authorization=Bearer%20{admin}",
        "/ws/jobs/{job}/logs?token={admin}",
    ],
)
async def test_no_spelling_of_a_path_avoids_the_token(door: Door, target: str):
    job = await door.submit()
    text = target.replace("{admin}", door.tokens["admin"]).replace("{job}", job.id)
    head, body = await raw_request(door, text)
    status = int(head.split()[1])
    assert status in (400, 401, 404)
    assert job.id.encode() not in body.replace(target.encode(), b"")


async def test_a_route_that_is_not_there_is_not_found_only_with_a_token(door: Door):
    assert (await door.get("/api/v3/nothing", who=None)).status == 401
    assert (await door.get("/api/v3/nothing", who="read")).status == 404


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "token_invalid"),
        ("Bearer", "token_invalid"),
        ("Bearer ", "token_invalid"),
        ("Basic Y3JuOng=", "token_invalid"),
        ("{admin}", "token_invalid"),
        ("Bearer {admin}x", "token_invalid"),
        ("Bearer {admin} {admin}", "token_invalid"),
        ("Bearer ghp_abcdefgh", "token_invalid"),
        ("Bearer crn_" + "a" * 4000, "token_invalid"),
        ("Bearer crn_\u00e9", "token_invalid"),
    ],
)
async def test_an_odd_authorization_is_refused(door: Door, header: str, code: str):
    text = header.replace("{admin}", door.tokens["admin"])
    reply = await door.get("/api/v3/jobs", who=None, headers={"Authorization": text})
    assert (reply.status, reply.body["code"]) == (401, code)
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


async def test_the_scheme_is_read_in_any_case(door: Door):
    reply = await door.get("/api/v3/jobs", who=None, headers={"Authorization": f"bearer  {door.tokens['read']}"})
    assert reply.status == 200


async def test_a_subprotocol_is_no_token_for_ordinary_requests(door: Door):
    headers = {"Sec-WebSocket-Protocol": f"bearer.{door.tokens['admin']}"}
    reply = await door.get("/api/v3/jobs", who=None, headers=headers)
    assert (reply.status, reply.body["code"]) == (401, "token_missing")


class RecordingCache:
    """Keeps values for ever and notes what it was asked to keep, and for how long."""

    def __init__(self) -> None:
        self.values: dict[str, Json] = {}
        self.ttls: list[timedelta] = []

    async def get(self, key: str) -> Json:
        return self.values.get(key)

    async def set(self, key: str, value: Json, *, ttl: timedelta) -> None:
        self.values[key] = value
        self.ttls.append(ttl)

    async def delete(self, key: str) -> None:
        self.values.pop(key, None)


async def test_accepted_tokens_are_remembered_for_five_seconds_by_digest_and_refused_ones_never(tmp_path: Path):
    cache = RecordingCache()
    async with open_door(tmp_path, cache=cache) as door:
        for who in ("wrong", "revoked"):
            assert (await door.get("/api/v3/jobs", who=who)).status == 401
        assert cache.values == {}
        for _ in range(3):
            assert (await door.get("/api/v3/jobs", who="read")).status == 200
        assert cache.ttls == [CACHED_FOR] == [timedelta(seconds=5)]
        assert door.tokens["read"] not in repr(cache.values)


async def test_a_socket_takes_its_token_from_the_subprotocol_and_echoes_it(door: Door):
    job = await door.submit()
    name = f"bearer.{door.tokens['read']}"
    async with door.http.ws_connect(f"{door.url}/ws/jobs/{job.id}/logs", protocols=(name,)) as socket:
        assert socket.protocol == name


@pytest.mark.parametrize(("who", "status"), [(None, 401), ("wrong", 401), ("revoked", 401)])
async def test_a_socket_without_a_good_token_is_refused_before_the_upgrade(door: Door, who: str | None, status: int):
    job = await door.submit()
    protocols = (f"bearer.{door.tokens[who]}",) if who else ()
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await door.http.ws_connect(f"{door.url}/ws/jobs/{job.id}/logs", protocols=protocols)
    assert caught.value.status == status


async def test_a_socket_is_opened_by_our_own_pages_and_named_origins_only(tmp_path: Path):
    async with open_door(tmp_path, allowed_origins=frozenset({"https://panel.example"})) as door:
        job = await door.submit()
        address = f"{door.url}/ws/jobs/{job.id}/logs"
        for origin in (door.url, "https://panel.example"):
            async with door.http.ws_connect(address, headers=door.bearer("read"), origin=origin):
                pass
        other_port = f"http://{urlsplit(door.url).hostname}:1"
        for origin in ("https://evil.example", "null", "", other_port, "https://panel.example.evil.example"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await door.http.ws_connect(address, headers={**door.bearer("read"), "Origin": origin})
            assert caught.value.status == 403


async def raw_request(door: Door, target: str) -> tuple[str, bytes]:
    """A request line exactly as given: clients tidy paths up."""
    address = urlsplit(door.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(20):
            answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body
