"""The runtime API's document: every operation is in it, and what comes back is what it says, whatever is sent."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime_api.openapi import document
from runtime_api.routes import OPERATIONS
from tests.conftest import ROOT
from tests.runtime_api.calling import Caller, open_caller
from tests.runtime_api.shapes import ANYTHING, TEXTS, fits, made
from tests.sdk.memory_backend import MemoryBackend

DOCUMENT = document()
DESCRIBED = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
EXAMPLES = 40


class Door:
    """The runtime API on a loop of its own, so that each example of a test asks the same one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.backend = MemoryBackend()
        self._directory = tempfile.TemporaryDirectory()
        self._open = open_caller(self.backend, Path(self._directory.name))
        self.call: Caller = self.loop.run_until_complete(self._open.__aenter__())

    def ask(self, method, path, *, body, headers):
        return self.loop.run_until_complete(self.call(method, path, body=body, headers=headers))

    def close(self) -> None:
        self.loop.run_until_complete(self._open.__aexit__(None, None, None))
        self.loop.close()
        self._directory.cleanup()


@pytest.fixture(scope="module")
def door():
    door = Door()
    yield door
    door.close()


async def test_the_document_is_served_without_a_token(tmp_path):
    async with open_caller(MemoryBackend(), tmp_path) as call:
        status, headers, body = await call("GET", "/openapi.json", token=None)
    assert (status, headers["Content-Type"], json.loads(body)) == (200, "application/json", DOCUMENT)


def test_every_operation_is_in_the_document_with_its_body():
    described = {operation["operationId"]: (method, operation) for method, _, operation in DESCRIBED}
    assert described.keys() == {operation.name for operation in OPERATIONS} | {"health", "openapi"}
    for operation in OPERATIONS:
        method, said = described[operation.name]
        assert method == operation.method
        assert said["summary"]
        assert ("requestBody" in said) == (operation.body is not None or operation.any_body)


def test_the_document_refers_to_nothing_that_is_not_in_it():
    """Every reference is found, and every name of a path is a parameter."""
    for _, path, operation in DESCRIBED:
        named = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
    references = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert references == DOCUMENT["components"]["schemas"].keys()


def test_every_operation_is_on_the_page_of_the_runtime_api():
    page = (ROOT / "docs" / "runtime-api.md").read_text()
    named = {(method, path) for method, path in re.findall(r"`(GET|PUT|POST|DELETE) (/[^` ]+)`", page)}
    assert named == {(method, path) for method, path, _ in DESCRIBED}


def check(operation, status, headers, body) -> None:
    """An answer is one of those that the document lists."""
    assert status < 500, body
    said = operation["responses"].get(str(status))
    assert said is not None, (status, body)
    kind = headers["Content-Type"].partition(";")[0]
    assert kind in said["content"], kind
    for name, header in said.get("headers", {}).items():
        assert not header["required"] or name in headers
    if kind != "text/plain":
        assert fits(json.loads(body), said["content"][kind]["schema"], DOCUMENT), body


@st.composite
def requests(draw, operation):
    """A request as the document describes it, or nearly so."""
    rightly = draw(st.booleans())
    path, query, headers = {}, {}, draw(st.sampled_from([{}, {"Accept": "text/plain"}]))
    for parameter in operation.get("parameters", []):
        value = made(parameter["schema"]) if rightly else (made(parameter["schema"]) | TEXTS)
        if parameter["in"] == "path":
            path[parameter["name"]] = quote(str(draw(value.filter(bool))), safe="")
        elif draw(st.booleans()):
            drawn = str(draw(value))
            if parameter["in"] == "query":
                query[parameter["name"]] = drawn
            else:
                headers[parameter["name"]] = (
                    drawn.encode("ascii", "replace").decode().translate(dict.fromkeys((*range(32), 127), "?"))
                )
    body = None
    if "requestBody" in operation:
        kind = draw(st.sampled_from([*operation["requestBody"]["content"]]))
        schema = operation["requestBody"]["content"][kind]["schema"]
        value = draw(made(schema) if rightly else (made(schema) | ANYTHING))
        body = str(value).encode() if kind == "text/plain" else json.dumps(value).encode()
        if not rightly:
            body = draw(st.just(body) | st.binary(max_size=50))
        headers["Content-Type"] = kind
    return path, query, headers, body


@pytest.mark.parametrize(("method", "path", "operation"), DESCRIBED, ids=[one[2]["operationId"] for one in DESCRIBED])
def test_what_comes_back_is_what_the_document_says(door, method, path, operation):
    """Whatever is sent: an answer or a refusal that is listed, and never an error of the engine."""

    @given(requests(operation))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[*HealthCheck], database=None)
    def run(request):
        names, query, headers, body = request
        target = path
        for name, value in names.items():
            target = target.replace("{" + name + "}", value)
        if query:
            target += "?" + urlencode(query)
        answer = door.ask(method, target, body=body, headers=headers)
        if names.get("id", "current") == "current":
            check(operation, *answer)
        assert answer[0] < 500

    run()
