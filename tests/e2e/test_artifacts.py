"""Files that scripts leave, from the script to whoever fetches them, whatever happens to the server meanwhile."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.crash import VARIABLE
from tests.conftest import CRONIUM
from tests.e2e.conftest import IMAGES
from tests.e2e.disks import serving_on
from tests.e2e.serving import Serving, environment, eventually

LEAVE = """
mkdir -p "$CRONIUM_ARTIFACTS/plots"
echo 1,2 > "$CRONIUM_ARTIFACTS/report.csv"
head -c 100000 /dev/zero > "$CRONIUM_ARTIFACTS/plots/zeros.bin"
"""
LEFT = {"plots/zeros.bin": bytes(100_000), "report.csv": b"1,2\n"}


def listed(serving: Serving, job_id: str) -> list[dict[str, Any]]:
    status, page = serving.call("GET", f"/api/v3/jobs/{job_id}/artifacts")
    assert status == 200, page
    return list(page["items"])


def fetched(serving: Serving, job_id: str, place: Path) -> dict[str, bytes]:
    """All artifacts of a job, as the command fetches and checks them."""
    process = serving.cronium("artifacts", "get", job_id, "--all", "-o", str(place))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def folders(serving: Serving) -> list[str]:
    """What lies in the directory of artifacts."""
    root = serving.data_dir / "artifacts"
    return sorted(str(path.relative_to(root)) for path in root.glob("*/*"))


def attempts_are_clean(serving: Serving) -> bool:
    return [*(serving.data_dir / "attempts").iterdir()] == []


@pytest.mark.parametrize("ending", ["exit 0", "exit 3", "kill -KILL $$"])
def test_what_a_script_leaves_can_be_fetched_however_it_ends(
    shared: Serving, executor: str, ending: str, tmp_path: Path
):
    job_id = shared.submit(shell=f"{LEAVE}\n{ending}", executor=executor)
    shared.wait(job_id)
    assert fetched(shared, job_id, tmp_path / "all") == LEFT
    assert [(item["name"], item["size"], item["sha256"]) for item in listed(shared, job_id)] == [
        (name, len(data), hashlib.sha256(data).hexdigest()) for name, data in LEFT.items()
    ]
    assert eventually(lambda: attempts_are_clean(shared), "the attempts to be removed")


@pytest.mark.parametrize("how", ["cancelled", "timed_out"])
def test_what_a_script_left_before_it_was_ended_is_kept(shared: Serving, executor: str, how: str, tmp_path: Path):
    timeout = {"timeout": 3} if how == "timed_out" else {}
    job_id = shared.submit(shell=f"{LEAVE}\necho left; sleep 1000", executor=executor, **timeout)
    if how == "cancelled":
        eventually(lambda: shared.text(job_id) == ["left"], "the script to have left its files")
        shared.call("POST", f"/api/v3/jobs/{job_id}/cancel")
    assert shared.wait(job_id)["status"] == how
    assert fetched(shared, job_id, tmp_path / "all") == LEFT


def test_links_lead_a_server_nowhere(shared: Serving, executor: str, tmp_path: Path):
    script = """
cd "$CRONIUM_ARTIFACTS"
ln -s /etc/passwd link; ln -s / root; mkfifo fifo; echo x > good
"""
    job_id = shared.submit(shell=script, executor=executor)
    assert shared.wait(job_id)["status"] == "succeeded"
    assert fetched(shared, job_id, tmp_path / "all") == {"good": b"x\n"}
    assert len(shared.text(job_id, "system")) == 3


def test_of_several_attempts_the_last_ones_files_are_kept(shared: Serving, tmp_path: Path):
    script = 'echo $CRONIUM_ATTEMPT > "$CRONIUM_ARTIFACTS/a-$CRONIUM_ATTEMPT"; [ $CRONIUM_ATTEMPT = 2 ]'
    job_id = shared.submit(shell=script, executor="process", retry={"attempts": 2, "delay": 0.01})
    assert shared.wait(job_id)["attempt"] == 2
    assert fetched(shared, job_id, tmp_path / "all") == {"a-2": b"2\n"}
    mine = [folder for folder in folders(shared) if folder.startswith(job_id)]
    assert eventually(lambda: len([f for f in folders(shared) if f.startswith(job_id)]) == 1, f"one folder of {mine}")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Serving]:
    """A server on which a job may leave one megabyte in five files."""
    env = {**IMAGES, "CRONIUM_ARTIFACT_MAX_BYTES": "1000000", "CRONIUM_ARTIFACT_MAX_FILES": "5"}
    server = Serving(tmp_path / "data", env=env)
    server.data_dir.mkdir(mode=0o700)
    try:
        server.start()
        yield server
    finally:
        server.close()


def test_a_script_that_would_fill_the_disk_is_ended(small: Serving, executor: str):
    script = """
echo kept > "$CRONIUM_ARTIFACTS/a"
while :; do head -c 100000 /dev/zero >> "$CRONIUM_ARTIFACTS/big"; sleep 0.05; done
"""
    job_id = small.submit(shell=script, executor=executor)
    job = small.wait(job_id)
    assert (job["status"], job["reason"]) == ("failed", "limit")
    assert "artifact_max_bytes" in job["message"]
    assert [item["name"] for item in listed(small, job_id)] == ["a"]
    assert any("'big'" in line for line in small.text(job_id, "system"))


def test_a_script_that_left_too_much_before_anybody_looked_keeps_its_result(small: Serving):
    job_id = small.submit(shell='cd "$CRONIUM_ARTIFACTS"; touch a b c d e f g', executor="process")
    assert small.wait(job_id)["status"] == "succeeded"
    assert [item["name"] for item in listed(small, job_id)] == ["a", "b", "c", "d", "e"]
    assert len(small.text(job_id, "system")) == 2


@pytest.mark.torture
def test_what_finds_no_room_is_left_out_and_the_job_ends_as_it_does(tmp_path: Path):
    """M16"""
    with serving_on(tmp_path) as (server, _):
        server.start()
        script = """
head -c 100000 /dev/zero > "$CRONIUM_ARTIFACTS/a-small"
head -c 9000000 /dev/zero > "$CRONIUM_ARTIFACTS/b-big"
echo x > "$CRONIUM_ARTIFACTS/c-tiny"
"""
        job_id = server.submit(shell=script)
        assert server.wait(job_id)["status"] == "succeeded"
        assert [item["name"] for item in listed(server, job_id)] == ["a-small", "c-tiny"]
        [line] = server.text(job_id, "system")
        assert line == "The artifact 'b-big' (9000000 bytes) finds no room on the disk: it is not kept."
        assert eventually(lambda: attempts_are_clean(server), "the attempts to be removed")


@pytest.mark.parametrize(
    "point",
    ["exit.seen", "artifacts.before", "artifacts.copied", "finish.before", "finish.committed", "remove.done"],
)
def test_no_artifact_is_lost_and_no_file_is_left_where_the_server_dies(
    serving: Serving, executor: str, point: str, tmp_path: Path
):
    """M12"""
    serving.stop()
    serving.env[VARIABLE] = point
    serving.start()
    del serving.env[VARIABLE]
    job_id = serving.submit(shell=f"{LEAVE}\nexit 4", executor=executor)
    assert serving.process is not None
    assert serving.process.wait(60) == -signal.SIGKILL, serving.log()

    serving.start()

    job = serving.wait(job_id)
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 4, 1)
    assert fetched(serving, job_id, tmp_path / "all") == LEFT
    assert eventually(lambda: len(folders(serving)) == 1, "the folder of the dead supervision to be removed")
    assert eventually(lambda: attempts_are_clean(serving), "the attempts to be removed")


def run(flow: str, place: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    """`cronium run` of a workflow file."""
    file = place / "flow.yaml"
    file.write_text(flow)
    env = environment(XDG_STATE_HOME=str(place / "state"), **IMAGES)
    done = subprocess.run([CRONIUM, "run", file, *more], env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


FLOW = """
steps:
  extract:
    executor: {executor}
    shell: |
      mkdir "$CRONIUM_ARTIFACTS/plots"
      echo 1,2 > "$CRONIUM_ARTIFACTS/report.csv"
      echo png > "$CRONIUM_ARTIFACTS/plots/a.png"
  load:
    executor: {executor}
    needs: extract
    artifacts:
      in/data.csv: extract/report.csv
      everything: extract
    python: |
      import os, pathlib, cronium
      files = pathlib.Path(os.environ["CRONIUM_FILES"])
      cronium.output({{str(p.relative_to(files)): p.read_text() for p in sorted(files.rglob("*")) if p.is_file()}})
      assert (files / "in" / "data.csv").stat().st_mode & 0o222 == 0
outputs:
  read: "{{{{ steps.load.output }}}}"
"""


def test_a_later_step_finds_what_it_asks_for_under_the_names_it_gives(executor: str, tmp_path: Path):
    image = "    image: cronium-job-python:local\n" if executor == "docker" else ""
    flow = FLOW.format(executor=executor).replace("    python: |", f"{image}    python: |")
    code, document, err = run(flow, tmp_path)
    assert code == 0, err
    assert document["output"]["read"] == {
        "everything/plots/a.png": "png\n",
        "everything/report.csv": "1,2\n",
        "in/data.csv": "1,2\n",
    }


def test_an_artifact_that_was_not_left_fails_the_step_that_asks_for_it_and_is_named(tmp_path: Path):
    flow = """
steps:
  extract: {shell: 'echo x > "$CRONIUM_ARTIFACTS/a"'}
  load: {needs: extract, artifacts: {data: extract/b}, shell: "echo never"}
"""
    code, document, err = run(flow, tmp_path)
    assert code == 1
    assert "Step 'extract' left no artifact 'b'; it left 'a'." in json.dumps(document) + err


def test_a_script_run_here_leaves_its_files_in_the_state_directory(tmp_path: Path):
    script = tmp_path / "leave.sh"
    script.write_text(LEAVE)
    env = environment(XDG_STATE_HOME=str(tmp_path / "state"))
    done = subprocess.run([CRONIUM, "run", script], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = sorted((tmp_path / "state" / "cronium" / "artifacts").glob("*/*/**/*"))
    assert [path.name for path in found if path.is_file()] == ["zeros.bin", "report.csv"]
    assert [*(tmp_path / "state" / "cronium" / "attempts").iterdir()] == []
    assert (tmp_path / "state" / "cronium" / "artifacts").stat().st_mode & 0o077 == 0
