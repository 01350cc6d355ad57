"""Every command: its help, what it costs to start, and how it ends when something is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
from aiohttp import web

from orchestrator import __version__
from orchestrator.cli.main import COMMANDS
from tests.cli.conftest import Cli
from tests.cli.fake_server import HOLD, FakeServer, make_job, make_lines, message, problem, running
from tests.conftest import CRONIUM

HEAVY = {"aiohttp", "pydantic", "docker", "rich", "asyncio", "jinja2"}
PATHS = [
    *((name,) for name in COMMANDS),
    *(("jobs", name) for name in ("list", "show", "cancel")),
    *(("events", name) for name in ("list", "show", "create", "run", "next", "pause", "activate", "archive")),
]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
async def test_every_command_has_help_with_an_example(lonely: Cli, path):
    answer = await lonely(*path, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: cronium {' '.join(path)} ")
    assert f"    cronium {' '.join(path)}" in answer.out.partition("Examples:")[2]


async def test_the_help_names_every_command(lonely):
    answer = await lonely("--help")
    assert answer.code == 0
    assert all(f"  {name} " in answer.out and entry.help in answer.out for name, entry in COMMANDS.items())
    assert (await lonely()).out == answer.out


@pytest.mark.parametrize(
    "args", [["--version"], ["-V"], ["--help"], ["jobs", "--help"], ["events", "--help"]], ids=" ".join
)
def test_starting_loads_nothing_heavy(args):
    program = (
        "import sys, atexit; from orchestrator.__main__ import main\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, timeout=60)
    loaded = set(done.stderr.split())
    assert done.returncode == 0
    assert "orchestrator.__main__" in loaded
    assert loaded & HEAVY == set()
    assert ("click" in loaded) == (args not in (["--version"], ["-V"]))


@pytest.mark.parametrize("args", [["--version"], ["-V"]], ids=" ".join)
async def test_the_version_is_said(lonely, args):
    assert (await lonely(*args)).out == f"cronium {__version__}\n"


def test_it_can_be_started_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"cronium {__version__}\n"


@pytest.mark.parametrize(
    ("args", "said", "fix"),
    [
        (["job"], "There is no command 'job'. Is it 'jobs'?", "see `cronium --help`"),
        (["xyzzy"], "There is no command 'xyzzy'.", "see `cronium --help`"),
        (["--what"], "No such option '--what'.", "see `cronium --help`"),
        (["jobs", "--limit", "0"], "Invalid value for '--limit'", "see `cronium jobs --help`"),
        (["jobs", "--limit", "1", "--all"], "Only one of --all and --limit", "see `cronium jobs --help`"),
        (["jobs", "--all", "show", "last"], "Options of the list", "see `cronium jobs --help`"),
        (["logs"], "Missing argument 'JOB|last'.", "see `cronium logs --help`"),
        (
            ["logs", "last", "--tail", "1", "--after", "1"],
            "Only one of --after and --tail",
            "see `cronium logs --help`",
        ),
        (["cancel"], "Missing argument 'JOB|last...'.", "see `cronium cancel --help`"),
    ],
)
async def test_wrong_use_is_one_line_and_a_fix(lonely, args, said, fix):
    answer = await lonely(*args)
    first, second = answer.err.splitlines()
    assert (answer.code, answer.out) == (2, "")
    assert first.startswith(f"cronium: {said}")
    assert second == f"  fix: {fix}"


@pytest.mark.parametrize(
    "args", [["jobs"], ["jobs", "show", "last"], ["logs", "last"], ["watch", "last"], ["cancel", "last"]], ids=" ".join
)
async def test_without_a_server_it_is_said_how_to_get_one(lonely, args):
    answer = await lonely(*args)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err == (
        f"cronium: No server was found in {lonely.home}/.local/share/cronium.\n"
        "  fix: start one with `cronium serve`, or set CRONIUM_URL and CRONIUM_TOKEN\n"
    )


async def test_a_server_that_does_not_answer_is_named(lonely):
    lonely.env.update(CRONIUM_URL="http://127.0.0.1:1", CRONIUM_TOKEN="crn_x")
    answer = await lonely("jobs")
    assert answer.code == 3
    assert answer.err.startswith(
        "cronium: The server at http://127.0.0.1:1 (from CRONIUM_URL) does not answer: connection refused.\n  fix: "
    )


async def test_the_server_of_the_same_account_is_found(lonely: Cli, server: FakeServer):
    server.add(make_job())
    data = lonely.home / "data"
    data.mkdir()
    (data / "server.json").write_text(json.dumps({"url": server.url, "pid": os.getpid(), "version": "0.1.0"}))
    (data / "admin.token").write_text(f"{server.token}\n")
    lonely.env["CRONIUM_DATA_DIR"] = str(data)
    answer = await lonely("jobs", "show", "last")
    assert (answer.code, answer.err) == (0, "")


async def test_a_token_that_is_not_accepted_is_said_with_what_to_do(cronium, server):
    cronium.env["CRONIUM_TOKEN"] = "crn_wrong"
    answer = await cronium("jobs")
    assert answer.code == 1
    assert answer.err.splitlines()[1].startswith("  fix: set CRONIUM_TOKEN to a token of this server")
    del cronium.env["CRONIUM_TOKEN"]
    assert "  fix: set CRONIUM_TOKEN;" in (await cronium("jobs")).err


async def test_a_redirect_is_not_followed(cronium, server):
    server.refusal = web.Response(status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"})
    answer = await cronium("jobs")
    assert answer.code == 2
    assert "sends us on to http://127.0.0.1:1/elsewhere: set CRONIUM_URL" in answer.err
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (200, "<html>", 1, "The answer is not JSON"),
        (200, "[]", 1, "not a JSON object"),
        (404, "<html>", 1, "answered 404 Not Found: is CRONIUM_URL right?"),
        (502, "<html>", 3, "answered 502 Bad Gateway."),
        (500, "", 1, "answered 500 Internal Server Error"),
    ],
)
async def test_what_is_no_cronium_server_is_said(cronium, server, status, body, code, said):
    server.refusal = web.Response(status=status, text=body)
    answer = await cronium("jobs")
    assert answer.code == code
    assert said in answer.err
    assert "Traceback" not in answer.err


async def test_the_words_of_a_problem_are_passed_on_and_its_control_characters_shown(cronium, server):
    server.refusal = problem(503, "store_unavailable", "The disk is full:\n\x1b[31mmake room.")
    answer = await cronium("jobs")
    assert (answer.code, answer.err) == (1, "cronium: The disk is full:\\n\\x1b[31mmake room.\n")


@pytest.mark.parametrize("args", [["jobs", "--all", "--json"], ["logs", "last"], ["watch", "last"]], ids=" ".join)
async def test_a_reader_that_leaves_ends_it_quietly(cronium, server, args):
    for number in range(300):
        server.add(make_job(f"job_{number:026}"))
    server.add(make_job("job_last"), make_lines(*["x" * 1000] * 5000))
    reading, writing = os.pipe()
    process = await cronium.start(*args, stdout=writing)
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 10)
    os.close(reading)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 141
    assert b"Traceback" not in err
    assert b"Broken" not in err
    assert b"Exception" not in err


async def test_a_closed_stderr_is_no_reason_for_noise(lonely):
    reading, writing = os.pipe()
    os.close(reading)
    process = await lonely.start("jobs", stderr=writing)
    os.close(writing)
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert (process.returncode, out) == (141, b"")


async def test_ctrl_c_ends_with_130_and_says_that_the_job_goes_on(cronium, server):
    job = server.add(make_job())
    server.plays = [[message("status", job=running(job)), HOLD]]
    process = await cronium.start("watch", job.id)
    async with asyncio.timeout(60):
        await server.followed.wait()
        assert process.stderr is not None
        first = await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, rest = await process.communicate()
    assert first.decode() == f"cronium: {job.id} running\n"
    assert process.returncode == 130
    assert out == b""
    assert (
        rest.decode()
        == f"cronium: {job.id} goes on; `cronium watch {job.id}` shows it, `cronium cancel {job.id}` ends it\n"
    )


def test_a_locale_without_the_characters_is_no_reason_to_fail(tmp_path):
    env = {"HOME": "/ü", "PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([CRONIUM, "jobs"], env={**env, "PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=60)
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
