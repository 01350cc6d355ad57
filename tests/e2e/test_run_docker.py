"""`cronium run` with containers and no process executor at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.test_run import cronium, env  # noqa: F401 - a fixture

pytestmark = pytest.mark.docker


def test_a_workflow_of_containers_only_may_fail_and_skip(env, tmp_path: Path):  # noqa: F811
    (tmp_path / "w.yaml").write_text(
        "name: w\nsteps:\n"
        "  never: {if: '{{ 1 > 2 }}', image: cronium-debian:local, shell: 'true'}\n"
        "  bad: {image: 'cronium-none:1', pull: never, shell: 'true'}\n"
        "  after: {needs: [bad], image: cronium-debian:local, shell: 'true'}\n"
        "  good: {image: cronium-debian:local, shell: 'echo from inside'}\n"
    )

    done = cronium("run", "w.yaml", env=env, cwd=tmp_path)

    assert done.returncode == 1
    run = json.loads(done.stdout)
    assert {name: step["status"] for name, step in run["steps"].items()} == {
        "never": "skipped",
        "bad": "failed",
        "after": "skipped",
        "good": "succeeded",
    }
    assert "from inside" in done.stderr


def test_a_script_runs_in_an_image(env, tmp_path: Path):  # noqa: F811
    (tmp_path / "a.py").write_text("import cronium, os\nprint(os.getuid())\ncronium.output(cronium.input())")

    done = cronium(
        "run", "a.py", "--image", "cronium-job-python:local", "--input", "[1]", "--json", env=env, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["output"], done.stderr) == ([1], "65534\n")
