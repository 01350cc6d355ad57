"""Clients that submit jobs all the time, do not give up when the server is away, and remember what they were told."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.mix import Work, draw
from tests.e2e.serving import FINAL, Answer, Serving

AWAY = (401, 429, 502, 503)  # 401: for a moment somebody else may listen on the port of a server that was killed
SETTLE_SECONDS = 0.3  # a commit that was on its way when the answer was lost has come to its end by then
OUTSTANDING = 12  # jobs of one client that are not final yet
PATIENCE_SECONDS = 120.0


class UnexpectedAnswerError(Exception):
    """A server said what no client should hear."""


@dataclass(slots=True, kw_only=True)
class Submitted:
    """A job that a server has acknowledged. `seen` is what it was when a client first saw it final."""

    work: Work
    job_id: str
    seen: dict[str, Any] | None = None


@dataclass(slots=True, kw_only=True)
class Ledger:
    """What all clients did: appended to under the lock, read when they have ended."""

    submitted: list[Submitted] = field(default_factory=list)
    lost_answers: int = 0
    found_again: int = 0
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True, kw_only=True)
class Client:
    """
    One client. What it submits depends on `seed` and `number` only; whom it asks does not matter.

    With `keys` it sends an Idempotency-Key and simply asks again; without, it looks first whether it was heard.
    """

    number: int
    seed: int
    servers: Sequence[Serving]
    ledger: Ledger
    executor: str
    run: str
    witness: Path | None
    pace: float
    stop: threading.Event
    keys: bool = False
    _open: list[Submitted] = field(default_factory=list)
    _due: list[tuple[float, Submitted]] = field(default_factory=list)

    def work(self) -> None:
        """Submit until told to stop, then cancel what is left to cancel."""
        dice = random.Random(f"{self.seed} client {self.number}")
        count = 0
        try:
            while not self.stop.is_set():
                work = draw(dice, f"c{self.number}-{count}")
                gap = dice.uniform(0, 2 * self.pace)
                count += 1
                self._submit(work)
                self._cancel_due(time.monotonic())
                self._make_room()
                self.stop.wait(gap)
            while self._due:
                self._cancel_due(float("inf"))
        except Exception as error:  # noqa: BLE001 - a thread's failure is one of the run
            self.ledger.problems.append(f"client {self.number}: {error!r}")

    def _submit(self, work: Work) -> None:
        body = work.spec(self.executor, self.run, self.witness)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = submit(self._server(), body, work.name if self.keys else None)
            job_id = None
            if answer is None:  # it may have been heard all the same
                self.ledger.lost_answers += 1
                job_id = None if self.keys else self._find(work.name)
                self.ledger.found_again += job_id is not None
            elif answer.status == 202:
                job_id = answer.body["id"]
            elif answer.status not in AWAY:
                raise UnexpectedAnswerError(f"POST of {work.name}: {answer}")
            if job_id is not None:
                return self._remember(Submitted(work=work, job_id=job_id))
            if time.monotonic() > deadline:
                raise UnexpectedAnswerError(f"nobody took {work.name} in {PATIENCE_SECONDS:g} s: {answer}")
            time.sleep(0.1)

    def _remember(self, job: Submitted) -> None:
        with self.ledger.lock:
            self.ledger.submitted.append(job)
        self._open.append(job)
        if job.work.cancel_after is not None:
            self._due.append((time.monotonic() + job.work.cancel_after, job))

    def _find(self, name: str) -> str | None:
        """A job by its name, which is its own; the newest jobs will do, for it would be one of them."""
        time.sleep(SETTLE_SECONDS)
        page = persistent(self.servers, "GET", "/api/v3/jobs?limit=200")
        return next((job["id"] for job in page["items"] if job["name"] == name), None)

    def _cancel_due(self, now: float) -> None:
        for due in [entry for entry in self._due if entry[0] <= now]:
            persistent(self.servers, "POST", f"/api/v3/jobs/{due[1].job_id}/cancel", expect=202)
            self._due.remove(due)

    def _make_room(self) -> None:
        """Wait while too many of ours are not final yet, and remember how those that are look."""
        while len(self._open) >= OUTSTANDING and not self.stop.is_set():
            for job in list(self._open):
                document = persistent(self.servers, "GET", f"/api/v3/jobs/{job.job_id}")
                if document["status"] in FINAL:
                    job.seen = document
                    self._open.remove(job)
            self._cancel_due(time.monotonic())
            self.stop.wait(0.2)

    def _server(self) -> Serving:
        return random.choice(self.servers)


def submit(server: Serving, body: Any, key: str | None) -> Answer | None:
    """Submit a job, with an Idempotency-Key if there is one; answers as of `ask`."""
    if key is None:
        return ask(server, "POST", "/api/v3/jobs", body)

    def post() -> Answer:
        headers = {
            "Authorization": f"Bearer {server.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        url = f"{server.url}/api/v3/jobs"
        request = urllib.request.Request(url, method="POST", data=json.dumps(body).encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, answer.headers, json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read().decode())

    return _answer(post)


def ask(server: Serving, method: str, path: str, body: Any = None) -> Answer | None:
    """One request; None when no answer came. One that nobody can have heard is answered with 503."""
    return _answer(lambda: server.ask(method, path, body))


def _answer(request: Callable[[], Answer]) -> Answer | None:
    try:
        return request()
    except (FileNotFoundError, ConnectionRefusedError):
        return Answer(503, {}, None)  # no server has written its address yet, or none listens there
    except urllib.error.URLError as error:
        return Answer(503, {}, None) if isinstance(error.reason, ConnectionRefusedError) else None
    except (OSError, http.client.HTTPException, ValueError):  # the last: an answer that was torn in its middle
        return None


def persistent(servers: Sequence[Serving], method: str, path: str, *, expect: int = 200) -> Any:
    """Ask one server or another until one answers as expected; for requests that may be repeated."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = ask(random.choice(servers), method, path)
        if answer is not None and answer.status == expect:
            return answer.body
        if answer is not None and answer.status not in AWAY:
            raise UnexpectedAnswerError(f"{method} {path}: {answer}")
        if time.monotonic() > deadline:
            raise UnexpectedAnswerError(f"{method} {path}: no server in {PATIENCE_SECONDS:g} s, {answer}")
        time.sleep(0.1)
