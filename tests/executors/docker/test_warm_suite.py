"""A start in a container that waited keeps every promise of the seam, and is as isolated as a cold one: the same tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.executor import Executor
from tests.executors.docker import test_isolation as isolation
from tests.executors.docker.engine_for_tests import IMAGE
from tests.executors.docker.test_isolation import *  # noqa: F403 - every test there is one here
from tests.executors.docker.warm_for_tests import AlwaysWarm, open_always_warm
from tests.suites.executor_suite import ExecutorSuite

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left", "warm")]

# Labels cannot be changed once a container is made: a warm one says its job by its name alone.
del test_a_container_says_whose_it_is_and_is_limited  # type: ignore[name-defined]  # noqa: F821
COLD = {"test_the_network_of_another_container_is_refused"}  # it is not started


class Opened:
    """What was started in the executors of one test."""

    def __init__(self) -> None:
        self.executors: list[AlwaysWarm] = []

    @asynccontextmanager
    async def open(self, state: Path, **changes: Any) -> AsyncIterator[AlwaysWarm]:
        async with open_always_warm(state, **changes) as executor:
            self.executors.append(executor)
            yield executor

    @property
    def hits(self) -> int:
        return sum(executor.tally.hits for executor in self.executors)


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """The tests of isolation open a warm executor; that something was started warm is seen to."""
    opened = Opened()
    monkeypatch.setattr(isolation, "open_executor", opened.open)
    yield
    if opened.executors and request.node.name not in COLD:
        assert opened.hits > 0


class TestWarmDockerExecutor(ExecutorSuite):
    image = IMAGE
    test_every_byte_arrives_unchanged = None  # as for cold ones
    test_nothing_else_is_in_the_environment = None
    test_stdin_is_read = None

    def open_executor(self, state: Path) -> AbstractAsyncContextManager[Executor]:
        return open_always_warm(state)
