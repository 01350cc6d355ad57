"""`cronium run` where its surroundings are odd: descriptors closed or full, readers gone, signals ignored, odd files."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.cli.interruption import Interruption
from orchestrator.cli.shebang import Shebang, read_shebang
from orchestrator.errors import CroniumError
from orchestrator.jobs.feed import Feed
from orchestrator.model.logs import Line
from orchestrator.model.specs import Language
from tests.conftest import CRONIUM

WORKFLOW = "name: w\nsteps:\n" + "".join(f"  s{n}: {{shell: 'echo one; echo two; echo three'}}\n" for n in range(4))
TIMEOUT_SECONDS = 60


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}


@pytest.fixture
def shell(env: dict[str, str], tmp_path: Path):
    """Run a line of bash with `cronium` as a word of it."""

    def run(line: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", f'cronium() {{ "{CRONIUM}" "$@"; }}\n{line}'],
            env=env,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )

    return run


def test_a_workflow_goes_on_when_nobody_reads_stderr(shell, tmp_path: Path):
    (tmp_path / "w.yaml").write_text(WORKFLOW)

    done = shell("cronium run w.yaml 2>&1 >out | head -1; exit ${PIPESTATUS[0]}")

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out").read_text())["status"] == "succeeded"


def test_all_output_arrives_in_a_pipe_that_does_not_block(env, tmp_path: Path):
    (tmp_path / "much.py").write_text("import sys\nsys.stdout.write('0123456\\n' * 1024 * 1024)")
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen([str(CRONIUM), "run", "much.py"], env=env, cwd=tmp_path, stdout=writing)
    os.close(writing)

    with os.fdopen(reading, "rb") as pipe:
        read = pipe.read()

    assert process.wait(TIMEOUT_SECONDS) == 0
    assert read == b"0123456\n" * 1024 * 1024


def test_a_reader_that_goes_away_is_141(shell, tmp_path: Path):
    (tmp_path / "chatty.py").write_text("import itertools\nfor n in itertools.count(): print(n, flush=True)")

    done = shell("cronium run chatty.py | head -1; exit ${PIPESTATUS[0]}")

    assert (done.returncode, done.stdout) == (141, "0\n")


def test_with_json_the_document_is_final_also_when_the_reader_of_the_output_goes_away(shell, tmp_path: Path):
    (tmp_path / "chatty.py").write_text("import itertools\nfor n in itertools.count(): print(n, flush=True)")

    done = shell("cronium run chatty.py --json 2>&1 >out | head -1; exit ${PIPESTATUS[0]}")

    assert (done.returncode, done.stdout) == (141, "0\n")
    assert json.loads((tmp_path / "out").read_text())["status"] == "cancelled"


def test_a_full_disk_is_named(shell, tmp_path: Path):
    (tmp_path / "a.sh").write_text("echo x; sleep 1000")

    done = shell("cronium run a.sh >/dev/full")

    assert done.returncode == 1
    assert "stdout cannot be written" in done.stderr
    assert "No space left" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_no_files_of_ours(shell, tmp_path: Path, closed: str):
    (tmp_path / "a.sh").write_text("cat; echo out; echo err >&2; echo ran > ran")

    done = shell(f"cronium run a.sh {closed}")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran").exists()
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else "out\n")
    assert done.stderr == ("" if "2>&-" in closed else "err\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_exit_code_says_which_signal_it_was(env, tmp_path: Path, number: int, code: int):
    process = _begun(env, tmp_path)

    process.send_signal(number)

    process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == code


def test_a_signal_that_was_ignored_stays_ignored(env, tmp_path: Path):
    process = _begun(env, tmp_path, ["nohup"], "read line; echo $line")

    process.send_signal(signal.SIGHUP)

    out, _ = process.communicate(b"went on\n", timeout=TIMEOUT_SECONDS)
    assert (process.returncode, out) == (0, b"went on\n")


def test_the_second_signal_shows_the_cursor_again(env, tmp_path: Path):
    (tmp_path / "w.yaml").write_text(
        "name: w\nsteps:\n  a: {shell: 'trap \"echo deaf\" TERM INT; echo begun; while :; do sleep 1; done'}\n"
    )
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(CRONIUM), "run", "w.yaml"],
        env={**env, "TERM": "xterm"},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    _read_until(terminal, b"begun")
    process.send_signal(signal.SIGINT)
    _read_until(terminal, b"deaf")

    process.send_signal(signal.SIGINT)

    assert process.wait(TIMEOUT_SECONDS) == 130
    assert b"\x1b[?25h" in _read_until(terminal, b"\x1b[?25h")
    os.close(terminal)


async def test_an_ending_that_fails_does_not_wait_for_ever():
    class Dispatcher:
        async def cancel_all(self) -> None:
            raise OSError("the disk is gone")

    class Engine:
        dispatcher = Dispatcher()

    class Shown:
        abandoned: asyncio.Future[CroniumError] = asyncio.get_running_loop().create_future()

        def abandon(self, error: CroniumError) -> None:
            self.abandoned.set_result(error)

        def restore(self) -> None: ...

    async def cancel() -> None:
        raise OSError("the store is gone")

    interruption = Interruption(Engine(), Shown(), cancel)
    interruption.listen()
    os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.timeout(TIMEOUT_SECONDS):
        error = await Shown.abandoned
    assert "the disk is gone" in error.message
    assert interruption.exit_code == 143


async def test_an_onlooker_that_fails_harms_nobody(caplog):
    class Blind:
        async def raw(self, job, stream, data) -> None:
            raise BrokenPipeError

        async def lines(self, job, lines: Sequence[Line]) -> None:
            raise BrokenPipeError

        def job_changed(self, job) -> None:
            raise BrokenPipeError

        def run_changed(self, run) -> None:
            raise BrokenPipeError

    onlooker = Feed(None, Blind()).onlooker
    await onlooker.raw(None, None, b"")
    await onlooker.lines(None, [])
    onlooker.job_changed(None)
    onlooker.run_changed(None)

    assert len(caplog.records) == 4


# --- the #! line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("#!/bin/bash -e", Shebang(program="/bin/bash", options=("-e",), language=Language.BASH)),
        ("#!/bin/bash -e -u", Shebang(program="/bin/bash", options=("-e -u",), language=Language.BASH)),
        ("#! /usr/bin/env python3", Shebang(program="python3", options=(), language=Language.PYTHON)),
        ("#!/usr/bin/env -S python3 -u", Shebang(program="python3", options=("-u",), language=Language.PYTHON)),
        ("#!/usr/bin/env -Snode --x 'a b'", Shebang(program="node", options=("--x", "a b"), language=Language.NODE)),
        ("#!/usr/bin/env -S A=1 x", Shebang(program="/usr/bin/env", options=("-S A=1 x",), language=None)),
        ("#!/usr/bin/zsh\r", Shebang(program="/usr/bin/zsh", options=(), language=None)),
        ("#!/bin/dash", Shebang(program="/bin/dash", options=(), language=Language.SHELL)),
        ("#!", None),
        ("echo", None),
    ],
)
def test_the_first_line_is_read_as_linux_reads_it(tmp_path: Path, line: str, expected: Shebang | None):
    (tmp_path / "x").write_text(f"{line}\nmore\n", newline="")

    assert read_shebang(tmp_path / "x") == expected


@pytest.mark.parametrize(
    ("name", "text", "code", "out"),
    [
        ("a.sh", "#!/bin/bash -e\nfalse; echo x", 1, ""),
        ("a.sh", "#!/usr/bin/env -S bash -eu\necho $1; false; echo x", 1, "arg\n"),
        ("a.sh", "#!/bin/bash\nfalse; echo ${BASH_VERSION:+bash}", 0, "bash\n"),
        ("a.sh", "#!/bin/sh\necho ${BASH_VERSION:-sh} $1", 0, "sh arg\n"),
        ("a.sh", "#!/bin/sh -e\nfalse; echo x", 1, ""),
        ("a.sh", "#!/usr/bin/awk -f\nBEGIN { print ARGV[1] }", 0, "arg\n"),
        ("a.py", "#!/usr/bin/env -S python3 -O\nimport sys; print(sys.flags.optimize, sys.argv[1:])", 0, "1 ['arg']\n"),
    ],
)
def test_the_first_line_is_respected(shell, tmp_path: Path, name: str, text: str, code: int, out: str):
    if "dash" not in os.path.realpath("/bin/sh") and "BASH_VERSION:-sh" in text:
        pytest.skip("/bin/sh is bash here")
    (tmp_path / name).write_text(text)

    done = shell(f"cronium run {name} -- arg")

    assert (done.returncode, done.stdout) == (code, out), done.stderr


# --- plain errors


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mkdir gone; cd gone; rmdir ../gone; cronium run ../a.sh", "working directory is gone"),
        ("printf 'echo \\xff' > b.sh; cronium run b.sh --image debian", "UTF-8"),
        ("cronium run $(printf 'x%.0s' {1..300}).sh", "cannot be read: File name too long"),
        ("printf '#!/opt/none/such\\n' > c.sh; cronium run c.sh", "names /opt/none/such"),
    ],
)
def test_what_a_user_got_wrong_is_said_plainly(shell, tmp_path: Path, line: str, said: str):
    (tmp_path / "a.sh").write_text("true")

    done = shell(line)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_whose_port_is_taken_says_so_plainly(shell):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = shell(f"cronium serve --port {port} --data-dir d --log-format text")

    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "cronium: " in done.stderr.splitlines()[-1]
    assert str(port) in done.stderr


def test_a_store_that_is_in_use_is_named_plainly(shell, tmp_path: Path):
    (tmp_path / "d").mkdir(mode=0o700)
    with (tmp_path / "d" / "cronium.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        done = shell("cronium serve --port 0 --data-dir d")

    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr


def _begun(env, tmp_path: Path, before: Sequence[str] = (), then: str = "sleep 1000") -> subprocess.Popen:
    (tmp_path / "a.sh").write_text(f"echo begun\n{then}")
    process = subprocess.Popen(
        [*before, str(CRONIUM), "run", "a.sh"],
        env=env,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


def _read_until(terminal: int, mark: bytes) -> bytes:
    read = b""
    try:
        while mark not in read and (part := os.read(terminal, 65536)):
            read += part
    except OSError:
        pass  # the other end is closed: how a terminal's end of file looks
    return read
