"""Every test of the docker executor leaves the engine as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executors.docker.engine_for_tests import containers_of, docker


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Fails a test that leaves a container behind, and removes it."""
    yield
    left = containers_of(tmp_path)
    if left:
        docker("rm", "-f", "-v", *left)
    assert left == []
