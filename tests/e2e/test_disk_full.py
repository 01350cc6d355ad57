"""A disk that is full: jobs wait or fail for a reason that is named, nothing is damaged, and space is all it takes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CRONIUM
from tests.e2e.disks import (
    LARGE,
    Disk,
    assert_whole,
    kinds,
    mounted,
    refuses_writes,
    serving_on,
    start_without_space,
    warnings,
)
from tests.e2e.serving import Serving, environment, eventually
from tests.e2e.test_floods import assert_counted

pytestmark = pytest.mark.torture

MANY = 200_000
# Prints a little, waits, prints much, and ends with 3. `ran` tells how often it was started.
SCRIPT = """
import os, sys, time
here = {directory!r}
with open(here + "/ran", "a") as ran:
    ran.write("once\\n")
print("begun", flush=True)
while not os.path.exists(here + "/gate"):
    time.sleep(0.02)
open(here + "/passed", "w").close()
for n in range({lines}):
    print(n)
sys.stdout.flush()
open(here + "/wrote", "w").close()
raise SystemExit(3)
"""


@pytest.fixture
def placed(tmp_path: Path) -> Iterator[tuple[Serving, Disk]]:
    with serving_on(tmp_path) as (server, disk):
        server.start()
        yield server, disk
        if server.process is not None and server.process.poll() is None:
            assert server.stop() == 0, server.log()
        assert_whole(disk.path / "cronium.db")


def fill(server: Serving, disk: Disk) -> None:
    """Fill the disk, and what the database has in reserve."""
    disk.fill()

    def refused() -> bool:
        answer = server.ask("POST", "/api/v3/jobs", {"shell": f": {LARGE}"})
        assert answer.status in (202, 503), answer
        return answer.status == 503

    eventually(refused, "the database to be full")
    disk.fill()  # a transaction that was rolled back may have left some of its pages
    eventually(lambda: refuses_writes(server), "the want of space to be noticed")


def begin(server: Serving, directory: Path, lines: int, **spec: object) -> str:
    job_id = server.submit(python=SCRIPT.format(directory=str(directory), lines=lines), **spec)
    eventually(lambda: server.text(job_id) == ["begun"], "the first line")
    return job_id


def test_a_job_that_prints_waits_for_space_and_every_line_is_there_once(placed: tuple[Serving, Disk], tmp_path: Path):
    """M16: in the store, and for who follows."""
    server, disk = placed
    job_id = begin(server, tmp_path, MANY)
    follower = server.cronium("logs", "-f", job_id)

    fill(server, disk)
    (tmp_path / "gate").touch()
    eventually((tmp_path / "passed").exists, "the script to go on")

    assert server.text(job_id) == ["begun"]  # what is stored can be read
    assert server.job(job_id)["status"] == "running"
    assert server.metrics()["cronium_store_up"] == 1
    assert not (tmp_path / "wrote").exists()  # a pipe does not hold as much: it waits
    disk.free()

    job = server.wait(job_id)
    expected = ["begun", *map(str, range(MANY))]
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 3, 1)
    assert server.text(job_id) == expected
    assert [line["seq"] for line in server.lines(job_id)] == list(range(1, MANY + 2))
    assert follower.communicate(timeout=60)[0].splitlines() == expected
    assert (tmp_path / "ran").read_text() == "once\n"
    eventually(lambda: server.call("GET", "/readyz")[0] == 200, "the server to be ready again")


def test_lines_wait_for_the_database_and_little_is_said_about_it(tmp_path: Path):
    """M16: the script's own disk has room. Of each thing that waits there is one warning a minute, and one of its end."""
    with serving_on(tmp_path) as (server, disk), mounted(disk.path / "spool", "32m"):
        server.start()
        job_id = begin(server, tmp_path, MANY)
        fill(server, disk)
        (tmp_path / "gate").touch()
        eventually((tmp_path / "wrote").exists, "the script to print all of it")
        eventually(lambda: warnings(server, "orchestrator.jobs.persist"), "lines that find no room")
        # It tries again after 0.1, 0.2, 0.4 s, ...: so many questions, each with a try to write, take longer than the first.
        for _ in range(300):
            assert server.ask("GET", "/readyz").status == 503
        assert server.text(job_id) == ["begun"]
        disk.free()

        job = server.wait(job_id)
        assert (job["exit_code"], job["attempt"]) == (3, 1)
        assert server.text(job_id) == ["begun", *map(str, range(MANY))]
        assert len(warnings(server, "orchestrator.jobs.persist")) == 1
        (over,) = (record for record in server.records() if record["message"] == "the store works again")
        assert over["refused"] > 1
        assert server.stop() == 0


def test_what_is_submitted_is_stored_or_refused_with_what_to_do(placed: tuple[Serving, Disk], tmp_path: Path):
    """M16: a job that was answered with 202 is there, one that was answered with 503 is not."""
    server, disk = placed
    script = tmp_path / "script.sh"
    script.write_text(f"true {LARGE}\n")
    fill(server, disk)
    accepted = {job["id"] for job in listed(server)}

    answer = server.ask("POST", "/api/v3/jobs", {"shell": f": {LARGE}"})
    command = subprocess.run(
        [CRONIUM, "submit", str(script)],
        env=environment(CRONIUM_URL=server.url, CRONIUM_TOKEN=server.token),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert answer.status == 503
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body["code"] == "store_unavailable"
    assert "no space left" in answer.body["detail"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert command.returncode == 1
    assert command.stdout == ""
    assert "no space left" in command.stderr
    assert "free some" in command.stderr
    disk.free()
    assert server.wait(server.submit(shell="echo after"))["status"] == "succeeded"
    assert {job["id"] for job in listed(server)} > accepted
    assert len(listed(server)) == len(accepted) + 1
    assert {server.wait(job_id)["status"] for job_id in accepted} <= {"succeeded"}


def listed(server: Serving) -> list[dict[str, str]]:
    status, page = server.call("GET", "/api/v3/jobs?limit=200")
    assert status == 200, page
    return list(page["items"])


def test_a_result_waits_for_space_and_the_script_is_not_run_again(placed: tuple[Serving, Disk], tmp_path: Path):
    """M16: and what is queued meanwhile stays queued, and runs."""
    server, disk = placed
    server.stop()
    server.env["CRONIUM_PROCESS_JOBS"] = "1"
    server.start()
    job_id = begin(server, tmp_path, 0)
    queued = server.submit(shell="echo mine")

    fill(server, disk)
    (tmp_path / "gate").touch()
    ended = disk.path / "spool" / f"cronium-{job_id}-1" / "exit"
    eventually(ended.exists, "the script to end")
    assert server.job(job_id)["status"] == "running"
    assert server.job(queued)["status"] == "queued"
    disk.free()

    job = server.wait(job_id)
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 3, 1)
    assert (tmp_path / "ran").read_text() == "once\n"
    assert kinds(server, job_id) == ["queued", "claimed", "started", "finished"]
    assert server.wait(queued)["status"] == "succeeded"
    assert server.text(queued) == ["mine"]


def test_a_server_that_was_killed_says_what_it_lacks_and_later_all_jobs_are_accounted_for(
    placed: tuple[Serving, Disk], tmp_path: Path
):
    """M12, M16: started without space it says so, and ends or waits; the script goes on."""
    server, disk = placed
    server.stop()
    server.env["CRONIUM_PROCESS_JOBS"] = "1"
    server.start()
    job_id = begin(server, tmp_path, 2000)
    queued = [server.submit(shell=f"echo {n}") for n in range(3)]
    fill(server, disk)
    known = {job["id"] for job in listed(server)}
    (tmp_path / "gate").touch()
    server.kill()

    disk.fill()
    for _ in range(2):
        said = start_without_space(server)
        assert f"no space left for {disk.path / 'cronium.db'}" in said
        server.kill()
    disk.free()
    server.start()

    job = server.wait(job_id)
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 3, 1)
    assert server.text(job_id) == ["begun", *map(str, range(2000))]
    assert (tmp_path / "ran").read_text() == "once\n"
    assert [(server.wait(other)["status"], server.text(other)) for other in queued] == [
        ("succeeded", [str(n)]) for n in range(3)
    ]
    assert {job["id"] for job in listed(server)} == known
    assert all(server.wait(known_id)["status"] in ("succeeded", "failed") for known_id in known)


@pytest.mark.parametrize("place", ["attempts", "spool"])
def test_a_job_whose_files_find_no_room_fails_with_the_reason_and_others_are_not_harmed(tmp_path: Path, place: str):
    """M16: the disk of the jobs' files is full, that of the database is not. The disk is named, and what to do."""
    with serving_on(tmp_path, "32m") as (server, disk), mounted(disk.path / place, "1m") as small:
        server.start()
        other = begin(server, tmp_path, 100)
        small.fill()

        refused = server.wait(server.submit(shell="echo never", retry=1))
        assert (refused["status"], refused["attempt"]) == ("failed", 1)
        assert refused["reason"] in ("limit", "host_unreachable")
        assert "No space left on device" in refused["message"]
        assert str(small.path) in refused["message"]
        assert server.job(other)["status"] == "running"
        assert server.call("GET", "/readyz")[0] == 200
        retried = server.submit(shell="echo at last", retry={"attempts": 20, "delay": "200ms", "backoff": "fixed"})
        if place == "spool":
            eventually(lambda: "retrying" in kinds(server, retried), "an attempt to fail")
        small.free()

        again = server.wait(server.submit(shell="echo there"))
        assert again["status"] == "succeeded"
        if place == "spool":
            assert server.wait(retried)["status"] == "succeeded"
            assert server.text(retried) == ["at last"]
        (tmp_path / "gate").touch()
        assert server.wait(other)["exit_code"] == 3
        assert server.text(other) == ["begun", *map(str, range(100))]
        eventually(lambda: not any((disk.path / "attempts").iterdir()), "the files of jobs to be removed")
        assert server.stop() == 0


def test_a_script_waits_while_its_output_finds_no_room_and_is_counted_exactly(tmp_path: Path):
    """M16: the disk of the output is full, that of the database is not."""
    limits = {"CRONIUM_LOG_MAX_LINES": "50000", "CRONIUM_LOG_MAX_BYTES": "5000000"}
    with serving_on(tmp_path, "64m", **limits) as (server, disk), mounted(disk.path / "spool", "32m") as small:
        server.start()
        flood = server.submit(
            shell="echo 1; until [ -e gate ]; do sleep 0.02; done; exec seq 2 3000000", workdir=str(tmp_path)
        )
        eventually(lambda: server.text(flood) == ["1"], "the first line")
        small.fill()
        (tmp_path / "gate").touch()
        other = server.wait(server.submit(shell="true"))
        assert other["status"] == "failed"  # its own files find no room either
        stored = server.job(flood)["log"]
        small.free()

        job = server.wait(flood)
        assert (job["status"], job["attempt"]) == ("succeeded", 1)
        assert stored["omitted_lines"] == 0
        assert_counted(server, flood)
        assert server.text(flood)[-1] == "3000000"
        assert server.stop() == 0
