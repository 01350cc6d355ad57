"""A server that is given a known mix of jobs and dies at a named crash point; then another one goes on."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.crash import POINTS, VARIABLE
from tests.chaos.check import Score
from tests.chaos.clients import AWAY, Ledger, Submitted, UnexpectedAnswerError, ask, submit
from tests.chaos.mix import Work
from tests.chaos.scene import Scene, examine
from tests.chaos.ticking import Ticking, ticking
from tests.e2e.serving import Serving

DEATH_SECONDS = 40.0
LOOK_SECONDS = 0.02

# Every way that a job takes: each has points of its own.
MIX = (
    Work(name="short", kind="short", lines=3, exit_code=7),
    Work(name="saving", kind="saving", lines=8, pause=0.05, saves=3),
    Work(name="retried", kind="retried", lines=2, attempts=2),
    Work(name="cancelled", kind="cancelled", lines=None, pause=0.02, cancel_after=0.0, family=True),
)
# Those that wait for a place: what ends before them must admit them, whoever dies meanwhile.
LIMITED = (
    *(Work(name=f"alone-{number}", kind="limited", lines=4, pause=0.05, limit=1) for number in range(3)),
    *(Work(name=f"two-{number}", kind="limited", lines=4, pause=0.05, limit=2) for number in range(3)),
)
LONG = Work(name="long", kind="long", lines=130, pause=0.05)  # longer than it is until leases are renewed

# These are visited with an event beside the mix, and without limits: it is the webhook that is to be told at least once.
OF_EVENTS = tuple(point for point in POINTS if point.startswith(("fire.", "follow.")))
# Some points are passed only where an earlier server has died at another one.
BEFORE = {
    "claim.before": "submit.committed",
    "release.before": "claim.committed",
    "release.committed": "claim.committed",
    **{point: "started.committed" for point in POINTS if point.startswith(("adopt.", "attach.", "sweep."))},
}


def works_for(point: str) -> Sequence[Work]:
    if point in OF_EVENTS:
        return MIX
    return (*MIX, *LIMITED, LONG) if point.startswith("renew.") else (*MIX, *LIMITED)


@dataclass(slots=True, kw_only=True)
class Insistence:
    """
    Submits each job, with an Idempotency-Key, until a server has heard it; cancels those that are to be cancelled when
    they have said something: before, there would be nothing to signal.
    """

    scene: Scene
    works: Sequence[Work]
    ledger: Ledger = field(default_factory=Ledger)
    _to_cancel: list[str] = field(default_factory=list)

    def done(self) -> bool:
        """Ask once for all that nobody has acknowledged; whether nothing is left to ask for."""
        server = self.scene.servers[0]
        known = {job.work.name for job in self.ledger.submitted}
        for work in self.works:
            if work.name not in known:
                self._submit(server, work)
        for job_id in list(self._to_cancel):
            found = ask(server, "GET", f"/api/v3/jobs/{job_id}")
            speaks = found is not None and found.status == 200 and found.body["log"]["lines"] > 0
            if speaks and self._heard(ask(server, "POST", f"/api/v3/jobs/{job_id}/cancel")):
                self._to_cancel.remove(job_id)
        return len(self.ledger.submitted) == len(self.works) and not self._to_cancel

    def _submit(self, server: Serving, work: Work) -> None:
        body = work.spec(self.scene.executor, self.scene.mark, self.scene.witness)
        answer = submit(server, body, work.name)
        if not self._heard(answer):
            return
        assert answer is not None
        job_id = str(answer.body["id"])
        self.ledger.submitted.append(Submitted(work=work, job_id=job_id))
        if work.cancel_after is not None:
            self._to_cancel.append(job_id)

    def _heard(self, answer: object) -> bool:
        status = getattr(answer, "status", None)
        if status not in (None, 202, *AWAY):
            raise UnexpectedAnswerError(str(answer))
        return status == 202


def die_at(server: Serving, point: str, insistence: Insistence) -> None:
    """Start a server that dies at `point`, keep it busy, and see it die there."""
    server.env[VARIABLE] = point
    server.spawn()
    del server.env[VARIABLE]
    assert server.process is not None
    deadline = time.monotonic() + DEATH_SECONDS
    while server.process.poll() is None:
        assert time.monotonic() < deadline, f"nothing passed {point} in {DEATH_SECONDS:g} s:\n{server.log()}"
        insistence.done()
        time.sleep(LOOK_SECONDS)
    assert server.process.returncode == -signal.SIGKILL, server.log()


def visit(scene: Scene, point: str) -> Score:
    """Let a server die at `point` in the middle of the mix, start another one, and judge what became of the jobs."""
    with contextlib.ExitStack() as stack:
        beside = stack.enter_context(_with_an_event(scene)) if point in OF_EVENTS else None
        return _visit(scene, point, beside)


@contextlib.contextmanager
def _with_an_event(scene: Scene) -> Iterator[Ticking]:
    [server] = scene.servers
    server.start()
    with ticking(scene) as beside:
        assert beside is not None, "this server has no events"
        server.kill()
        yield beside


def _visit(scene: Scene, point: str, beside: Ticking | None) -> Score:
    [server] = scene.servers
    insistence = Insistence(scene=scene, works=works_for(point))
    if point in BEFORE:
        die_at(server, BEFORE[point], insistence)
    die_at(server, point, insistence)
    server.start()
    deadline = time.monotonic() + DEATH_SECONDS
    while not insistence.done():
        assert time.monotonic() < deadline, f"jobs are not taken:\n{server.log()}"
        time.sleep(LOOK_SECONDS)
    score, _ = examine(scene, insistence.ledger, beside)
    return score
