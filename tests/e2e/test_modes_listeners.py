"""Which sockets are listened on: what is embedded opens none, and the server just the one that it says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import CRONIUM
from tests.e2e.serving import Serving, environment, eventually

LISTENING = "0A"
ACCEPTING = 0x10000  # of the flags in /proc/net/unix


def family(root: int) -> list[Path]:
    """The process `root` and everything below it."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    found = [root]
    for number in found:  # which grows meanwhile
        found += [child for child, parent in parents.items() if parent == number]
    return [Path(f"/proc/{number}") for number in found]


def inodes(processes: list[Path]) -> set[str]:
    """The sockets that these processes have open."""
    found = set()
    for process in processes:
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                kind, _, rest = str(descriptor.readlink()).partition(":[")
                if kind == "socket":
                    found.add(rest.rstrip("]"))
    return found


def ports(processes: list[Path]) -> list[tuple[str, int]]:
    """What they listen on for the network: protocol and port. A UDP socket has no state; a bound one counts."""
    own, found = inodes(processes), []
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for row in Path(f"/proc/{processes[0].name}/net/{protocol}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = row.split()
            if rest[5] in own and (state == LISTENING or protocol.startswith("udp")):
                found.append((protocol, int(local.rpartition(":")[2], 16)))
    return found


def doors(processes: list[Path]) -> list[str]:
    """The Unix sockets that they listen on."""
    own = inodes(processes)
    rows = [row.split(maxsplit=7) for row in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return [row[7] for row in rows if row[6] in own and int(row[3], 16) & ACCEPTING]


def test_running_a_script_listens_on_no_port(tmp_path: Path):
    """M6: `cronium run`, while a script runs that has called the runtime API."""
    (tmp_path / "ask.py").write_text("import cronium\nprint(cronium.input(), flush=True)\ninput()\n")
    running = subprocess.Popen(
        [CRONIUM, "run", "ask.py", "--input", "[1]"],
        env=environment(HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path / "state")),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdin is not None
    assert running.stdout is not None
    try:
        assert running.stdout.readline() == "[1]\n"
        processes = family(running.pid)
        open_ports, open_doors = ports(processes), doors(processes)
    finally:
        running.communicate("\n", timeout=60)

    assert running.returncode == 0
    assert len(processes) >= 2  # the command, and the script at least
    assert open_ports == []
    assert [Path(door).name for door in open_doors] == ["api.sock"]


@pytest.fixture
def gate(serving: Serving) -> Iterator[Path]:
    """A file that a job waits for."""
    gate = serving.data_dir.parent / "gate"
    yield gate
    gate.touch()


def test_a_server_listens_on_the_address_of_its_api_and_on_no_other(serving: Serving, gate: Path):
    """M6: in either mode, with a job that runs and has called the runtime API."""
    assert serving.process is not None
    script = f"import cronium, os, time\nprint(cronium.input(), flush=True)\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)"
    job_id = serving.submit(python=script, input=[1], executor="process")
    eventually(lambda: serving.text(job_id) == ["[1]"], "the job to run")

    processes = family(serving.process.pid)

    assert len(processes) >= 4  # the server, its zygote, a supervisor, the script
    assert ports(processes) == [("tcp", urlsplit(serving.url).port)]
    assert [Path(door).name for door in doors(processes)] == ["api.sock"]
