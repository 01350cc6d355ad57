"""Postgres goes away while jobs run: requests are told to come again, and nothing that a script says is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import Serving, eventually
from tests.servers import Postgres, running_postgres

pytestmark = pytest.mark.distributed

# Writes its lines in three parts: before the store is lost, while it is away, and after it is back.
SCRIPT = """
import os, time

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.02)

for part in range(3):
    for n in range(100):
        print(part * 100 + n, flush=True)
    if part < 2:
        wait_for({directory!r} + f"/gate-{{part}}")
    open({directory!r} + f"/wrote-{{part}}", "w").close()
raise SystemExit(7)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    """A cluster of this file's own, which its tests may end."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def server(cluster: Postgres, tmp_path: Path) -> Iterator[Serving]:
    name = cluster.create_database()
    # Metrics are public, for a token cannot be looked up while the store is away.
    server = Serving(tmp_path / "data", env={"DATABASE_URL": cluster.url(name), "CRONIUM_METRICS_PUBLIC": "true"})
    server.data_dir.mkdir(mode=0o700)
    try:
        server.start()
        yield server
    finally:
        if cluster.process is None:
            cluster.start()
        server.close()


def refused(server: Serving, method: str, path: str, body: object = None) -> str:
    """The code of a request that must be answered with 503 and when to come again."""
    answer = server.ask(method, path, body)
    assert answer.status == 503, answer
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert int(answer.headers["Retry-After"]) >= 1
    return str(answer.body["code"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["shut down", "crashed"])
def test_a_job_goes_on_without_the_store_and_nothing_of_it_is_lost(
    server: Serving, cluster: Postgres, tmp_path: Path, number: signal.Signals
):
    """M12: and whoever follows it sees every line once, and ends with the exit code of the script."""
    job_id = server.submit(python=SCRIPT.format(directory=str(tmp_path)))
    followers = {name: server.cronium(*words, job_id) for name, words in FOLLOWERS.items()}
    eventually(lambda: len(server.lines(job_id)) == 100, "the first part")
    eventually(lambda: server.metrics()["cronium_watchers"] == len(FOLLOWERS), "the followers to be there")

    cluster.stop(number)
    (tmp_path / "gate-0").touch()
    eventually((tmp_path / "wrote-0").exists, "the script to go on")
    eventually(lambda: server.call("GET", "/readyz")[0] == 503, "the loss to be noticed")
    assert refused(server, "GET", f"/api/v3/jobs/{job_id}") == "store_unavailable"
    assert refused(server, "GET", f"/api/v3/jobs/{job_id}/logs?follow=1") == "store_unavailable"
    assert refused(server, "POST", "/api/v3/jobs", {"shell": "true"}) == "store_unavailable"
    assert refused(server, "POST", f"/api/v3/jobs/{job_id}/cancel") == "store_unavailable"
    assert server.call("GET", "/healthz")[0] == 200
    assert server.call("GET", "/readyz")[1]["details"]["store"] == "store_unavailable"
    eventually(lambda: server.metrics()["cronium_watchers"] == 0, "the followers to be cut off")
    assert server.metrics()["cronium_store_up"] == 0

    cluster.start()
    (tmp_path / "gate-1").touch()

    eventually(lambda: server.call("GET", "/readyz")[0] == 200, "the return to be noticed")
    eventually(lambda: server.ask("GET", f"/api/v3/jobs/{job_id}").status == 200, "requests to be answered")
    job = server.wait(job_id)
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 7, 1)
    assert server.text(job_id) == LINES
    for name, follower in followers.items():
        out, err = follower.communicate(timeout=90)
        assert out.splitlines() == LINES, name
        assert err.count("the server is away") <= 1
        assert follower.returncode == (7 if name == "watch" else 0), err


LINES = [str(n) for n in range(300)]
FOLLOWERS = {"watch": ("watch",), "logs": ("logs", "-f")}


def test_a_job_that_ends_while_the_store_is_away_is_stored_when_it_is_back(
    server: Serving, cluster: Postgres, tmp_path: Path
):
    """The result waits, and so does what a job has to say after it."""
    gate, ended = tmp_path / "gate", tmp_path / "ended"
    job_id = server.submit(
        shell=f"echo begun; until [ -e {gate} ]; do sleep 0.05; done; echo late; touch {ended}; exit 4"
    )
    eventually(lambda: server.text(job_id) == ["begun"], "the first line")

    cluster.stop()
    gate.touch()
    eventually(ended.exists, "the script to end")
    eventually(lambda: server.call("GET", "/readyz")[0] == 503, "the loss to be noticed")
    cluster.start()

    eventually(lambda: server.ask("GET", f"/api/v3/jobs/{job_id}").status == 200, "requests to be answered")
    job = server.wait(job_id)
    assert (job["status"], job["exit_code"]) == ("failed", 4)
    assert server.text(job_id) == ["begun", "late"]
    journal = server.call("GET", f"/api/v3/jobs/{job_id}/journal")[1]["entries"]
    assert [entry["kind"] for entry in journal] == ["queued", "claimed", "started", "finished"]


def test_a_script_that_calls_while_the_store_is_away_is_answered_when_it_is_back(
    server: Serving, cluster: Postgres, tmp_path: Path
):
    """The SDK waits for the store as it waits for a server that starts again."""
    gate = tmp_path / "gate"
    script = f"""
import os, time, cronium
print("begun", flush=True)
while not os.path.exists({str(gate)!r}):
    time.sleep(0.02)
open({str(gate)!r} + "-seen", "w").close()
cronium.set_variable("said", 1)
cronium.output(cronium.get_variable("said"))
"""
    job_id = server.submit(python=script)
    eventually(lambda: server.text(job_id) == ["begun"], "the first line")

    cluster.stop()
    gate.touch()
    eventually((tmp_path / "gate-seen").exists, "the script to call")
    eventually(lambda: server.call("GET", "/readyz")[0] == 503, "the loss to be noticed")
    cluster.start()

    eventually(lambda: server.ask("GET", f"/api/v3/jobs/{job_id}").status == 200, "requests to be answered")
    job = server.wait(job_id)
    assert (job["status"], job["output"]) == ("succeeded", 1), server.lines(job_id)
