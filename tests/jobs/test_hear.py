"""What orchestrators tell each other reaches the right one of the three that act on it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from orchestrator.contracts.store import EVERYTHING
from orchestrator.jobs.hear import Teller, hearing
from orchestrator.model.jobs import JobId


class Recorder:
    """Stands for dispatcher, follower and feed: writes down what each is asked."""

    queue = "default"

    def __init__(self, name: str, said: list) -> None:
        self._name, self._said = name, said

    def wake(self):
        self._said.append(f"{self._name} wakes")

    def look(self):
        self._said.append(f"{self._name} looks")

    def heard(self, job_id):
        self._said.append(f"{self._name} looks at {job_id}")

    def heard_everything(self):
        self._said.append(f"{self._name} looks at everything")


class Rung:
    """A bell whose sound goes straight to one listener."""

    def __init__(self, hear) -> None:
        self.ring = hear

    def listen(self, heard):
        return nullcontext()


@pytest.fixture
def said():
    return []


@pytest.fixture
def hear(said):
    return hearing(Recorder("dispatcher", said), Recorder("follower", said), Recorder("feed", said))


def test_what_one_tells_the_other_acts_upon(said, hear):
    teller = Teller(Rung(hear), "default")
    teller.queued()
    teller.cancel(JobId("job_1"))
    teller.news(JobId("job_2"))
    assert said == ["dispatcher wakes", "dispatcher looks", "feed looks at job_2"]


def test_jobs_of_another_queue_wake_nobody(said, hear):
    Teller(Rung(hear), "elsewhere").queued()
    assert said == []


def test_after_lost_wake_ups_everybody_looks(said, hear):
    hear(EVERYTHING)
    assert said == ["dispatcher wakes", "dispatcher looks", "follower wakes", "feed looks at everything"]


def test_what_a_newer_version_says_is_passed_over(said, hear):
    hear("something:new")
    assert said == []
