"""What orchestrators that share a store tell each other, and what they do when they hear it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.contracts.store import EVERYTHING, Bell
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.follow import Follower
from orchestrator.model.jobs import JobId

QUEUED = "queued"
CANCEL = "cancel"
NEWS = "news"


@dataclass(frozen=True, slots=True)
class Teller:
    """Says what happened here. All of it is in the store already: this only saves the others a poll."""

    bell: Bell
    queue: str

    def queued(self) -> None:
        """A job was submitted."""
        self.bell.ring(f"{QUEUED}:{self.queue}")

    def cancel(self, job_id: JobId) -> None:
        """Cancelling a running job was requested."""
        self.bell.ring(f"{CANCEL}:{job_id}")

    def news(self, job_id: JobId) -> None:
        """Lines or a change of a job were stored."""
        self.bell.ring(f"{NEWS}:{job_id}")


def hearing(dispatcher: Dispatcher, follower: Follower, feed: Feed) -> Callable[[str], None]:
    """What to call with each topic that another orchestrator rings."""

    def hear(topic: str) -> None:
        kind, _, subject = topic.partition(":")
        if kind == QUEUED and subject == dispatcher.queue:
            dispatcher.wake()
        elif kind == CANCEL:
            dispatcher.look()  # whoever rang, only what is stored counts
        elif kind == NEWS:
            feed.heard(JobId(subject))
        elif kind == EVERYTHING:
            dispatcher.wake()
            dispatcher.look()
            follower.wake()
            feed.heard_everything()

    return hear
