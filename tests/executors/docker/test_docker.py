"""The docker executor keeps every promise of the seam."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Executor
from tests.executors.docker.engine_for_tests import IMAGE, open_executor
from tests.suites.executor_suite import ExecutorSuite

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]


class TestDockerExecutor(ExecutorSuite):
    image = IMAGE
    test_every_byte_arrives_unchanged = None  # Docker's log, read again after a restart, replaces invalid UTF-8
    test_nothing_else_is_in_the_environment = None  # Docker and the image add variables of their own
    test_stdin_is_read = None  # no input is passed into containers

    def open_executor(self, state: Path) -> AbstractAsyncContextManager[Executor]:
        return open_executor(state)
