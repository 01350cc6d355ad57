"""An event that fires all the time and whose jobs all fail, and a receiver that hears of each: what is outside of jobs."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.chaos.check import Call, Missed, Score, Told, check_effects, check_fires
from tests.chaos.clients import Ledger, Submitted, ask, persistent
from tests.chaos.mix import Work
from tests.chaos.scene import Scene
from tests.e2e.serving import Serving, eventually

EVERY = {"process": timedelta(seconds=1), "docker": timedelta(seconds=3)}
TICK = Work(name="tick", kind="tick", lines=1, exit_code=3)
# What a killed server was about to tell is told by another one when its lease is over: a minute.
TOLD_SECONDS = 150.0


@dataclass(slots=True, kw_only=True)
class Ticking:
    """One event, what it was, and the calls of its webhook."""

    scene: Scene
    event: Mapping[str, Any]
    calls: list[Call]
    _jobs: list[str] = field(default_factory=list)

    def pause(self, ledger: Ledger) -> None:
        """Let it fire once more, now that nothing is killed, then no more; its jobs are checked like all others."""
        servers = self.scene.servers
        fired = len(self._fired())
        eventually(lambda: len(self._fired()) > fired, "the event to fire")
        persistent(servers, "POST", f"/api/v3/events/{self.event['id']}/pause")
        self._jobs = [job["id"] for job in self._fired()]
        ledger.submitted += [Submitted(work=TICK, job_id=job_id) for job_id in self._jobs]

    def _fired(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = []
        after = ""
        while True:
            page = persistent(self.scene.servers, "GET", f"/api/v3/jobs?limit=200{after}")
            jobs += [job for job in page["items"] if job["event_id"] == self.event["id"]]
            if page["next_cursor"] is None:
                return jobs
            after = f"&cursor={page['next_cursor']}"

    def wait_until_told(self) -> None:
        """What nobody was told of by then is found by the check."""
        with contextlib.suppress(AssertionError):
            eventually(
                lambda: {call.job_id for call in self.calls} >= set(self._jobs), "the webhook calls", TOLD_SECONDS
            )

    def missed(self) -> list[Missed]:
        """The times that the event's journal says were missed."""
        path = f"/api/v3/events/{self.event['id']}/journal"
        entries = persistent(self.scene.servers, "GET", path)["entries"]
        data = [entry["data"] for entry in entries if entry["kind"] == "fires_missed"]
        return [
            Missed(first=_at(entry["from"]), fired_for=_at(entry["fired_for"]), times=entry["missed"]) for entry in data
        ]

    def check(self, score: Score, told: Mapping[str, Told], missed: list[Missed]) -> None:
        fires = [_at(told[job_id].job["scheduled_at"]) for job_id in self._jobs if job_id in told]
        check_fires(score, fires, missed, anchor=_at(self.event["created_at"]), every=EVERY[self.scene.executor])
        check_effects(score, self._jobs, self.calls)


def events_exist(server: Serving) -> bool:
    """Whether this server has events at all."""
    answer = ask(server, "GET", "/api/v3/events")
    return answer is not None and answer.status == 200


@contextlib.contextmanager
def ticking(scene: Scene) -> Iterator[Ticking | None]:
    """An event that fires while the block is open; None where there are no events. A server runs and is ready."""
    [server, *_] = scene.servers
    if not events_exist(server):
        yield None
        return
    with _receiver() as (url, calls):
        spec = TICK.spec(scene.executor, scene.mark, scene.witness)
        every = f"{EVERY[scene.executor].total_seconds():g}s"
        body = {**spec, "schedule": {"every": every}, "notify": {"failure": {"webhook": url}}}
        status, event = server.call("POST", "/api/v3/events", body)
        assert status == 201, event
        yield Ticking(scene=scene, event=event, calls=calls)


@contextlib.contextmanager
def _receiver() -> Iterator[tuple[str, list[Call]]]:
    """A server that takes down who calls."""
    calls: list[Call] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            calls.append(Call(id=self.headers["webhook-id"], job_id=body["data"]["job"]["id"]))
            with contextlib.suppress(OSError):  # the server that calls was killed
                self.send_response(204)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """The calls are what is of interest."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/told", calls
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
