"""Short chaos runs: whatever is killed, nothing is lost, doubled, wrong or left over. `make chaos` does long ones."""

from __future__ import annotations

import pytest

from tests.chaos.report import Options
from tests.chaos.run import torture

# A run waits that long for jobs that do not end, and then says which.
pytestmark = [pytest.mark.torture, pytest.mark.timeout(400)]


def test_nothing_is_lost_when_the_server_is_killed_again_and_again():
    """M12, R01: SQLite and processes."""
    report = torture(Options(seed=1, kills=8, seconds=8))

    assert report.score.clean, str(report)
    assert report.tormentor.done.total() == 8
    assert len(report.ledger.submitted) > 10


@pytest.mark.distributed
def test_nothing_is_lost_when_servers_the_store_and_the_cache_are_killed_again_and_again():
    """M12, R28, R37: two servers on one Postgres and one cache."""
    report = torture(Options(seed=2, kills=10, seconds=12, store="postgres"))

    assert report.score.clean, str(report)
    assert report.tormentor.done.keys() >= {"postgres", "cache"}
    assert len(report.ledger.submitted) > 10


@pytest.mark.docker
def test_nothing_is_lost_when_the_server_is_killed_over_containers_again_and_again():
    """M12, R01: containers go on without it."""
    report = torture(Options(seed=3, kills=6, seconds=9, executor="docker"))

    assert report.score.clean, str(report)
    assert report.starts > 3
