"""Two servers on one Postgres: either takes requests for the jobs of both, and either runs what the other has no room for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import Serving, eventually

pytestmark = pytest.mark.distributed


@pytest.fixture
def first(tmp_path: Path, database: str) -> Iterator[Serving]:
    """One server, with room for one job."""
    yield from one_server(tmp_path / "first" / "data", database)


@pytest.fixture
def second(tmp_path: Path, database: str, first: Serving, taken: Path) -> Iterator[Serving]:
    """The other, started when the first has no room left. The token is in the database, so it is the same."""
    data_dir = tmp_path / "second" / "data"
    data_dir.mkdir(mode=0o700, parents=True)
    (data_dir / "admin.token").write_text(first.token)
    yield from one_server(data_dir, database)


def one_server(data_dir: Path, database: str) -> Iterator[Serving]:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = Serving(data_dir, env={"DATABASE_URL": database, "CRONIUM_PROCESS_JOBS": "1"})
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def taken(first: Serving, tmp_path: Path) -> Iterator[Path]:
    """The gate of a job that takes all the room that the first server has."""
    gate = tmp_path / "taken"
    job_id = first.submit(shell=waiting_for(gate))
    eventually(lambda: first.text(job_id) == ["begun"], "the job that takes the room")
    assert ran_at(first, job_id) == first.process_id
    yield gate
    gate.touch()


def waiting_for(gate: Path) -> str:
    return f"echo begun; until [ -e {gate} ]; do sleep 0.05; done; echo done"


def ran_at(server: Serving, job_id: str) -> int:
    """The process id of the server that claimed the job, as the journal tells it."""
    status, journal = server.call("GET", f"/api/v3/jobs/{job_id}/journal")
    assert status == 200
    claims = [entry["by"] for entry in journal["entries"] if entry["kind"] == "claimed"]
    assert len(claims) == 1, journal
    return int(claims[0].split(":")[2])


def test_what_one_server_has_no_room_for_the_other_runs(first: Serving, second: Serving):
    job_id = first.submit(shell="echo here", input=None)

    assert first.wait(job_id)["status"] == "succeeded"
    assert ran_at(first, job_id) == second.process_id
    assert first.text(job_id) == second.text(job_id) == ["here"]


def test_a_watcher_of_one_server_sees_the_lines_of_a_job_of_the_other_as_they_come(
    first: Serving, second: Serving, tmp_path: Path
):
    gate = tmp_path / "gate"
    job_id = first.submit(shell=waiting_for(gate))
    watcher = first.cronium("watch", job_id)
    assert watcher.stdout is not None

    assert watcher.stdout.readline() == "begun\n"  # while the job waits
    gate.touch()
    rest, err = watcher.communicate(timeout=60)

    assert (rest, watcher.returncode) == ("done\n", 0), err
    assert ran_at(first, job_id) == second.process_id


def test_cancelling_at_one_server_ends_a_job_of_the_other(first: Serving, second: Serving):
    job_id = first.submit(shell="echo begun; sleep 1000")
    eventually(lambda: second.text(job_id) == ["begun"], "the first line")
    assert ran_at(first, job_id) == second.process_id

    assert first.call("POST", f"/api/v3/jobs/{job_id}/cancel")[0] == 202

    job = second.wait(job_id)
    assert (job["status"], job["reason"]) == ("cancelled", "cancelled")
    assert first.job(job_id) == job


def test_each_of_many_jobs_runs_once_wherever_it_was_submitted(first: Serving, second: Serving, taken: Path):
    taken.touch()
    jobs = [server.submit(shell=f"echo {n}") for n in range(10) for server in (first, second)]

    assert {first.wait(job_id)["status"] for job_id in jobs} == {"succeeded"}
    assert [second.text(job_id) for job_id in jobs] == [[str(n)] for n in range(10) for _ in range(2)]
    assert {ran_at(first, job_id) for job_id in jobs} <= {first.process_id, second.process_id}
    assert {first.job(job_id)["attempt"] for job_id in jobs} == {1}


def test_the_end_of_one_server_leaves_the_jobs_of_the_other_alone(first: Serving, second: Serving, tmp_path: Path):
    gate = tmp_path / "gate"
    job_id = first.submit(shell=waiting_for(gate))
    eventually(lambda: second.text(job_id) == ["begun"], "the first line")
    assert ran_at(second, job_id) == second.process_id

    assert first.stop() == 0
    gate.touch()

    assert (second.wait(job_id)["status"], second.text(job_id)) == ("succeeded", ["begun", "done"])


def test_a_server_that_was_killed_finds_its_job_again_and_the_other_leaves_it_alone(
    first: Serving, tmp_path: Path, database: str
):
    gate = tmp_path / "gate"
    job_id = first.submit(shell=waiting_for(gate))
    eventually(lambda: first.text(job_id) == ["begun"], "the first line")
    (tmp_path / "other").mkdir()
    for other in one_server(tmp_path / "other" / "data", database):
        (other.data_dir / "admin.token").write_text(first.token)
        first.kill()
        assert other.wait(other.submit(shell="echo meanwhile"))["status"] == "succeeded"
        first.start()
        gate.touch()

        job = other.wait(job_id)
        assert (job["status"], job["attempt"], other.text(job_id)) == ("succeeded", 1, ["begun", "done"])
        _, journal = other.call("GET", f"/api/v3/jobs/{job_id}/journal")
        [adopted] = [entry["by"] for entry in journal["entries"] if entry["kind"] == "adopted"]
        assert int(adopted.split(":")[2]) == first.process_id
