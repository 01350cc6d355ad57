"""From inside a job with the settings it has by default: every way out that we know of, tried, and closed."""

from __future__ import annotations

import ctypes
import re
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InvalidError, StartFailedError
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Limits
from tests.conftest import ROOT
from tests.e2e.conftest import IMAGES
from tests.e2e.serving import Serving, eventually
from tests.executors.docker import test_isolation, test_networks, test_volumes
from tests.executors.docker.attacks import ATTACKS, BROKE_OUT, PRELUDE, TRIED
from tests.executors.docker.engine_for_tests import IMAGE, PYTHON, docker, inspect, make_spec, open_executor
from tests.suites.executor_suite import Seen, finish, read_until

PAGE = (ROOT / "docs" / "isolation.md").read_text()
pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]
MIB = 1024 * 1024
SHARED_KEY = 0x43524F4E
IPC_CREAT, IPC_RMID = 0o1000, 0


def program_of(name: str) -> list[str]:
    return ["python3", "-c", f"{PRELUDE}{ATTACKS[name].program}\nprint({TRIED!r})"]


async def run(state: Path, argv: list[str], **changes: Any) -> Seen:
    async with open_executor(state) as executor:
        process = await executor.start(make_spec(state, "", **{"argv": argv, "image": PYTHON, **changes}))
        seen = await finish(process)
        await process.remove()
    return seen


@pytest.fixture
def shared_things() -> Iterator[None]:
    """What others on this machine have, for those attacks that look for it."""
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(SHARED_KEY, 4096, IPC_CREAT | 0o666)
    assert segment >= 0
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0cronium-attack")
        listener.listen()
        yield
    libc.shmctl(segment, IPC_RMID, None)


@pytest.mark.usefixtures("shared_things")
@pytest.mark.parametrize("name", ATTACKS)
async def test_a_script_cannot(tmp_path: Path, name: str):
    """One row of docs/isolation.md each."""
    seen = await run(tmp_path, program_of(name))
    out = seen.stdout.decode()
    assert (BROKE_OUT in out, seen.exit.code) == (False, 0), out + seen.stderr.decode()
    assert out.endswith(f"{TRIED}\n")


@pytest.mark.usefixtures("shared_things")
@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.open_with is not None])
def test_without_the_isolation_a_script_could(name: str):
    """The attack is one: in a container without our settings it works."""
    opened = ATTACKS[name].open_with
    assert opened is not None
    assert BROKE_OUT in docker("run", "--rm", *opened, PYTHON, *program_of(name))


async def test_where_user_namespaces_can_be_had_they_lead_nowhere():
    """On an engine without seccomp a script is root in a namespace of its own, and still cannot write to its root."""
    script = "unshare -Urm sh -c 'id -u; mount -o remount,rw,bind / && touch /broke-out && echo broke out'; echo tried"
    locked = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--user", "65534:65534")
    out = docker("run", "--rm", "--security-opt", "seccomp=unconfined", *locked, IMAGE, "sh", "-c", script)
    assert out.endswith(TRIED)
    assert BROKE_OUT not in out


@pytest.mark.parametrize("workdir", ["/proc/self/fd/7", "/proc/1/root", "/sys", "/dev/fd/8", "/cronium/../proc/self"])
async def test_a_working_directory_in_the_kernels_files_is_refused(tmp_path: Path, workdir: str):
    """Runtimes have left descriptors open that led out (CVE-2024-21626)."""
    async with open_executor(tmp_path) as executor:
        with pytest.raises(StartFailedError, match="workdir") as failure:
            await executor.start(make_spec(tmp_path, "pwd", workdir=workdir))
    assert failure.value.reason is Reason.INVALID


async def test_a_fork_bomb_ends_and_others_go_on(tmp_path: Path):
    """R19: it reaches `pids` and no more; beside it a script still starts processes."""
    bomb = "b() { b | b & }; b; i=0; while [ $i -lt 200 ]; do i=$((i+1)); done; echo lit; exec sleep 1000"
    async with open_executor(tmp_path) as executor:
        spec = make_spec(tmp_path, "", argv=["bash", "-c", bomb], image=PYTHON, limits=Limits(pids=64))
        process = await executor.start(spec)
        beside = await executor.start(make_spec(tmp_path, "for i in 1 2 3 4 5; do /bin/true || exit 1; done; echo ok"))
        seen = await finish(beside)
        await beside.remove()
        await process.remove()
    assert (seen.stdout, seen.exit.code) == (b"ok\n", 0)


async def test_a_memory_bomb_ends_out_of_memory(tmp_path: Path):
    """With the limit that a job has by default, swap included."""
    seen = await run(tmp_path, ["python3", "-c", "x = bytearray(2 ** 31); print(len(x))"])
    assert (seen.exit.reason, seen.exit.code) == (Reason.OUT_OF_MEMORY, 137)


async def test_files_in_memory_are_limited_in_size_and_number(tmp_path: Path):
    """/tmp, /workspace and /dev/shm; what they hold counts as the job's memory."""
    fill = """
import os
def fill(place):
    size = 0
    try:
        with open(f"{place}/fill", "wb", buffering=0) as file:
            while True:
                size += file.write(bytes(1024 * 1024))
    except OSError:
        os.truncate(f"{place}/fill", 0)
        return size // 1024 // 1024
def litter(place):
    for number in range(10 ** 6):
        try:
            os.close(os.open(f"{place}/{number}", os.O_CREAT))
        except OSError:
            return number
print(*(fill(place) for place in ("/tmp", "/workspace", "/dev/shm")), litter("/tmp"))
"""
    seen = await run(tmp_path, ["python3", "-c", fill])
    assert seen.stdout.split()[:3] == [b"64", b"256", b"64"], seen.stderr
    assert 10_000 < int(seen.stdout.split()[3]) <= 16_384


async def test_open_files_are_limited(tmp_path: Path):
    script = "import os, resource; [os.dup(0) for _ in range(10000)]"
    seen = await run(tmp_path, ["python3", "-c", script])
    assert b"Too many open files" in seen.stderr


async def test_a_job_sees_nothing_of_another_one(tmp_path: Path):
    """Its files, its processes, what it shares in memory."""
    look = (
        "ls -A /workspace /tmp /dev/shm; ls /cronium; ls -d /proc/[0-9]* | wc -l; cat /proc/*/environ | tr '\\0' '\\n'"
    )
    async with open_executor(tmp_path) as executor:
        secret = {"CRONIUM_EXECUTION_TOKEN": "cra_of_the_other"}
        script = "touch /workspace/theirs /tmp/theirs /dev/shm/theirs; echo up; exec sleep 1000"
        other = await executor.start(make_spec(tmp_path, script, env=secret))
        await read_until(other, b"up\n")
        process = await executor.start(make_spec(tmp_path, look))
        seen = await finish(process)
        await process.remove()
        await other.remove()
    assert b"theirs" not in seen.stdout
    assert b"cra_of_the_other" not in seen.stdout
    assert seen.exit.code == 0


def test_the_page_has_a_row_for_each_attack_and_no_other():
    """The table of docs/isolation.md names either an attack of the list or a test."""
    table = PAGE.partition("## What a job may try")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `(test_\w+)` \|$", table, re.MULTILINE)
    assert {name for name, test in rows if test == "test_a_script_cannot"} == set(ATTACKS)
    there = {name for module in (test_isolation, test_networks, test_volumes) for name in vars(module)}
    there |= set(vars(test_volumes.TestOnAnEngine)) | set(globals())
    assert {test for _, test in rows} <= there


def test_the_engine_is_the_one_that_is_spoken_of():
    """What is told of seccomp here holds on an engine that has it."""
    assert "seccomp" in subprocess.run(["docker", "info"], check=True, capture_output=True, text=True).stdout


# What engines know and jobs must not have.
RIGHTS = {
    "privileged": True,
    "cap_add": ["SYS_ADMIN"],
    "devices": ["/dev/sda"],
    "pid": "host",
    "ipc": "host",
    "userns": "host",
    "uts": "host",
    "security_opt": ["seccomp=unconfined"],
    "cgroup_parent": "/",
    "volumes_from": ["other"],
    "user": "0",
    "labels": {"cronium.job": "job_other"},
    "entrypoint": ["/bin/sh"],
    "sysctls": {"kernel.shmmax": "1"},
    "tmpfs": {"/x": ""},
    "runtime": "other",
}


@pytest.mark.parametrize("key", RIGHTS)
def test_a_job_cannot_ask_for_more_rights(key: str):
    """S11: there are no such keys."""
    with pytest.raises(InvalidError) as failure:
        parse_job_spec({"bash": "true", "executor": "docker", key: RIGHTS[key]})
    assert [fault.path for fault in failure.value.faults] == [key]


async def test_the_volumes_that_an_image_declares_go_with_the_container(tmp_path: Path):
    """The engine puts them on its disk; docs/isolation.md says so."""
    image = f"cronium-tests-{uuid.uuid4().hex[:8]}:local"
    made = docker("create", IMAGE)
    docker("commit", "--change", "VOLUME /scratch", made, image)
    docker("rm", made)
    try:
        async with open_executor(tmp_path) as executor:
            spec = make_spec(tmp_path, "ls -d /scratch; echo up; exec sleep 1000", image=image)
            process = await executor.start(spec)
            await read_until(process, b"up\n")
            (volume,) = [mount["Name"] for mount in inspect(spec.name)["Mounts"] if mount["Type"] == "volume"]
            await process.remove()
        assert volume not in docker("volume", "ls", "-q").split()
    finally:
        docker("rmi", image)


# Calls the runtime API as its arguments say: token, method, path. A token `-` is the job's own.
CALL = """
import http.client, os, socket, sys
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/cronium/api.sock")
for token, method, path in zip(*[iter(sys.argv[1:])] * 3):
    token = os.environ["CRONIUM_EXECUTION_TOKEN"] if token == "-" else token
    connection = Connection("cronium")
    connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
    print(connection.getresponse().status)
"""
OWN = "/executions/current/context"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    server = Serving(tmp_path_factory.mktemp("breakout") / "data", env=dict(IMAGES))
    server.data_dir.mkdir(mode=0o700)
    try:
        server.start()
        yield server
    finally:
        server.close()


def call_api(server: Serving, *calls: str, **changes: Any) -> list[int]:
    """The statuses of calls from inside a job."""
    job = server.submit(python=CALL, args=list(calls), executor="docker", **changes)
    assert server.wait(job)["status"] == "succeeded", server.text(job, "stderr")
    return [int(status) for status in server.text(job)]


@pytest.mark.parametrize("network", ["none", "internal"])
def test_the_runtime_api_answers_a_job_that_reaches_nothing_else(server: Serving, network: str):
    """Over the socket that it is given."""
    assert call_api(server, "-", "GET", OWN, network=network) == [200]


def test_a_token_that_is_made_up_opens_nothing(server: Serving):
    assert call_api(server, "cra_" + "A" * 43, "GET", OWN, "", "GET", OWN, server.token, "GET", OWN) == [401] * 3


def test_a_job_uses_no_other_job(server: Serving):
    """With its own token the other one's id, and with the other one's token after that has ended."""
    shown = server.submit(bash="echo up; rev <<< $CRONIUM_EXECUTION_TOKEN; read < <(sleep 60)", executor="docker")
    eventually(lambda: len(server.text(shown)) == 2, "the other job to run")
    token = server.text(shown)[1][::-1]
    assert token.startswith("cra_")
    assert call_api(server, "-", "GET", f"/executions/{shown}/context") == [403]
    assert server.call("POST", f"/api/v3/jobs/{shown}/cancel")[0] < 300
    assert server.wait(shown)["status"] == "cancelled"
    assert call_api(server, token, "GET", OWN) == [401]
