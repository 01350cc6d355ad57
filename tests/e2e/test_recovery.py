"""`kill -9` of the server while a job runs: the next start attaches, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGES
from tests.e2e.serving import Serving, eventually


def test_a_job_that_was_writing_ends_once_with_every_line_once(serving: Serving, executor: str):
    """M12: after `kill -9`, in either mode."""
    script = "import time\nfor n in range(300):\n    print(n, flush=True)\n    time.sleep(0.01)\nraise SystemExit(3)\n"
    job_id = serving.submit(python=script, executor=executor)
    eventually(lambda: len(serving.lines(job_id)) > 20, "the first lines")

    serving.kill()
    serving.start()

    job = serving.wait(job_id)
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 3, 1)
    assert serving.text(job_id) == [str(n) for n in range(300)]
    journal = serving.call("GET", f"/api/v3/jobs/{job_id}/journal")[1]["entries"]
    assert [entry["kind"] for entry in journal] == ["queued", "claimed", "started", "adopted", "finished"]


def test_a_running_job_is_attached_again_with_every_line_and_its_exit_code(serving: Serving, executor: str):
    script = "import time\nfor n in range(400):\n    print(n, flush=True)\n    time.sleep(0.01)\nraise SystemExit(3)\n"
    job_id = serving.submit(python=script, executor=executor)
    eventually(lambda: len(serving.lines(job_id)) > 20, "the first lines")

    serving.kill()
    serving.start()
    eventually(lambda: len(serving.lines(job_id)) > 150, "more lines")
    serving.kill()
    serving.start()

    job = serving.wait(job_id)
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 3, 1)
    assert serving.text(job_id) == [str(n) for n in range(400)]
    assert [line["seq"] for line in serving.lines(job_id)] == list(range(1, 401))


def test_a_job_that_ended_while_nobody_watched_is_collected(serving: Serving, executor: str, tmp_path: Path):
    job_id = serving.submit(shell="echo begun; sleep 1; echo late; exit 5", executor=executor)
    eventually(lambda: serving.text(job_id) == ["begun"], "the first line")

    serving.kill()
    eventually(lambda: not _lives(serving, job_id, executor), "the script to end by itself")
    serving.start()

    job = serving.wait(job_id)
    assert (job["status"], job["exit_code"]) == ("failed", 5)
    assert serving.text(job_id) == ["begun", "late"]


def test_queued_jobs_run_after_a_kill(serving: Serving, executor: str):
    serving.stop()
    serving.env["CRONIUM_PROCESS_JOBS"] = serving.env["CRONIUM_DOCKER_JOBS"] = "1"
    serving.start()
    first = serving.submit(shell="sleep 1", executor=executor)
    others = [serving.submit(shell=f"echo {n}", executor=executor) for n in range(3)]

    serving.kill()
    serving.start()

    assert serving.wait(first)["status"] == "succeeded"
    assert [serving.wait(job_id)["status"] for job_id in others] == ["succeeded"] * 3


def test_sdk_calls_work_after_the_server_was_replaced(serving: Serving, executor: str):
    script = """
import time, cronium
print("begun", flush=True)
while cronium.get_variable("go") is None:
    time.sleep(0.05)
cronium.output("done")
"""
    job_id = serving.submit(python=script, executor=executor)
    eventually(lambda: serving.text(job_id) == ["begun"], "the first line")

    serving.kill()
    serving.start()
    serving.wait(serving.submit(python="import cronium\ncronium.set_variable('go', 1)", executor="process"))

    job = serving.wait(job_id)
    assert (job["status"], job["output"]) == ("succeeded", "done")


def test_cancelling_works_on_an_adopted_job(serving: Serving, executor: str):
    job_id = serving.submit(shell="echo begun; sleep 1000", executor=executor)
    eventually(lambda: serving.text(job_id) == ["begun"], "the first line")
    serving.kill()
    serving.start()

    serving.call("POST", f"/api/v3/jobs/{job_id}/cancel")

    assert serving.wait(job_id)["status"] == "cancelled"


def test_an_orderly_stop_leaves_the_script_running(serving: Serving, executor: str):
    job_id = serving.submit(shell="echo begun; sleep 2; echo done", executor=executor)
    eventually(lambda: serving.text(job_id) == ["begun"], "the first line")

    assert serving.stop() == 0
    serving.start()

    assert serving.wait(job_id)["status"] == "succeeded"
    assert serving.text(job_id) == ["begun", "done"]


def test_a_long_data_directory_is_no_hindrance(tmp_path: Path, executor: str):
    long = tmp_path
    while len(str(long)) < 200:
        long /= "d" * 40
    long.mkdir(parents=True)
    server = Serving(long / "data", env=dict(IMAGES))
    server.data_dir.mkdir(mode=0o700)
    server.start()
    try:
        job_id = server.submit(python="import cronium\ncronium.output(cronium.input())", input=[1], executor=executor)
        job = server.wait(job_id)
        assert (job["status"], job["output"]) == ("succeeded", [1]), server.lines(job_id)
    finally:
        server.stop()


def test_nothing_is_left_over_after_jobs_have_ended(serving: Serving):
    for _ in range(3):
        serving.wait(serving.submit(shell="echo x", executor="process"))

    def leftovers() -> list[Path]:
        return [*(serving.data_dir / "attempts").iterdir(), *(serving.data_dir / "spool").iterdir()]

    assert eventually(lambda: leftovers() == [], "the directories to be removed")


def test_a_second_server_on_the_same_data_is_refused(serving: Serving):
    second = Serving(serving.data_dir)
    with pytest.raises(AssertionError, match="the server ended"):
        second.start()

    assert serving.wait(serving.submit(shell="true"))["status"] == "succeeded"


def _lives(serving: Serving, job_id: str, executor: str) -> bool:
    if executor == "process":
        return not (serving.data_dir / "spool" / f"cronium-{job_id}-1" / "exit").exists()
    import subprocess

    state = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Running}}", f"cronium-{job_id}-1"], capture_output=True, text=True
    )
    return state.stdout.strip() == "true"
