"""Two servers on one Postgres and one machine: when one is dead, the other goes on with its jobs until it comes back."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.places import KEY_FILE, instance_of, socket_root
from tests.chaos import leftovers
from tests.conftest import CRONIUM
from tests.e2e.conftest import IMAGES
from tests.e2e.serving import Serving, environment, eventually
from tests.servers import Postgres

pytestmark = pytest.mark.distributed

EXECUTORS = ["process", pytest.param("docker", marks=pytest.mark.docker)]

# Counts with a call to the runtime API for each number, until it is told to stop; then ends with 7.
COUNTING = """
import cronium, os, sys, time
key = "n-" + os.environ["CRONIUM_JOB_ID"]
n = 0
while cronium.get_variable("stop") is None:
    n += 1
    cronium.set_variable(key, n)
    if cronium.get_variable(key) != n:
        sys.exit("another value than was set")
    print(n, flush=True)
    time.sleep(0.02)
print("stopped", flush=True)
sys.exit(7)
"""

# Sends half of a call when it is told to, and waits for whoever took it to hang up.
HALF_A_CALL = """
import os, socket, sys, time
print("begun", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
plug = socket.socket(socket.AF_UNIX)
plug.connect(os.environ["CRONIUM_RUNTIME_API"][len("unix:"):])
lines = ["PUT /executions/current/variables/x HTTP/1.1", "Host: x", "Content-Length: 100",
         "Authorization: Bearer " + os.environ["CRONIUM_EXECUTION_TOKEN"], "", "half"]
plug.sendall("\\r\\n".join(lines).encode())
print("half", flush=True)
try:
    while plug.recv(1000):
        pass
except ConnectionError:
    pass
print("hung up", flush=True)
"""


@dataclass
class Pair:
    """Servers with data directories of their own on one database; they share its admin token."""

    root: Path
    postgres: Postgres
    database: str
    servers: list[Serving] = field(default_factory=list)

    def start(self, name: str, **env: str) -> Serving:
        server = Serving(self.root / name / "data", env={"DATABASE_URL": self.database, **IMAGES, **env})
        server.data_dir.mkdir(mode=0o700, parents=True)
        if self.servers:
            (server.data_dir / "admin.token").write_text(self.servers[0].token)
        self.servers.append(server)
        server.start()
        return server

    def sql(self, statement: str) -> str:
        return self.postgres.run(statement, self.database.rpartition("/")[2])

    def end_leases(self, server: Serving) -> None:
        """As if its leases had run out: a test need not wait for that."""
        self.sql(f"UPDATE jobs SET lease_until = 0 WHERE status = 'running' AND owner LIKE '{instance(server)}:%'")

    def supervisor(self, job_id: str) -> int:
        """The id of the process that has the lease on a job; 0: nobody has."""
        owner = self.sql(f"SELECT owner FROM jobs WHERE id = '{job_id}'")
        return int(owner.split(":")[2]) if owner else 0

    def until_supervised_by(self, server: Serving, *jobs: str) -> None:
        eventually(lambda: {self.supervisor(job) for job in jobs} == {server.process_id}, f"{jobs} to be adopted")


@pytest.fixture
def pair(tmp_path: Path, postgres: Postgres, database: str) -> Iterator[Pair]:
    pair = Pair(tmp_path, postgres, database)
    try:
        yield pair
    finally:
        for server in pair.servers:
            server.close()


def instance(server: Serving) -> str:
    return instance_of((server.data_dir / KEY_FILE).read_bytes())


def counting(server: Serving, executor: str = "process") -> str:
    """A job that counts, and has begun."""
    job_id = server.submit(python=COUNTING, executor=executor)
    until_grown(server, job_id)
    return job_id


def until_grown(server: Serving, *jobs: str) -> None:
    """Wait until each has written more lines."""
    for job_id in jobs:
        before = len(server.lines(job_id))
        eventually(lambda job=job_id, lines=before: len(server.lines(job)) > lines + 5, f"more lines of {job_id}")


def stop_counting(server: Serving, *jobs: str) -> None:
    """Tell the jobs to stop, and see that they ended well, with every number once."""
    last = server.submit(python='import cronium\ncronium.set_variable("stop", True)', executor="process")
    assert server.wait(last)["status"] == "succeeded"
    for job_id in jobs:
        job = server.wait(job_id)
        assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 7, 1), server.lines(job_id)[-5:]
        *numbers, end = server.text(job_id)
        assert (numbers, end) == ([str(n + 1) for n in range(len(numbers))], "stopped")


def nothing_is_left(server: Serving) -> Callable[[], bool]:
    """Whether what a dead server had begun is all cleared away, and its heir has let go of it."""

    def look() -> bool:
        return not (leftovers.files(server.data_dir) or sockets(server))

    return look


def sockets(server: Serving) -> list[str]:
    """The runtime sockets of a server on which somebody listens."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    place = str(socket_root(server.data_dir, os.environ))
    return [row[7] for row in rows if len(row) > 7 and row[7].startswith(place)]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_server_goes_on_with_the_jobs_of_one_that_was_killed(pair: Pair, executor: str, tmp_path: Path):
    """M12, with the leases as they are: lines once, runtime calls go on, exit status, nothing left over."""
    dead = pair.start("dead")
    jobs = [counting(dead, executor) for _ in range(2)]
    gate = tmp_path / "gate"
    quiet = dead.submit(
        shell=f"for n in $(seq 500); do echo $n; done; until [ -e {gate} ]; do sleep 0.05; done; exit 3"
    )
    eventually(lambda: len(dead.lines(quiet)) == 500, "the lines of the other job")
    heir = pair.start("heir")
    dead.kill()

    pair.until_supervised_by(heir, *jobs, quiet)
    until_grown(heir, *jobs)
    gate.touch()
    assert heir.wait(quiet)["exit_code"] == 3
    assert heir.text(quiet) == [str(n + 1) for n in range(500)]
    stop_counting(heir, *jobs)
    eventually(nothing_is_left(dead), "the files and sockets of the dead server to be cleared away")
    journal = heir.call("GET", f"/api/v3/jobs/{jobs[0]}/journal")[1]["entries"]
    assert [entry["kind"] for entry in journal] == ["queued", "claimed", "started", "adopted", "finished"]
    if executor == "docker":
        assert leftovers.containers(dead.data_dir) == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_jobs_go_to_and_fro_between_an_heir_and_their_owner(pair: Pair, executor: str):
    owner, heir = pair.start("owner"), None
    job_id = counting(owner, executor)
    heir = pair.start("heir")
    for _ in range(3):
        owner.kill()
        pair.end_leases(owner)
        pair.until_supervised_by(heir, job_id)
        until_grown(heir, job_id)
        owner.start()  # the heir lets go of the directory, or this fails
        pair.until_supervised_by(owner, job_id)
        until_grown(heir, job_id)

    stop_counting(heir, job_id)
    assert [owner.stop(), leftovers.files(owner.data_dir)] == [0, []]


def test_cancelling_at_the_heir_ends_a_job_that_it_has_taken_over(pair: Pair):
    dead = pair.start("dead")
    job_id = dead.submit(shell="echo begun; sleep 1000")
    eventually(lambda: dead.text(job_id) == ["begun"], "the first line")
    heir = pair.start("heir")
    dead.kill()
    pair.end_leases(dead)
    pair.until_supervised_by(heir, job_id)
    watcher = heir.cronium("watch", job_id)
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "begun\n"

    assert heir.call("POST", f"/api/v3/jobs/{job_id}/cancel")[0] == 202

    watcher.communicate(timeout=60)
    assert watcher.returncode != 0
    assert (heir.job(job_id)["status"], heir.job(job_id)["reason"]) == ("cancelled", "cancelled")
    eventually(nothing_is_left(dead), "what the dead server left to be cleared away")


def test_an_heir_that_is_killed_is_inherited_with_what_it_had_inherited(pair: Pair):
    first = pair.start("first")
    one = counting(first)
    second = pair.start("second", CRONIUM_PROCESS_JOBS="1")
    first.kill()
    pair.end_leases(first)
    pair.until_supervised_by(second, one)
    two = counting(second)
    third = pair.start("third")
    second.kill()
    pair.end_leases(first)
    pair.end_leases(second)

    pair.until_supervised_by(third, one, two)
    until_grown(third, one, two)
    first.start()
    pair.until_supervised_by(first, one)
    assert pair.supervisor(two) == third.process_id
    stop_counting(third, one, two)
    eventually(nothing_is_left(second), "what the second server left to be cleared away")


def test_of_two_heirs_one_takes_over(pair: Pair):
    dead = pair.start("dead")
    jobs = [counting(dead) for _ in range(2)]
    heirs = [pair.start("one"), pair.start("other")]
    dead.kill()
    pair.end_leases(dead)
    eventually(lambda: pair.supervisor(jobs[0]) != dead.process_id, "the jobs to be adopted")
    [heir] = [server for server in heirs if server.process_id == pair.supervisor(jobs[0])]

    pair.until_supervised_by(heir, *jobs)
    stop_counting(heirs[0], *jobs)
    journal = heir.call("GET", f"/api/v3/jobs/{jobs[0]}/journal")[1]["entries"]
    assert [entry["kind"] for entry in journal].count("adopted") == 1


def test_a_call_that_is_never_ended_does_not_keep_the_owner_from_coming_back(pair: Pair, tmp_path: Path):
    gate = tmp_path / "gate"
    owner = pair.start("owner")
    job_id = owner.submit(python=HALF_A_CALL, args=[str(gate)])
    eventually(lambda: owner.text(job_id) == ["begun"], "the first line")
    heir = pair.start("heir")
    owner.kill()
    pair.end_leases(owner)
    pair.until_supervised_by(heir, job_id)
    gate.touch()
    eventually(lambda: heir.text(job_id) == ["begun", "half"], "half a call to the heir")

    owner.start()

    assert (heir.wait(job_id)["status"], heir.text(job_id)) == ("succeeded", ["begun", "half", "hung up"])
    journal = heir.call("GET", f"/api/v3/jobs/{job_id}/journal")[1]["entries"]
    [end] = [entry for entry in journal if entry["kind"] == "finished"]
    assert int(end["by"].split(":")[2]) == owner.process_id  # the script ends so soon that nobody sees its lease


def test_an_heir_that_is_stopped_leaves_the_jobs_for_their_owner(pair: Pair):
    owner = pair.start("owner")
    job_id = counting(owner)
    heir = pair.start("heir")
    owner.kill()
    pair.end_leases(owner)
    pair.until_supervised_by(heir, job_id)

    assert heir.stop() == 0
    owner.start()
    pair.until_supervised_by(owner, job_id)
    stop_counting(owner, job_id)


def test_two_servers_that_are_killed_and_started_at_once_each_find_their_own_jobs(pair: Pair):
    first, second = pair.start("first"), None
    one = counting(first)
    first.env["CRONIUM_PROCESS_JOBS"] = "1"
    second = pair.start("second")
    first.kill()
    two = counting(second)
    second.kill()
    pair.end_leases(first)
    pair.end_leases(second)
    for server in (first, second):
        server.spawn()
    for server in (first, second):
        eventually(server._is_ready, "both to be ready")

    pair.until_supervised_by(first, one)
    pair.until_supervised_by(second, two)
    stop_counting(second, one, two)


def test_a_job_that_was_claimed_and_never_started_runs_at_the_heir(pair: Pair):
    dead = pair.start("dead")
    dead.kill()
    heir = pair.start("heir", CRONIUM_PROCESS_JOBS="1")
    busy = heir.submit(shell="sleep 1000")
    eventually(lambda: heir.job(busy)["status"] == "running", "the heir to have no room")
    job_id = heir.submit(shell="echo here")
    pair.sql(
        "UPDATE jobs SET status = 'running', attempt = 1, fence = 1, lease_until = 0, "
        f"owner = '{instance(dead)}:host:1:dead' WHERE id = '{job_id}'"
    )
    eventually(lambda: heir.job(job_id)["status"] == "queued", "the job to be given back")

    assert heir.call("POST", f"/api/v3/jobs/{busy}/cancel")[0] == 202

    assert (heir.wait(job_id)["status"], heir.text(job_id)) == ("succeeded", ["here"])


def test_a_second_server_on_the_data_directory_of_a_living_one_is_refused(pair: Pair):
    server = pair.start("one")

    assert f"is in use by process {server.process_id}: stop that one first" in refusal(server)


def test_of_two_servers_that_come_back_at_once_one_is_refused(pair: Pair):
    owner = pair.start("owner")
    job_id = counting(owner)
    heir = pair.start("heir")
    owner.kill()
    pair.end_leases(owner)
    pair.until_supervised_by(heir, job_id)

    back = [Serving(owner.data_dir, env=owner.env) for _ in range(2)]
    for server in back:
        server.spawn()
    eventually(lambda: any(server.process and server.process.poll() == 1 for server in back), "one to be refused")
    [left] = [server for server in back if server.process and server.process.poll() is None]
    pair.servers.append(left)
    eventually(left._is_ready, "the other to be ready")
    pair.until_supervised_by(left, job_id)
    stop_counting(heir, job_id)


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_jobs_outlive_many_kills_of_either_server_and_of_both(pair: Pair):
    chance = random.Random(20)
    servers = [pair.start("one")]
    jobs = [counting(servers[0]) for _ in range(2)]
    servers.append(pair.start("other"))
    for _ in range(6):
        dead = chance.choice([servers[:1], servers[1:], servers])
        for server in dead:
            chance.choice([server.kill, server.stop])()
            pair.end_leases(server)
        left = [server for server in servers if server not in dead]
        if left and chance.random() < 0.7:
            pair.until_supervised_by(left[0], *jobs)
        for server in dead:
            server.spawn()
        for server in dead:
            eventually(server._is_ready, "the servers to be back")
        until_grown(servers[0], *jobs)

    stop_counting(servers[1], *jobs)
    assert [server.stop() for server in servers] == [0, 0]
    assert [leftovers.files(server.data_dir) for server in servers] == [[], []]


def refusal(server: Serving) -> str:
    """What is said when a further server on the directory of this one is refused."""
    done = subprocess.run(
        [CRONIUM, "serve", "--port", "0", "--data-dir", server.data_dir],
        env=environment(**server.env, CRONIUM_LOG_FORMAT="json"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    return done.stderr
