"""What a start says of the backends in use, and what it needs from outside: nothing, unless it was asked for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CRONIUM, ROOT
from tests.e2e.serving import Serving, environment, eventually
from tests.servers import Redis

LABELS = ("mode", "store_driver", "cache_driver")
COMBINATIONS = [
    ("standalone", "sqlite", "memory"),
    pytest.param("standalone", "postgres", "memory", marks=pytest.mark.distributed),
    pytest.param("standalone", "sqlite", "valkey", marks=pytest.mark.distributed),
    pytest.param("standalone", "postgres", "valkey", marks=pytest.mark.distributed),
    pytest.param("distributed", "postgres", "valkey", marks=pytest.mark.distributed),
]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Serving]:
    """A server to start with an environment of the test's own."""
    server = Serving(tmp_path / "data", env={"CRONIUM_LOG_FORMAT": "json"})
    server.data_dir.mkdir(mode=0o700)
    yield server
    server.close()


@pytest.mark.parametrize(LABELS, COMBINATIONS)
def test_every_start_says_which_backends_are_in_use(
    started: Serving, request: pytest.FixtureRequest, mode: str, store_driver: str, cache_driver: str
):
    """M5: in the first record of the log, whatever its level, and as a metric."""
    started.env |= {"CRONIUM_MODE": mode, "CRONIUM_LOG_LEVEL": "error"}
    if store_driver == "postgres":
        started.env["DATABASE_URL"] = request.getfixturevalue("database")
    if cache_driver == "valkey":
        redis: Redis = request.getfixturevalue("redis")
        started.env["VALKEY_URL"] = redis.url
    expected = {"mode": mode, "store_driver": store_driver, "cache_driver": cache_driver}

    started.start()

    first = started.records()[0]
    assert {label: first.get(label) for label in LABELS} == expected
    infos = [name for name, value in started.metrics().items() if "store_driver" in name and value == 1]
    assert len(infos) == 1
    labels = dict(re.findall(r'(\w+)="([^"]*)"', infos[0]))
    assert {label: labels.get(label) for label in LABELS} == expected
    assert started.wait(started.submit(shell="true"))["status"] == "succeeded"


# A namespace of the network in which there is nothing but `lo`, which is up: the command that follows runs inside.
INSIDE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
os.execv(sys.argv[1], sys.argv[1:])
"""
UNSHARE = ["unshare", "--net", "--map-root-user", sys.executable, "-c", INSIDE]


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """The environment of a home of its own, where a namespace can be made; else the reason, which in CI is a failure."""
    try:
        tried = subprocess.run([*UNSHARE, "/bin/true"], capture_output=True, text=True, timeout=30)
        problem = tried.stderr.strip() if tried.returncode else ""
    except FileNotFoundError:
        problem = "there is no `unshare` (Debian: apt install util-linux)"
    if problem:
        message = f"no network namespace can be made here: {problem}"
        assert "CI" not in environment(), message
        pytest.skip(message)
    return environment(
        HOME=str(tmp_path), XDG_DATA_HOME=str(tmp_path / "share"), XDG_STATE_HOME=str(tmp_path / "state")
    )


def test_a_workflow_runs_where_there_is_no_network(alone: dict[str, str]):
    """M2: `cronium run` needs no server of any kind."""
    done = subprocess.run(
        [*UNSHARE, CRONIUM, "run", "examples/hello.yaml"],
        env=alone,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "succeeded"


def test_a_server_serves_where_there_is_no_network(alone: dict[str, str], tmp_path: Path):
    """M2: `cronium serve` has all it needs in itself; a job sees that there is nothing but `lo`."""
    (tmp_path / "look.sh").write_text("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '\n")
    server_file = tmp_path / "share" / "cronium" / "server.json"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*UNSHARE, CRONIUM, "serve", "--port", "0"], env=alone, cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        eventually(lambda: server_file.exists() or server.poll() is not None, "the server to be ready")
        assert server.poll() is None, (tmp_path / "log").read_text()
        enter = ["nsenter", f"--target={server.pid}", "--user", "--preserve-credentials", "--net"]
        done = subprocess.run(
            [*enter, CRONIUM, "submit", "look.sh"], env=alone, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
    finally:
        server.terminate()
        code = server.wait(30)

    assert (done.returncode, done.stdout) == (0, "lo\n"), done.stderr
    assert code == 0, (tmp_path / "log").read_text()
