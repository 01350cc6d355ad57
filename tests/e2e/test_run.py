"""`cronium run` as a user does it: scripts in place, workflows, signals, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.conftest import CRONIUM, ROOT
from tests.e2e.serving import eventually
from tests.e2e.test_trees import alive


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home of this test's own."""
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}


def cronium(
    *args: object, env: dict[str, str], cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(CRONIUM), *map(str, args)], env=env, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=90
    )


def test_a_script_runs_in_place_with_arguments_stdin_and_relative_imports(env, tmp_path: Path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "beside.py").write_text("WORD = 'imported'\n")
    (scripts / "main.py").write_text(
        "import sys, os, beside\nprint(beside.WORD, sys.argv[1:], sys.stdin.read(), os.getcwd(), __file__)\n"
        "print('to stderr', file=sys.stderr)\nsys.exit(7)\n"
    )

    done = cronium("run", "scripts/main.py", "--", "a b", "--flag", env=env, cwd=tmp_path, stdin="typed")

    assert done.returncode == 7
    assert done.stdout == f"imported ['a b', '--flag'] typed {tmp_path} {scripts}/main.py\n"
    assert done.stderr == "to stderr\n"


def test_the_callers_interpreter_and_environment_are_used_not_our_own(env, tmp_path: Path):
    script = tmp_path / "which.py"
    script.write_text("import sys, os\nprint(sys.prefix == sys.base_prefix, os.environ['MINE'])")
    env = {**env, "MINE": "yes", "PATH": f"{CRONIUM.parent}:{os.environ['PATH']}"}

    assert cronium("run", script, env=env).stdout == "True yes\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.sh", 'cronium_output "$(cronium_input)"; cronium_input'),
        (
            "a.mjs",
            'import cronium from "cronium";\nconst i = await cronium.input(); await cronium.output(i); process.stdout.write(JSON.stringify(i))',
        ),
        (
            "a.js",
            'const cronium = require("cronium");\ncronium.input().then(i => cronium.output(i).then(() => process.stdout.write(JSON.stringify(i))))',
        ),
        (
            "a.py",
            "import cronium, json\nprint(json.dumps(cronium.input(), separators=(',', ':')), end='')\ncronium.output(cronium.input())",
        ),
    ],
)
def test_scripts_of_each_ending_talk_back(env, tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)

    done = cronium("run", name, "--input", "n=1", "--json", env=env, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert (job["status"], job["input"], job["output"]) == ("succeeded", {"n": 1}, {"n": 1})


def test_bytes_pass_through_unchanged(env, tmp_path: Path):
    (tmp_path / "bytes.py").write_text("import sys\nsys.stdout.buffer.write(bytes(range(256)) * 5000)")

    done = subprocess.run([str(CRONIUM), "run", "bytes.py"], env=env, cwd=tmp_path, capture_output=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, bytes(range(256)) * 5000)


def test_a_shebang_decides_where_the_ending_does_not(env, tmp_path: Path):
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\necho shell $1\n")
    script.chmod(0o755)

    assert cronium("run", script, "--", "x", env=env).stdout == "shell x\n"


def test_a_timeout_ends_with_124(env, tmp_path: Path):
    (tmp_path / "long.sh").write_text("sleep 1000")

    done = cronium("run", tmp_path / "long.sh", "--timeout", "0.5s", env=env)

    assert done.returncode == 124
    assert "timeout" in done.stderr


def test_nothing_but_the_history_is_left_over(env, tmp_path: Path, request: pytest.FixtureRequest):
    (tmp_path / "a.sh").write_text("echo x")
    short = tempfile.TemporaryDirectory(dir="/tmp")
    request.addfinalizer(short.cleanup)
    env = {**env, "XDG_RUNTIME_DIR": short.name}

    for more in ([], ["--ephemeral"], [], []):
        assert cronium("run", "a.sh", *more, env=env, cwd=tmp_path).returncode == 0

    state = tmp_path / "state" / "cronium"
    assert [*(state / "attempts").iterdir(), *(state / "spool").iterdir()] == []
    assert list((Path(short.name) / "cronium").iterdir()) == []


def test_variables_outlive_the_run_unless_it_is_ephemeral(env, tmp_path: Path):
    (tmp_path / "set.py").write_text("import cronium\ncronium.set_variable('k', [1])")
    (tmp_path / "get.py").write_text("import cronium\nprint(cronium.get_variable('k'))")

    cronium("run", "set.py", "--ephemeral", env=env, cwd=tmp_path)
    assert cronium("run", "get.py", env=env, cwd=tmp_path).stdout == "None\n"
    cronium("run", "set.py", env=env, cwd=tmp_path)
    assert cronium("run", "get.py", env=env, cwd=tmp_path).stdout == "[1]\n"


def test_runs_in_parallel_do_not_disturb_each_other(env, tmp_path: Path):
    (tmp_path / "n.py").write_text(
        "import sys, cronium\ncronium.set_variable('n' + sys.argv[1], 1)\nprint(sys.argv[1])"
    )
    started = [
        subprocess.Popen([str(CRONIUM), "run", "n.py", "--", str(n)], env=env, cwd=tmp_path, stdout=subprocess.PIPE)
        for n in range(6)
    ]

    results = [(process.communicate(timeout=90)[0], process.returncode) for process in started]

    assert results == [(f"{n}\n".encode(), 0) for n in range(6)]


def start_sleeper(env, tmp_path: Path) -> tuple[subprocess.Popen, str]:
    mark = f"1000{uuid.uuid4().int % 10**8:08d}"
    (tmp_path / "sleeper.sh").write_text(f"echo begun\nsetsid sleep {mark} &\nsleep {mark}\n")
    process = subprocess.Popen(
        [str(CRONIUM), "run", "sleeper.sh"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process, mark


def test_ctrl_c_cancels_and_leaves_no_process_behind(env, tmp_path: Path):
    process, mark = start_sleeper(env, tmp_path)

    process.send_signal(signal.SIGINT)

    process.communicate(timeout=60)
    assert process.returncode == 130
    assert alive(f"sleep {mark}") == []


def test_killing_the_command_ends_the_script_too(env, tmp_path: Path):
    process, mark = start_sleeper(env, tmp_path)

    process.kill()
    process.communicate(timeout=60)

    assert eventually(lambda: alive(f"sleep {mark}") == [], "the script to end")


def test_a_reader_that_goes_away_ends_the_script(env, tmp_path: Path):
    (tmp_path / "chatty.py").write_text("import itertools\nfor n in itertools.count(): print(n, flush=True)")

    done = subprocess.run(
        f"{CRONIUM} run chatty.py | head -n 2", shell=True, env=env, cwd=tmp_path, capture_output=True, timeout=60
    )

    assert done.stdout == b"0\n1\n"


def test_a_script_that_asks_nothing_does_not_wait_for_what_it_does_not_need(env, tmp_path: Path):
    (tmp_path / "a.sh").write_text("true")
    python = CRONIUM.parent / "python"

    done = subprocess.run(
        [str(python), "-X", "importtime", "-m", "orchestrator", "run", "a.sh"],
        env={**env, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "orchestrator" in imported
    assert imported & {"aiohttp", "pydantic", "yaml", "jinja2", "rich", "prometheus_client"} == set()


def test_no_port_is_opened(env, tmp_path: Path):
    (tmp_path / "ports.py").write_text(
        "import os, cronium\ncronium.input()\n"
        "inodes = {os.readlink(f'/proc/{os.environ[\"WATCHED\"]}/fd/{f}') for f in os.listdir(f'/proc/{os.environ[\"WATCHED\"]}/fd')}\n"
        "rows = [l.split() for n in ('tcp', 'tcp6') for l in open(f'/proc/net/{n}').read().splitlines()[1:]]\n"
        "print([r for r in rows if r[3] == '0A' and f'socket:[{r[9]}]' in inodes])\n"
    )
    shell = f"WATCHED=$$ exec {CRONIUM} run ports.py"

    done = subprocess.run(["sh", "-c", shell], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


# --- workflows


def test_the_first_example_succeeds_and_prints_the_run(env):
    done = cronium("run", "examples/hello.yaml", env=env, cwd=ROOT)

    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["status"] == "succeeded"
    assert set(run) >= {"id", "workflow_id", "status", "input", "output", "error", "steps"}
    assert {step["status"] for step in run["steps"].values()} <= {"succeeded", "skipped"}


def test_the_first_example_skips_node_where_there_is_none(env, tmp_path: Path):
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for tool in (
        "bash",
        "sh",
        "curl",
        "sleep",
        "date",
        "cat",
        "mktemp",
        "rm",
        "printf",
        "tr",
        "od",
        "uname",
        "hostname",
    ):
        found = subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True, text=True).stdout.strip()
        if found.startswith("/"):
            (bin_ / tool).symlink_to(found)
    (bin_ / "python3").symlink_to(sys.base_exec_prefix + "/bin/python3")

    done = cronium("run", "examples/hello.yaml", env={**env, "PATH": str(bin_)}, cwd=ROOT)

    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["status"] == "succeeded"
    assert sorted(step["status"] for step in run["steps"].values()).count("skipped") == 1


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.yaml")))
def test_every_example_succeeds(env, example: str):
    done = cronium("run", f"examples/{example}", env=env, cwd=ROOT)

    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "succeeded"), done.stderr


def test_on_a_terminal_each_step_has_a_row_and_json_stays_on_stdout(env, tmp_path: Path):
    (tmp_path / "w.yaml").write_text("name: w\nsteps:\n  first: {shell: 'echo [bold]text[/bold]'}\n")
    terminal, theirs = os.openpty()
    process = subprocess.Popen(
        [str(CRONIUM), "run", "w.yaml"],
        env={**env, "TERM": "xterm", "COLUMNS": "80"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    try:
        while part := os.read(terminal, 65536):
            drawn += part
    except OSError:
        pass  # the terminal's other end is closed: that is how its end of file looks
    finally:
        os.close(terminal)
    out, _ = process.communicate(timeout=60)

    assert json.loads(out)["status"] == "succeeded"
    assert b"\x1b[2K" in drawn  # rows are drawn again in place
    assert b"[bold]text[/bold]" in drawn  # what a script writes is text, not markup
    assert b"w: succeeded in" in drawn


def test_a_workflow_comes_from_stdin(env, tmp_path: Path):
    text = "name: piped\ninputs: {who: {type: string}}\nsteps:\n  greet: {shell: 'echo hi'}\noutputs: {who: '{{ inputs.who }}'}\n"

    done = cronium("run", "-", "--input", "who=Ada", env=env, cwd=tmp_path, stdin=text)

    assert json.loads(done.stdout)["output"] == {"who": "Ada"}, done.stderr
    assert "hi" in done.stderr


def test_a_failed_step_fails_the_run_and_stops_what_needs_it(env, tmp_path: Path):
    (tmp_path / "w.yaml").write_text(
        "name: w\nsteps:\n  a: {shell: 'exit 4'}\n  b: {needs: [a], shell: 'true'}\n  c: {shell: 'true'}\n"
    )

    done = cronium("run", "w.yaml", env=env, cwd=tmp_path)

    run = json.loads(done.stdout)
    assert (done.returncode, run["status"]) == (1, "failed")
    assert {name: step["status"] for name, step in run["steps"].items()} == {
        "a": "failed",
        "b": "skipped",
        "c": "succeeded",
    }


def test_a_bad_file_lists_every_fault_and_stores_nothing(env, tmp_path: Path):
    (tmp_path / "bad.yaml").write_text(
        "name: bad\nsteps:\n  a:\n    pyhton: x\n    timeout: soon\n  b:\n    needs: [zzz]\n    bash: y\n"
    )

    done = cronium("run", "bad.yaml", env=env, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    for expected in ("bad.yaml:4: steps.a.pyhton", "bad.yaml:5: steps.a.timeout", "bad.yaml:7: steps.b.needs"):
        assert expected in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_step_whose_templates_cannot_be_filled_in_fails_and_the_run_goes_on(env, tmp_path: Path):
    (tmp_path / "w.yaml").write_text(
        "name: w\nsteps:\n  a: {shell: 'true'}\n  b:\n    needs: [a]\n    shell: 'true'\n"
        "    env: {ROWS: '{{ steps.a.output.rows }}'}\n  c: {needs: [b], when: always, shell: 'echo still here'}\n"
    )

    done = cronium("run", "w.yaml", env=env, cwd=tmp_path)

    run = json.loads(done.stdout)
    assert {name: step["status"] for name, step in run["steps"].items()} == {
        "a": "succeeded",
        "b": "failed",
        "c": "succeeded",
    }
    assert "still here" in done.stderr


def interrupted(env, tmp_path: Path, workflow: str) -> dict:
    """The run of a workflow that was interrupted when one of its steps had printed `begun`."""
    (tmp_path / "w.yaml").write_text(workflow)
    process = subprocess.Popen(
        [str(CRONIUM), "run", "w.yaml"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "begun" not in process.stderr.readline():
        pass

    process.send_signal(signal.SIGINT)

    out, _ = process.communicate(timeout=60)
    run = json.loads(out)
    assert (process.returncode, run["status"]) == (130, "cancelled")
    return run


def test_interrupting_ends_steps_that_wait_for_a_slot_too(env, tmp_path: Path):
    steps = "".join(f"  s{n}: {{shell: 'echo begun; sleep 1000'}}\n" for n in range(20))

    run = interrupted(env, tmp_path, f"name: w\nsteps:\n{steps}")

    assert {step["status"] for step in run["steps"].values()} == {"cancelled"}


def test_interrupting_a_workflow_ends_its_steps(env, tmp_path: Path):
    mark = f"1000{uuid.uuid4().int % 10**8:08d}"
    steps = f"  a: {{shell: 'echo begun; sleep {mark}'}}\n  b: {{needs: [a], shell: 'true'}}\n"

    run = interrupted(env, tmp_path, f"name: w\nsteps:\n{steps}")

    assert run["steps"]["a"]["status"] == "cancelled"
    assert alive(f"sleep {mark}") == []


def test_entries_of_the_log_are_shown_as_what_the_script_prints(env, tmp_path: Path):
    script = tmp_path / "tells.py"
    script.write_text(
        "import cronium\ncronium.log('half way', data={'rows': 3})\ncronium.log('slow', 'warning')\nprint('end')\n"
    )

    done = cronium("run", script, env=env)

    first, last = done.stdout.splitlines()
    assert (json.loads(first), last) == ({"level": "info", "message": "half way", "data": {"rows": 3}}, "end")
    assert json.loads(done.stderr) == {"level": "warning", "message": "slow"}
