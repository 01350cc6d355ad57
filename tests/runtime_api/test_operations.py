"""The operations beyond the first ones, at the door: variables with terms, progress, log entries; and hostile callers."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from runtime_api.backend import RefusalError
from runtime_api.payloads import MAX_BODY_BYTES, MAX_LOG_BYTES, MAX_PROGRESS_BYTES
from tests.runtime_api.calling import JSON, PLAIN, open_caller, variable
from tests.sdk.memory_backend import TOKEN, MemoryBackend

PROGRESS = "/executions/current/progress"
LOG = "/executions/current/log"
LIST = "/executions/current/variables"
TEXT = {"Accept": "text/plain"}


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
async def call(backend, tmp_path):
    async with open_caller(backend, tmp_path) as caller:
        yield caller


async def test_a_version_travels_as_a_tag(call):
    _, headers, _ = await call("PUT", variable("k"), body="1", headers=PLAIN)
    assert headers["ETag"] == '"1"'
    _, headers, body = await call("GET", variable("k"), headers=TEXT)
    assert (headers["ETag"], body) == ('"1"', b"1")
    status, headers, _ = await call("PUT", variable("k"), body="2", headers={**PLAIN, "If-Match": '"1"'})
    assert (status, headers["ETag"]) == (200, '"2"')


@pytest.mark.parametrize("headers", [{"If-Match": '"7"'}, {"If-None-Match": "*"}])
async def test_a_write_whose_condition_does_not_hold_says_the_version(headers, call, backend):
    backend.session.variables, backend.session.versions = {"k": 1}, {"k": 3}
    for method, path in (("PUT", variable("k")), ("POST", variable("k") + "/increment"), ("DELETE", variable("k"))):
        status, answered, body = await call(method, path, body="5", headers={**PLAIN, **headers})
        problem = json.loads(body)
        assert (status, problem["code"], problem["current_version"]) == (412, "version_mismatch", 3)
        assert answered["ETag"] == '"3"'
    assert backend.session.variables == {"k": 1}


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": "1"},
        {"If-Match": "*"},
        {"If-Match": 'W/"1"'},
        {"If-Match": '"1", "2"'},
        {"If-None-Match": '"1"'},
        {"If-Match": '"1"', "If-None-Match": "*"},
        {"Idempotency-Key": "a b"},
        {"Idempotency-Key": "x" * 256},
        {"Idempotency-Key": ""},
    ],
    ids=str,
)
async def test_terms_that_are_none_are_refused(headers, call, backend):
    refusal = await call.refusal("PUT", variable("k"), body="1", headers={**PLAIN, **headers})
    assert refusal == (422, "invalid_parameter")
    assert backend.session.variables == {}


@pytest.mark.parametrize(
    ("body", "headers", "total"),
    [
        (None, {}, 1),
        ("", PLAIN, 1),
        ("{}", JSON, 1),
        ('{"by": -2}', JSON, -2),
        ('{"by": 0.5}', JSON, 0.5),
        ("5\n", PLAIN, 5),
        ("-1.5", PLAIN, -1.5),
        ('{"by": 18446744073709551615}', JSON, 2**64 - 1),
    ],
)
async def test_an_increment_adds_what_the_body_says(body, headers, total, call, backend):
    answer = await call.data("POST", variable("n") + "/increment", body=body, headers=headers)
    assert answer == {"value": total, "version": 1}
    assert type(answer["value"]) is type(total)
    assert backend.session.variables == {"n": total}


async def test_a_sum_is_plain_for_who_reads_no_json(call):
    _, headers, body = await call("POST", variable("n") + "/increment", headers=TEXT)
    assert (body, headers["ETag"], headers["Content-Type"]) == (b"1", '"1"', "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ('{"by": "1"}', JSON),
        ('{"by": true}', JSON),
        ('{"by": null}', JSON),
        ('{"by": 1, "to": 2}', JSON),
        ("[1]", JSON),
        ("one", PLAIN),
        ("true", PLAIN),
        ("NaN", PLAIN),
        ('"1"', PLAIN),
        ("1e999", PLAIN),
    ],
)
async def test_what_is_no_number_is_not_added(body, headers, call, backend):
    status, _ = await call.refusal("POST", variable("n") + "/increment", body=body, headers=headers)
    assert status in (400, 422)
    assert backend.session.variables == {}


async def test_variables_are_listed_by_key(call, backend):
    backend.session.variables = {"b": 1, "a/1": None, "a/2": [2]}
    first = await call.data("GET", f"{LIST}?prefix=a%2F&limit=1")
    assert first["items"] == [
        {"key": "a/1", "value": None, "version": 1, "scope": "global", "updated_at": None, "description": None}
    ]
    rest = await call.data("GET", f"{LIST}?prefix=a%2F&cursor={first['next_cursor']}")
    assert ([item["key"] for item in rest["items"]], rest["next_cursor"]) == (["a/2"], None)
    _, _, body = await call("GET", LIST, headers=TEXT)
    assert body == b"a/1\na/2\nb\n"


@pytest.mark.parametrize("query", ["scope=job", "scope=", "limit=0", "limit=201", "limit=x", "limit=-1"])
async def test_a_parameter_that_is_not_understood_is_named(query, call):
    assert await call.refusal("GET", f"{LIST}?{query}") == (422, "invalid_parameter")


async def test_a_deleted_variable_is_gone(call, backend):
    backend.session.variables = {"k": 1}
    assert await call.data("DELETE", variable("k")) is None
    assert await call.refusal("DELETE", variable("k")) == (404, "variable_not_found")


@pytest.mark.parametrize(
    ("body", "headers", "kept"),
    [
        ('{"percent": 50, "message": "half"}', JSON, {"percent": 50, "message": "half"}),
        ('{"percent": 0}', JSON, {"percent": 0}),
        ('["any", 1]', JSON, ["any", 1]),
        ("null", JSON, None),
        ("100", PLAIN, {"percent": 100}),
        ("12.5\n", PLAIN, {"percent": 12.5}),
        ("reading\n", PLAIN, {"message": "reading"}),
    ],
)
async def test_progress_is_any_small_json(body, headers, kept, call, backend):
    backend.session.progress = "before"
    assert await call.data("POST", PROGRESS, body=body, headers=headers) is None
    assert backend.session.progress == kept


@pytest.mark.parametrize("body", ['{"percent": 101}', '{"percent": -1}', '{"percent": "half"}', '{"percent": true}'])
async def test_a_percentage_lies_between_0_and_100(body, call):
    assert await call.refusal("POST", PROGRESS, body=body, headers=JSON) == (422, "invalid_progress")


async def test_large_progress_and_log_entries_are_refused(call, backend):
    for path, limit in ((PROGRESS, MAX_PROGRESS_BYTES), (LOG, MAX_LOG_BYTES)):
        for headers in (PLAIN, JSON):
            body = json.dumps({"message": "x" * limit}) if headers is JSON else "x" * (limit + 1)
            assert await call.refusal("POST", path, body=body, headers=headers) == (413, "too_large")
    assert (backend.session.progress, backend.session.entries) == (None, [])


async def test_a_log_entry_has_a_level_a_message_and_data(call, backend):
    body = json.dumps({"level": "warning", "message": "ü\n", "data": {"rows": 0}})
    assert await call.data("POST", LOG, body=body, headers={**JSON, "Idempotency-Key": "op"}) == {"seq": 1}
    assert await call.data("POST", LOG, body='{"message": "m"}', headers=JSON) == {"seq": 2}
    assert await call.data("POST", LOG, body="plain", headers=PLAIN) == {"seq": 3}
    assert backend.session.entries == [
        ("warning", "ü\n", {"rows": 0}, "op"),
        ("info", "m", None, None),
        ("info", "plain", None, None),
    ]


@pytest.mark.parametrize(
    "body", ["{}", '{"message": 1}', '{"message": "x", "level": "fatal"}', '{"message": "x", "a": 1}']
)
async def test_a_log_entry_of_another_form_is_refused(body, call):
    assert await call.refusal("POST", LOG, body=body, headers=JSON) == (422, "invalid_body")


async def test_a_store_that_is_away_is_told_with_when_to_come_back(call, backend):
    backend.failures = [RefusalError(503, "store_unavailable", "Try again.", retry_after_seconds=1)]
    status, headers, _ = await call("POST", PROGRESS, body="1", headers=PLAIN)
    assert (status, headers["Retry-After"]) == (503, "1")


# Hostile callers: each is refused alone, and the next one is served.


async def _raw(tmp_path, data: bytes) -> bytes:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "api.sock"))
        writer.write(data)
        answer = await reader.read()
        writer.close()
        return answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(5000)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST /executions/current/output HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /executions/current/output HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["header", "path", "headers", "tls", "length", "smuggling"],
)
async def test_a_request_that_is_none_is_refused_and_hurts_nobody(head, call, tmp_path):
    answer = await _raw(tmp_path, head)
    assert re.match(rb"HTTP/1\.[01] 4\d\d ", answer), answer[:200]
    assert await call.data("GET", "/health") == {"status": "ok"}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (
            f"GET /executions/current/input HTTP/1.1\r\nHost: x\r\nExpect: 200-nothing\r\nAuthorization: Bearer {TOKEN}\r\n",
            417,
        ),
        ("GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n", 400),
        (f"GET /executions/current/variables/%FF HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n", 404),
        (f"GET /executions/current/variables?cursor=%FF HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n", 200),
    ],
    ids=["expect", "path", "key", "cursor"],
)
async def test_what_is_odd_is_answered(head, status, call, tmp_path):
    answer = await _raw(tmp_path, head.encode("latin-1") + b"Connection: close\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] %d " % status, answer), answer[:200]


async def test_a_body_that_comes_slowly_keeps_nobody_waiting(call, tmp_path):
    _, writer = await asyncio.open_unix_connection(str(tmp_path / "api.sock"))
    head = f"PUT {variable('k')} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: text/plain\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\nx".encode())
    await writer.drain()
    assert [await call.data("GET", "/health") for _ in range(20)] == [{"status": "ok"}] * 20
    writer.close()


async def test_a_packed_body_does_not_become_a_large_one(call, backend):
    import gzip

    packed = gzip.compress(b'"' + b"x" * (20 * MAX_BODY_BYTES) + b'"')
    headers = {**PLAIN, "Content-Encoding": "gzip"}
    status, _, _ = await call("PUT", variable("k"), body=packed, headers=headers)
    assert 400 <= status < 500
    assert backend.session.variables == {}
