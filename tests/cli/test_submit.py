"""`cronium submit`: what is sent, and what comes of it."""

from __future__ import annotations

import json

import pytest

from orchestrator.model.documents import job_document
from tests.cli.fake_server import failed, make_job, make_lines, problem


@pytest.fixture
def job(server):
    return server.add(make_job(), make_lines("out", ("stderr", "err")))


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("a.py", "print(1)\n", "python"),
        ("a.js", "x\n", "node"),
        ("a.mjs", "x\n", "node"),
        ("a.cjs", "x\n", "node"),
        ("a.sh", "#!/bin/sh\nx\n", "bash"),
        ("A.PY", "x\n", "python"),
        ("a", "#!/usr/bin/env python3\nx\n", "python"),
        ("b", "#!/usr/bin/env -S python3.12 -u\nx\n", "python"),
        ("c", "#! /usr/local/bin/node\nx\n", "node"),
        ("d", "#!/bin/bash -e\nx\n", "bash"),
        ("e.txt", "#!/bin/sh\r\nx\n", "shell"),
    ],
)
async def test_a_script_is_sent_in_its_language(cronium, server, job, name, text, language):
    (cronium.home / name).write_bytes(text.encode())
    answer = await cronium("submit", name, "--detach")
    assert (answer.code, answer.out, answer.err) == (0, f"{job.id}\n", "")
    assert server.bodies == [{"name": name, language: text}]


async def test_options_and_arguments_go_with_it(cronium, server, job):
    (cronium.home / "a.py").write_text("x")
    await cronium(
        *("submit", "--detach", "--input", "n=3", "--input", "day=monday", "--env", "A=1", "--env", "B=x=y"),
        *("--image", "python:3.12-slim", "--executor", "docker", "--timeout", "5m", "--name", "ü", "--priority", "-2"),
        *("a.py", "--", "--full", "-x", ""),
    )
    assert server.bodies == [
        {
            "name": "ü",
            "python": "x",
            "image": "python:3.12-slim",
            "executor": "docker",
            "timeout": "5m",
            "priority": -2,
            "args": ["--full", "-x", ""],
            "env": {"A": "1", "B": "x=y"},
            "input": {"n": 3, "day": "monday"},
        }
    ]


async def test_a_job_file_is_sent_as_it_is_and_the_options_win(cronium, server, job):
    (cronium.home / "job.yaml").write_text("bash: |\n  echo hi\nenv: {A: 1, on: yes}\ntimeout: 9s\nargs: [a]\n")
    await cronium("submit", "job.yaml", "--detach")
    await cronium("submit", "job.yaml", "--detach", "--env", "A=2", "--timeout", "1s", "--input", "0", "--", "b", "c")
    before = {"bash": "echo hi\n", "env": {"A": 1, "on": "yes"}, "timeout": "9s", "args": ["a"]}
    assert server.bodies == [
        before,
        {**before, "env": {"A": "2", "on": "yes"}, "timeout": "1s", "input": 0, "args": ["b", "c"]},
    ]


async def test_a_job_comes_on_stdin_too(cronium, server, job):
    await cronium("submit", "-", "--detach", stdin=b"bash: echo hi")
    await cronium("submit", "-", "--detach", stdin=b'{"node": "x", "name": "j"}')
    await cronium("submit", "-", "--detach", stdin=b"#!/bin/bash\nx")
    await cronium("submit", "-", "--detach", "--lang", "shell", stdin=b"bash: no")
    assert server.bodies == [
        {"bash": "echo hi"},
        {"node": "x", "name": "j"},
        {"bash": "#!/bin/bash\nx"},
        {"shell": "bash: no"},
    ]


async def test_the_job_is_followed_and_its_exit_code_is_ours(cronium, server):
    job = server.add(failed(code=7), make_lines("out", ("stderr", "err")))
    (cronium.home / "a.py").write_text("x")
    answer = await cronium("submit", "a.py")
    assert (answer.code, answer.out) == (7, "out\n")
    assert answer.err.splitlines() == [
        f"cronium: {job.id} submitted",
        "err",
        f"cronium: {job.id} failed in 2.0s, exit code 7",
    ]


async def test_as_json_the_job_is_on_stdout_and_its_output_is_not(cronium, server, job):
    (cronium.home / "a.py").write_text("x")
    server.lines[job.id] = make_lines("out", ("stderr", "err"))
    followed = await cronium("submit", "a.py", "--json")
    assert json.loads(followed.out)["id"] == job.id
    assert followed.err.splitlines()[1:3] == ["out", "err"]
    detached = await cronium("submit", "a.py", "--json", "--detach")
    assert json.loads(detached.out) == job_document(server.jobs[job.id])


@pytest.mark.parametrize(
    ("name", "content", "args", "said"),
    [
        ("nowhere.py", None, [], "nowhere.py cannot be read: no such file or directory."),
        (".", None, [], ". cannot be read: is a directory."),
        ("a.py", b"\xff\xfe", [], "a.py is not a text in UTF-8"),
        ("a.txt", b"x", [], "a.txt: what it is written in is not known."),
        ("a", b"#!/usr/bin/perl\n", [], "a: what it is written in is not known."),
        ("w.yaml", b"steps: {a: {bash: x}}", [], "w.yaml is a workflow: run it here with `cronium run w.yaml`."),
        ("l.yaml", b"[1, 2]", [], "l.yaml is no job"),
        ("b.yaml", b"bash: [", [], "b.yaml"),
        ("a.py", b"x", ["--env", "A"], "--env 'A' is not NAME=VALUE."),
        ("a.py", b"x", ["--input", "A"], "--input 'A' is not understood"),
        ("a.py", b"x", ["--executor", "ssh"], "Invalid value for '--executor'"),
    ],
)
async def test_what_cannot_be_sent_is_refused_here(cronium, server, name, content, args, said):
    if content is not None:
        (cronium.home / name).write_bytes(content)
    answer = await cronium("submit", name, *args)
    assert (answer.code, answer.out, server.asked) == (2, "", [])
    assert answer.err.startswith(f"cronium: {said}")


async def test_faults_that_the_server_finds_are_shown_with_the_lines_of_the_file(cronium, server):
    (cronium.home / "job.yaml").write_text("bash: x\nenv:\n  GOOD: 1\n  BAD-: 2\ntimout: 3\n")
    faults = [{"path": "env.BAD-", "message": "Not a name."}, {"path": "timout", "message": "Unknown key."}]
    server.refusal = problem(422, "invalid", "The job specification has 2 faults.", faults)
    answer = await cronium("submit", "job.yaml")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        "cronium: The job specification has 2 faults.",
        "  line 4: env.BAD-: Not a name.",
        "  line 5: timout: Unknown key.",
    ]


async def test_faults_of_options_have_no_line(cronium, server):
    (cronium.home / "a.py").write_text("x")
    faults = [{"path": "timeout", "message": "Must be more than nothing."}]
    server.refusal = problem(422, "invalid", "The job specification has 1 fault.", faults)
    answer = await cronium("submit", "a.py", "--timeout", "0s")
    assert answer.err.splitlines()[1] == "  timeout: Must be more than nothing."
