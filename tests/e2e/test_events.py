"""Events as a user sees them: schedules fire once each, over `kill -9` too, and failures are told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.serving import Serving, eventually

ON_TIME = timedelta(seconds=30)  # how late a fire may be before the test believes that it is none of its time


@dataclass
class Told:
    """What a webhook receiver was told: ids in the order of arrival, and the last document of each."""

    url: str = ""
    ids: list[str] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def told() -> Iterator[Told]:
    """A receiver in a thread of the test: it stays while servers come and go."""
    told = Told()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.ids.append(self.headers["webhook-id"])
            told.documents[self.headers["webhook-id"]] = json.loads(body)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield told
        server.shutdown()
        thread.join()


def create(server: Serving, **event: Any) -> str:
    status, created = server.call("POST", "/api/v3/events", {"executor": "process", **event})
    assert status == 201, created
    return str(created["id"])


def jobs_of(server: Serving, event: str) -> list[dict[str, Any]]:
    """Oldest first."""
    status, page = server.call("GET", f"/api/v3/jobs?event_id={event}&limit=200")
    assert status == 200, page
    return list(reversed(page["items"]))


def test_an_interval_fires_once_for_each_time_over_many_kills(serving: Serving, told: Told):
    event = create(
        serving,
        name="tick",
        schedule={"every": "1s"},
        bash='echo "for $CRONIUM_SCHEDULED_AT"; exit 3',
        notify={"failure": {"webhook": told.url}},
    )
    for kills in range(1, 4):
        eventually(lambda n=3 * kills: len(jobs_of(serving, event)) >= n, "more fires")
        serving.kill()
        serving.start()
    serving.call("POST", f"/api/v3/events/{event}/pause")
    for job in jobs_of(serving, event):
        assert serving.wait(job["id"])["status"] == "failed"
    jobs = jobs_of(serving, event)

    fired = [datetime.fromisoformat(job["scheduled_at"]) for job in jobs]
    assert fired == sorted(set(fired))
    assert {(later - earlier) % timedelta(seconds=1) for earlier, later in pairwise(fired)} == {timedelta(0)}
    # Every time is either a job or counted as missed: none is gone without a trace.
    _, journal = serving.call("GET", f"/api/v3/events/{event}/journal")
    missed = sum(entry["data"]["missed"] for entry in journal["entries"] if entry["kind"] == "fires_missed")
    assert (fired[-1] - fired[0]) // timedelta(seconds=1) + 1 == len(jobs) + missed
    for job, at in zip(jobs, fired, strict=True):
        assert datetime.fromisoformat(job["created_at"]) - at < ON_TIME
        assert serving.text(job["id"]) == [f"for {job['scheduled_at']}"], job
    # What was being told when the server died is told again a minute later, under the same id: here one may wait.
    eventually(lambda: len(set(told.ids)) >= len(jobs) - 3, "the failures to be told")
    assert set(told.ids) <= {f"notify_{job['id']}" for job in jobs}
    assert {told.documents[id_]["data"]["event"]["name"] for id_ in told.ids} == {"tick"}


def test_a_limit_holds_over_a_kill_and_what_waits_comes_in_order(serving: Serving):
    create(serving, name="one", bash="sleep 0.3", concurrency=1)
    ids = [serving.call("POST", "/api/v3/events/one/run")[1]["id"] for _ in range(5)]
    eventually(lambda: serving.job(ids[1])["started_at"], "the second to start")
    serving.kill()
    serving.start()
    jobs = [serving.wait(id_) for id_ in ids]
    assert [job["status"] for job in jobs] == ["succeeded"] * 5
    for earlier, later in pairwise(jobs):
        assert later["started_at"] >= earlier["finished_at"]


def test_skip_and_replace_do_what_they_say(shared: Serving):
    create(shared, name="skipping", bash="sleep 60", concurrency={"when_full": "skip"})
    create(shared, name="replacing", bash="sleep 60", concurrency={"when_full": "replace"})
    run = {
        name: [shared.call("POST", f"/api/v3/events/{name}/run")[1]["id"] for _ in range(2)]
        for name in ("skipping", "replacing")
    }
    skipped = shared.job(run["skipping"][1])
    assert (skipped["status"], skipped["reason"]) == ("skipped", "limit")
    assert shared.wait(run["replacing"][0])["status"] == "cancelled"
    eventually(lambda: shared.job(run["replacing"][1])["status"] == "running", "the newer one to run")
    for job_id in (run["skipping"][0], run["replacing"][1]):
        shared.call("POST", f"/api/v3/jobs/{job_id}/cancel")
        assert shared.wait(job_id)["status"] == "cancelled"


def test_a_webhook_on_the_servers_own_machine_is_refused_unless_it_is_allowed(shared: Serving, told: Told):
    """S24"""
    create(shared, name="inward", bash="exit 3", notify={"failure": {"webhook": f"{told.url}?key=s3cr3t"}})
    job = shared.call("POST", "/api/v3/events/inward/run")[1]["id"]
    assert shared.wait(job)["status"] == "failed"
    eventually(lambda: "`outbound_allow: 127.0.0.1`" in shared.log(), "the refusal in the log")
    assert told.ids == []
    assert "s3cr3t" not in shared.log()
