"""A server that dies at any of the named crash points loses, doubles and leaves over nothing."""

from __future__ import annotations

import ast
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.crash import POINTS, VARIABLE, crash_at
from orchestrator.errors import InvalidError
from tests.chaos.points import visit
from tests.chaos.scene import open_scene, place_for_a_run
from tests.conftest import CRONIUM, ROOT

# One for each way of going on; the others are torture.
QUICK = ("start.done", "lines.committed", "finish.committed", "release.committed", "admit.before")
ON_POSTGRES = (
    "submit.committed",
    "claim.committed",
    "lines.committed",
    "retry.committed",
    "adopt.committed",
    "admit.before",
    "admit.committed",
)
IN_CONTAINERS = ("start.done", "started.committed", "lines.before", "signal.sent", "finish.committed", "remove.before")


def marked(points: tuple[str, ...], quick: tuple[str, ...]) -> list[object]:
    return [pytest.param(point, marks=() if point in quick else pytest.mark.torture) for point in points]


def passed_points() -> Counter[str]:
    """The points that the code passes, by how many calls name them."""
    calls: Counter[str] = Counter()
    for path in (ROOT / "orchestrator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "crash_point":
                [name] = node.args
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: the name is not written out"
                calls[str(name.value)] += 1
    return calls


def test_the_code_passes_exactly_the_points_that_are_listed_and_each_at_one_place():
    assert passed_points() == Counter(POINTS.keys())


def test_the_process_dies_when_it_comes_to_the_point_the_nth_time_and_nowhere_else():
    died: list[str] = []
    passing = crash_at("claim.before:3", lambda: died.append("here"))

    for _ in range(2):
        passing("claim.before")
        passing("claim.committed")
    assert died == []
    passing("claim.before")
    assert died == ["here"]


@pytest.mark.parametrize("wanted", ["claim.comitted", "claim", "claim.before:0", "claim.before:x", "claim.before:-1"])
def test_a_point_that_is_none_is_refused(wanted: str):
    with pytest.raises(InvalidError) as refused:
        crash_at(wanted, lambda: None)

    assert refused.value.code == "crash_point_unknown"
    assert VARIABLE in refused.value.message


def test_a_server_says_at_start_that_there_is_no_such_point(tmp_path: Path):
    done = subprocess.run(
        [CRONIUM, "serve", "--port", "0", "--data-dir", tmp_path / "data"],
        env={**os.environ, VARIABLE: "claim.comitted"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2
    assert "did you mean `claim.committed`?" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("point", marked(tuple(POINTS), QUICK))
def test_nothing_is_lost_where_the_server_dies(point: str):
    """M12: SQLite and processes."""
    with place_for_a_run() as place, open_scene(place, store="sqlite", executor="process") as scene:
        score = visit(scene, point)

    assert score.clean, "\n".join(score.problems)


@pytest.mark.distributed
@pytest.mark.parametrize("point", marked(ON_POSTGRES, ON_POSTGRES[:2]))
def test_nothing_is_lost_on_postgres_where_the_server_dies(point: str, database: str):
    """M12"""
    env = {"DATABASE_URL": database}
    with place_for_a_run() as place, open_scene(place, store="postgres", executor="process", env=env) as scene:
        score = visit(scene, point)

    assert score.clean, "\n".join(score.problems)


@pytest.mark.docker
@pytest.mark.parametrize("point", marked(IN_CONTAINERS, IN_CONTAINERS[:1]))
def test_nothing_is_lost_over_containers_where_the_server_dies(point: str):
    """M12"""
    with place_for_a_run() as place, open_scene(place, store="sqlite", executor="docker") as scene:
        score = visit(scene, point)

    assert score.clean, "\n".join(score.problems)
