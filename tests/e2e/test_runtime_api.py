"""The runtime API as scripts meet it, with real servers: exact numbers, a token's life, repeated calls, limits."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import Serving, eventually

CALLING = """
import http.client, json, os, socket, sys, time

class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["CRONIUM_RUNTIME_API"][5:])

def call(method, path, body=None, token=os.environ["CRONIUM_EXECUTION_TOKEN"], **headers):
    connection = Unix("runtime")
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body)
    said |= {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    connection.request(method, "/executions/current" + path, data, said)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
"""


def python(text: str) -> str:
    return CALLING + text


def stored(server: Serving, job_id: str) -> Any:
    return server.job(job_id)["output"]


def ask(address: str, token: str, method: str = "GET", path: str = "/input") -> int:
    """The status of a call with a script's token, made from outside of the script."""
    connection = http.client.HTTPConnection("runtime", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(address.removeprefix("unix:"))
    connection.request(method, f"/executions/current{path}", headers={"Authorization": f"Bearer {token}"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_increments_of_many_scripts_at_once_are_exact_beyond_2_to_the_53(shared: Serving):
    start = 2**53
    script = """
for _ in range(25):
    status, answer = call("POST", "/variables/exact/increment", {"by": 1})
    assert status == 200, answer
"""
    seed = f'assert call("PUT", "/variables/exact", {{"value": {start}}})[0] == 200'
    assert shared.wait(shared.submit(python=python(seed)))["status"] == "succeeded"
    jobs = [shared.submit(python=python(script)) for _ in range(4)]
    assert [shared.wait(job)["status"] for job in jobs] == ["succeeded"] * 4
    shown = shared.submit(
        python=python('call("POST", "/output", {"data": call("GET", "/variables/exact")[1]["data"]})')
    )
    shared.wait(shown)
    assert stored(shared, shown) == start + 100


def test_a_token_is_dead_when_its_job_has_ended(shared: Serving, tmp_path: Path):
    told = tmp_path / "told"
    script = f"""
open({str(told)!r} + ".part", "w").write(os.environ["CRONIUM_RUNTIME_API"] + " " + os.environ["CRONIUM_EXECUTION_TOKEN"])
os.rename({str(told)!r} + ".part", {str(told)!r})
while not os.path.exists({str(told)!r} + ".go"): time.sleep(0.02)
"""
    for end in ("end", "cancel"):
        for left in tmp_path.glob("told*"):
            left.unlink()
        job = shared.submit(python=python(script))
        eventually(told.exists, "the script to say its token")
        address, token = told.read_text().split()
        assert ask(address, token) == 200
        if end == "cancel":
            assert shared.call("POST", f"/api/v3/jobs/{job}/cancel")[0] in (200, 202)
        else:
            (tmp_path / "told.go").touch()
        shared.wait(job)
        assert ask(address, token) == 401


def test_the_token_of_the_first_attempt_is_dead_in_the_second(shared: Serving, tmp_path: Path):
    first = tmp_path / "first"
    script = f"""
token = os.environ["CRONIUM_EXECUTION_TOKEN"]
if os.environ["CRONIUM_ATTEMPT"] == "1":
    open({str(first)!r}, "w").write(token)
    sys.exit(1)
status, _ = call("GET", "/input", token=open({str(first)!r}).read())
call("POST", "/output", {{"data": status}})
"""
    job = shared.wait(shared.submit(python=python(script), retry={"attempts": 2, "delay": "10ms"}))
    assert (job["attempt"], job["output"]) == (2, 401)


def test_a_repeated_increment_counts_once_also_after_the_server_was_killed(serving: Serving, tmp_path: Path):
    begun, go = tmp_path / "begun", tmp_path / "go"
    script = f"""
def add():
    return call("POST", "/variables/once/increment", {{"by": 1}}, Idempotency_Key="op-1")
assert add()[1]["data"] == {{"value": 1, "version": 1}}
open({str(begun)!r}, "w").close()
while not os.path.exists({str(go)!r}): time.sleep(0.02)
for _ in range(600):
    try:
        status, answer = add()
    except OSError:
        time.sleep(0.05)
        continue
    if status != 503:
        break
    time.sleep(0.05)
assert (status, answer.get("data")) == (200, {{"value": 1, "version": 1}}), answer
assert call("POST", "/variables/once/increment", {{"by": 1}}, Idempotency_Key="op-2")[1]["data"]["value"] == 2
"""
    job = serving.submit(python=python(script))
    eventually(begun.exists, "the first increment")
    serving.kill()
    go.touch()
    serving.start()
    ended = serving.wait(job)
    assert ended["status"] == "succeeded", serving.lines(job)


def test_a_script_that_calls_too_often_is_told_when_to_come_back(tmp_path: Path):
    server = Serving(tmp_path / "data", env={"CRONIUM_RUNTIME_RATE_LIMIT_PER_MINUTE": "5"})
    server.data_dir.mkdir(mode=0o700)
    script = """
seen = [call("GET", "/input")[0] for _ in range(6)]
print(json.dumps(seen))
"""
    try:
        server.start()
        job = server.submit(python=python(script))
        server.wait(job)
        assert json.loads(server.text(job)[0]) == [200] * 5 + [429]
    finally:
        server.close()


def test_progress_is_shown_with_the_job(shared: Serving):
    job = shared.wait(shared.submit(python=python('call("POST", "/progress", {"percent": 100, "message": "ü"})')))
    assert job["progress"] == {"percent": 100, "message": "ü"}


@pytest.fixture
def pair(tmp_path: Path, database: str) -> Iterator[list[Serving]]:
    """Two servers on one Postgres."""
    servers: list[Serving] = []
    try:
        for name in ("first", "second"):
            data_dir = tmp_path / name / "data"
            data_dir.mkdir(mode=0o700, parents=True)
            if servers:
                (data_dir / "admin.token").write_text(servers[0].token)
            server = Serving(data_dir, env={"DATABASE_URL": database, "CRONIUM_PROCESS_JOBS": "2"})
            servers.append(server)
            server.start()
        yield servers
    finally:
        for server in servers:
            server.close()


@pytest.mark.distributed
def test_two_servers_that_add_at_once_lose_nothing(pair: list[Serving], tmp_path: Path):
    go = tmp_path / "go"
    script = f"""
while not os.path.exists({str(go)!r}): time.sleep(0.02)
for number in range(50):
    while True:
        status, answer = call("POST", "/variables/shared/increment", {{"by": 1}}, Idempotency_Key=f"op-{{number}}")
        if status != 503:
            break
    assert status == 200, answer
"""
    jobs = [pair[0].submit(python=python(script)) for _ in range(4)]
    eventually(lambda: all(pair[0].job(job)["status"] == "running" for job in jobs), "all scripts to run")
    go.touch()
    assert [pair[0].wait(job)["status"] for job in jobs] == ["succeeded"] * 4
    shown = pair[1].submit(
        python=python('call("POST", "/output", {"data": call("GET", "/variables/shared")[1]["data"]})')
    )
    assert pair[1].wait(shown)["output"] == 200
