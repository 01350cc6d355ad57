"""Retries as a user sees them: over the API, and as steps of `cronium run`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.conftest import CRONIUM
from tests.e2e.serving import Serving, environment

FLAKY = """echo "attempt $CRONIUM_ATTEMPT"; [ "$CRONIUM_ATTEMPT" -ge 3 ]"""


def test_a_job_that_fails_twice_succeeds_the_third_time_with_every_line(shared: Serving):
    job_id = shared.submit(bash=FLAKY, executor="process", retry={"attempts": 3, "delay": "20ms"})

    job = shared.wait(job_id)

    assert (job["status"], job["attempt"], job["exit_code"]) == ("succeeded", 3, 0)
    lines = shared.lines(job_id)
    assert [(line["seq"], line["attempt"], line["text"]) for line in lines] == [
        (n, n, f"attempt {n}") for n in (1, 2, 3)
    ]
    _, journal = shared.call("GET", f"/api/v3/jobs/{job_id}/journal")
    assert [entry["kind"] for entry in journal["entries"]].count("retrying") == 2


def test_a_job_that_never_succeeds_ends_after_its_attempts(shared: Serving):
    job_id = shared.submit(bash="exit 75", executor="process", retry={"attempts": 2, "delay": "20ms"})
    job = shared.wait(job_id)
    assert (job["status"], job["reason"], job["attempt"], job["exit_code"]) == ("failed", "exit_code", 2, 75)


def test_another_exit_code_than_those_named_is_final(shared: Serving):
    retry = {"attempts": 5, "delay": "20ms", "exit_codes": [75]}
    job = shared.wait(shared.submit(bash="exit 1", executor="process", retry=retry))
    assert (job["status"], job["attempt"]) == ("failed", 1)


def test_a_step_of_a_workflow_is_tried_again(tmp_path: Path):
    (tmp_path / "w.yaml").write_text(
        f"name: flaky\nsteps:\n  try:\n    bash: |\n      {FLAKY}\n    retry: {{attempts: 3, delay: 20ms}}\n"
        "  then:\n    needs: [try]\n    bash: echo done\n"
    )
    done = subprocess.run(
        [CRONIUM, "run", "--ephemeral", "w.yaml"],
        cwd=tmp_path,
        env=environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert {name: step["status"] for name, step in run["steps"].items()} == {"try": "succeeded", "then": "succeeded"}


def test_a_dead_job_is_listed_and_run_again_by_one_command(shared: Serving, tmp_path: Path):
    gate = tmp_path / "mended"
    job_id = shared.submit(bash=f"[ -e {gate} ]", executor="process", name="mendable")
    assert shared.wait(job_id)["status"] == "failed"
    assert job_id in cli(shared, "jobs", "--dead")
    gate.touch()

    again = cli(shared, "jobs", "retry", job_id).strip()

    assert shared.wait(again)["status"] == "succeeded"
    assert cli(shared, "jobs", "retry", job_id).strip() == again
    assert job_id not in cli(shared, "jobs", "--dead")


def cli(server: Serving, *args: str) -> str:
    process = server.cronium(*args)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out
