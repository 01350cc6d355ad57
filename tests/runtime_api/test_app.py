"""The runtime API over a real Unix socket: every operation and every refusal."""

from __future__ import annotations

import asyncio
import json
import logging
from urllib.parse import quote

import pytest

from runtime_api.app import create_app
from runtime_api.backend import RefusalError
from runtime_api.payloads import MAX_BODY_BYTES, MAX_VALUE_BYTES
from runtime_api.routes import OPERATIONS
from tests.runtime_api.calling import JSON, PLAIN, open_caller
from tests.sdk.memory_backend import EXECUTION_ID, TOKEN, MemoryBackend, serve

OUTPUT = "/executions/current/output"
CONDITION = "/executions/current/condition"
INPUT = "/executions/current/input"
VALUES = [0, "", False, None, [], {}, 1.5, -(2**63), 2**64 - 1, "ü🚀", {"a": [1, {"b": None}]}]


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
async def call(backend, tmp_path):
    async with open_caller(backend, tmp_path) as caller:
        yield caller


def variable(key):
    return f"/executions/current/variables/{quote(key, safe='')}"


async def test_health_needs_no_token(call, backend):
    assert await call.data("GET", "/health", token=None) == {"status": "ok"}
    assert backend.calls == [("health", 200)]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_a_value_goes_in_and_out_as_json(value, call, backend):
    backend.session.input = value
    assert await call.data("GET", INPUT) == value
    assert await call.data("POST", OUTPUT, body=json.dumps({"data": value}), headers=JSON) is None
    assert (backend.session.output, backend.session.has_output) == (value, True)
    assert type(backend.session.output) is type(value)
    body = json.dumps({"value": value})
    assert await call.data("PUT", variable("v"), body=body, headers=JSON) == {"version": 1}
    assert await call.data("GET", variable("v")) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("as it is\n", "as it is\n"),
        (None, ""),
        (0, "0"),
        (1.5, "1.5"),
        (True, "true"),
        ([1, "a"], '[1,"a"]'),
        ({"ü": None}, '{"ü":null}'),
    ],
    ids=repr,
)
async def test_who_accepts_plain_text_gets_the_bare_value(value, text, call, backend):
    backend.session.input = value
    status, headers, body = await call("GET", INPUT, headers={"Accept": "text/plain; q=0.9"})
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert body.decode() == text


async def test_who_accepts_both_gets_json(call):
    assert await call.data("GET", INPUT, headers={"Accept": "application/json, text/plain, */*"}) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("null", None),
        ("false", False),
        ('""', ""),
        ("", ""),
        ("[]", []),
        ('{"data": 1}', {"data": 1}),
        ("007", "007"),
        ("NaN", "NaN"),
        ("{half", "{half"),
        (" two words\n", " two words\n"),
        ("[" * 300 + "]" * 300, "[" * 300 + "]" * 300),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_a_plain_text_body_is_the_value_itself(text, value, call, backend):
    await call.data("POST", OUTPUT, body=text.encode(), headers=PLAIN)
    assert backend.session.output == value
    assert type(backend.session.output) is type(value)
    await call.data("PUT", variable("v"), body=text.encode(), headers=PLAIN)
    assert backend.session.variables == {"v": value}


async def test_the_context_comes_as_the_engine_gives_it(call, backend):
    backend.session.context = {"id": "evt_1", "attempt": 2, "nested": {"a": None}}
    assert await call.data("GET", "/executions/current/context") == backend.session.context


async def test_a_condition_is_unset_until_it_is_set(call):
    assert await call.data("GET", CONDITION) is None
    await call.data("POST", CONDITION, body='{"condition": true}', headers=JSON)
    assert await call.data("GET", CONDITION) is True
    await call.data("POST", CONDITION, body='{"condition": false}', headers=JSON)
    assert await call.data("GET", CONDITION) is False


@pytest.mark.parametrize("word", ["true", "1", "yes", "on", "TRUE\n", " Yes "])
async def test_a_word_for_true_sets_the_condition(word, call, backend):
    await call.data("POST", CONDITION, body=word, headers=PLAIN)
    assert backend.session.condition is True


@pytest.mark.parametrize("word", ["false", "0", "no", "off", "Off\n"])
async def test_a_word_for_false_clears_the_condition(word, call, backend):
    await call.data("POST", CONDITION, body=word, headers=PLAIN)
    assert backend.session.condition is False


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ('{"condition": "true"}', JSON),
        ('{"condition": 1}', JSON),
        ('{"condition": null}', JSON),
        ("{}", JSON),
        ("true", JSON),
        ("maybe", PLAIN),
        ("", PLAIN),
        (b"\xff", PLAIN),
    ],
)
async def test_what_is_neither_true_nor_false_is_no_condition(body, headers, call, backend):
    status, code, _ = await call.problem("POST", CONDITION, body=body, headers=headers)
    assert (status, code) == (422, "invalid_condition")
    assert backend.session.condition is None


@pytest.mark.parametrize("key", ["a/b", "größe", "100%", "%2F", "{x}", "a b?c#d", ".", "..", "a/../b", "plus+", "\n"])
async def test_a_key_may_hold_anything_percent_encoded(key, call, backend):
    await call.data("PUT", variable(key), body="1", headers=PLAIN)
    assert backend.session.variables == {key: 1}
    assert await call.data("GET", variable(key)) == 1


async def test_a_variable_that_is_not_there_is_named(call):
    status, code, detail = await call.problem("GET", variable("a/ü"))
    assert (status, code) == (404, "variable_not_found")
    assert "a/ü" in detail


async def test_an_execution_may_be_named_by_its_id(call):
    assert await call.data("GET", f"/executions/{EXECUTION_ID}/input") is None


async def test_the_token_of_one_execution_opens_no_other(call, backend):
    refusal = await call.problem("POST", "/executions/job_other/output", body="1", headers=PLAIN)
    assert refusal[:2] == (403, "not_your_execution")
    assert backend.session.has_output is False
    assert backend.calls == [("set_output", 403)]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
async def test_no_operation_without_its_token(operation, authorization, call, backend):
    path = operation.path.replace("{id}", "current").replace("{key:[^/]+}", "v")
    headers = {**PLAIN, **({"Authorization": authorization} if authorization is not None else {})}
    status, answered, body = await call(operation.method, path, body="true", headers=headers, token=None)
    assert (status, json.loads(body)["code"]) == (401, "token_invalid")
    assert answered["WWW-Authenticate"] == "Bearer"
    assert backend.session == MemoryBackend().session
    assert backend.calls == [(operation.name, 401)]


@pytest.mark.parametrize(
    "body", ["", "{", '{"data": NaN}', '{"data": Infinity}', '{"data": "\\ud800"}', b'{"data": "\xff"}', "{'data': 1}"]
)
async def test_what_is_no_json_is_refused(body, call, backend):
    status, code, _ = await call.problem("POST", OUTPUT, body=body, headers=JSON)
    assert (status, code) == (400, "invalid_json")
    assert backend.session.has_output is False


async def test_json_too_deep_to_be_written_back_is_refused(call):
    for depth in (300, 2000):
        body = '{"data":' + "[" * depth + "]" * depth + "}"
        assert (await call.problem("POST", OUTPUT, body=body, headers=JSON))[:2] == (400, "invalid_json")


@pytest.mark.parametrize("body", ["{}", "[]", "1", '{"Data": 1}', '{"data": 1, "more": 2}'])
async def test_json_of_another_form_is_refused_with_the_form(body, call):
    status, code, detail = await call.problem("POST", OUTPUT, body=body, headers=JSON)
    assert (status, code) == (422, "invalid_body")
    assert '{"data": ...}' in detail


async def test_text_that_is_not_utf8_is_refused(call):
    assert (await call.problem("POST", OUTPUT, body=b"\xff\xfe", headers=PLAIN))[:2] == (400, "invalid_encoding")


async def test_a_body_of_another_type_is_refused_with_the_types_that_work(call):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, code, detail = await call.problem("POST", OUTPUT, body="data=1", headers=headers)
    assert (status, code) == (415, "unsupported_media_type")
    assert "application/json or text/plain" in detail


async def test_a_body_without_a_type_is_taken_for_json(backend, tmp_path):
    body = '{"data": 7}'
    request = f"POST {OUTPUT} HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    async with serve(backend, tmp_path), asyncio.timeout(10):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "api.sock"))
        writer.write(request.encode())
        assert b"200 OK" in await reader.readline()
        writer.close()
    assert backend.session.output == 7


async def test_a_value_of_1_mib_fits(call, backend):
    text = "x" * (MAX_VALUE_BYTES - 2)
    await call.data("POST", OUTPUT, body=json.dumps({"data": text}), headers=JSON)
    assert backend.session.output == text
    await call.data("PUT", variable("v"), body=text.encode(), headers=PLAIN)
    assert await call.data("GET", variable("v")) == text


@pytest.mark.parametrize(("method", "path"), [("POST", OUTPUT), ("PUT", variable("v")), ("POST", CONDITION)])
async def test_a_body_beyond_the_limit_is_refused_with_what_to_do(method, path, call, backend):
    status, code, detail = await call.problem(method, path, body=b"x" * (MAX_BODY_BYTES + 1), headers=PLAIN)
    assert (status, code) == (413, "too_large")
    assert "1 MiB" in detail
    assert "object store" in detail
    assert backend.session == MemoryBackend().session


async def test_an_unknown_path_is_a_problem_document(call, backend):
    for path in ("/", "/executions", "/executions/current", "/executions/current/nothing", variable("")):
        assert (await call.problem("GET", path))[:2] == (404, "route_not_found")
    assert {name for name, _ in backend.calls} == {"unknown"}


async def test_a_wrong_method_is_told_the_right_ones(call, backend):
    status, headers, body = await call("DELETE", CONDITION)
    assert (status, json.loads(body)["code"]) == (405, "method_not_allowed")
    assert headers["Allow"] == "GET, POST"
    assert backend.calls == [("unknown", 405)]


async def test_a_refusal_of_the_engine_is_passed_on(call, backend):
    backend.failures = [RefusalError(429, "rate_limited", "Slow down.", retry_after_seconds=7)]
    status, headers, body = await call("GET", INPUT)
    assert (status, headers["Retry-After"]) == (429, "7")
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "code": "rate_limited",
        "detail": "Slow down.",
    }


async def test_an_error_in_the_engine_is_logged_and_not_told(call, backend, caplog):
    backend.failures = [RuntimeError("password=hunter2")]
    with caplog.at_level(logging.ERROR, logger="runtime_api.app"):
        status, code, detail = await call.problem("GET", INPUT)
    assert (status, code) == (500, "internal")
    assert "hunter2" not in detail
    assert "hunter2" in caplog.text
    assert backend.calls == [("get_input", 500)]


async def test_a_body_that_breaks_off_changes_nothing_and_is_no_error_of_the_engine(call, backend, tmp_path, caplog):
    _, writer = await asyncio.open_unix_connection(str(tmp_path / "api.sock"))
    head = f"POST {OUTPUT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: text/plain\r\n"
    writer.write(f"{head}Content-Length: 10\r\n\r\nhalf".encode())
    await writer.drain()
    await call.data("GET", INPUT)  # by now the other request has reached its handler
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(10):
        while ("set_output", 400) not in backend.calls:
            await call.data("GET", "/health")
    assert backend.session.has_output is False
    assert caplog.records == []


async def test_calls_at_the_same_time_do_not_mix(call):
    keys = [f"k{number}" for number in range(50)]
    async with asyncio.TaskGroup() as group:
        for number, key in enumerate(keys):
            group.create_task(call.data("PUT", variable(key), body=str(number), headers=PLAIN))
    assert [await call.data("GET", variable(key)) for key in keys] == list(range(50))


def test_each_operation_has_a_name_of_its_own(backend):
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert set(create_app(backend).router.named_resources()) == {*names, "health", "openapi"}
