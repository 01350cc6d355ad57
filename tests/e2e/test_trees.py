"""What scripts leave behind: children, sessions of their own, ears for TERM that are closed."""

from __future__ import annotations

import subprocess
import uuid

import pytest

from tests.e2e.serving import Serving, eventually


def alive(mark: str) -> list[str]:
    """Command lines of living processes that carry `mark`."""
    found = subprocess.run(["pgrep", "-af", mark], capture_output=True, text=True).stdout.splitlines()
    return [line for line in found if "pgrep" not in line]


@pytest.fixture
def mark() -> str:
    """A number of seconds that no other sleeping process has."""
    return f"1000{uuid.uuid4().int % 10**8:08d}"


@pytest.mark.parametrize("way", ["sleep {} &", "setsid sleep {} &", "nohup setsid sleep {} > /dev/null 2>&1 &"])
def test_children_left_behind_are_ended_with_the_job(shared: Serving, executor: str, mark: str, way: str):
    job_id = shared.submit(shell=f"{way.format(mark)}\necho done", executor=executor)

    job = shared.wait(job_id)

    assert (job["status"], shared.text(job_id)) == ("succeeded", ["done"])
    eventually(lambda: alive(f"sleep {mark}") == [], "the child to be gone")


def test_a_script_that_ignores_term_is_killed_after_the_grace_period(serving: Serving, executor: str, mark: str):
    serving.stop()
    serving.env["CRONIUM_GRACE_SECONDS"] = "0.5"
    serving.start()
    job_id = serving.submit(bash=f"trap '' TERM\necho begun\nwhile :; do sleep {mark}; done", executor=executor)
    eventually(lambda: serving.text(job_id) == ["begun"], "the first line")

    serving.call("POST", f"/api/v3/jobs/{job_id}/cancel")

    assert serving.wait(job_id)["status"] == "cancelled"
    eventually(lambda: alive(f"sleep {mark}") == [], "the tree to be gone")


def test_a_script_may_clean_up_on_term(shared: Serving, executor: str):
    script = "trap 'echo cleaned; exit 9' TERM\necho begun\nwhile :; do sleep 0.05; done"
    job_id = shared.submit(bash=script, executor=executor)
    eventually(lambda: shared.text(job_id) == ["begun"], "the first line")

    shared.call("POST", f"/api/v3/jobs/{job_id}/cancel")

    job = shared.wait(job_id)
    assert (job["status"], job["exit_code"], shared.text(job_id)) == ("cancelled", 9, ["begun", "cleaned"])
