"""What a script is given: its command, its environment, its files, its token."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Placement, ProcessSpec
from orchestrator.errors import StartFailedError
from orchestrator.jobs.environment import Surroundings, clean, prepare, sweep, token_digest
from orchestrator.model.jobs import Job, JobId, JobStatus, Reason, TriggerKind
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, PullPolicy, Script
from tests.conftest import ROOT
from tests.fakes import NEW_YEAR

NOBODY = 65534
PRINTS = {
    Language.PYTHON: "import cronium, sys; print(callable(cronium.output), *sys.argv[1:])",
    Language.NODE: "const c = require('cronium'); console.log(typeof c.output, ...process.argv.slice(2))",
    Language.BASH: 'echo "$(type -t cronium_output)" "$@"',
    Language.SHELL: 'echo plain "$@"',
}
GREETINGS = {Language.PYTHON: "True", Language.NODE: "function", Language.BASH: "function", Language.SHELL: "plain"}


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    sdk = tmp_path / "sdk"
    (sdk / "python" / "__pycache__").mkdir(parents=True)
    (sdk / "python" / "cronium.py").write_text("# the SDK\n")
    return Surroundings(
        attempts=tmp_path / "attempts",
        sdk=sdk,
        images={Language.PYTHON: "python:3.12-slim"},
        find=lambda name: f"/opt/bin/{name}",
        key=b"k" * 32,
    )


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory of an account to which permissions apply: another one where the tests run as root."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(NOBODY)
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        yield directory
    finally:
        os.seteuid(me)
        shutil.rmtree(directory)


def a_job(
    language: Language = Language.PYTHON,
    text: str | None = "pass",
    *,
    executor: ExecutorKind = ExecutorKind.PROCESS,
    attempt: int = 1,
    file: str | None = None,
    module: bool = False,
    event_id: str | None = None,
    **spec: object,
) -> Job:
    spec = {"script": Script(language=language, text=text, file=file, module=module), **spec}
    return Job(
        id=JobId("job_1"),
        status=JobStatus.RUNNING,
        spec=JobSpec(**spec),
        executor=executor,
        queue="q",
        trigger=TriggerKind.API,
        priority=0,
        created_at=NEW_YEAR,
        attempt=attempt,
        input=spec.get("input"),
        event_id=event_id,
    )


def here(job: Job, around: Surroundings) -> ProcessSpec:
    """Prepare for a process on this machine."""
    directory = around.directory(job)
    placement = Placement(
        files=str(directory),
        sdk=str(around.sdk),
        runtime_api="unix:/run/api.sock",
        workdir=str(directory / "work"),
        env={"PATH": "/usr/bin:/bin", "HOME": "/home/me"},
    )
    return prepare(job, around, placement)


def in_container(job: Job, around: Surroundings) -> ProcessSpec:
    """Prepare for a container."""
    placement = Placement(files="/cronium", sdk=None, runtime_api="unix:/run/cronium/api.sock", workdir="/workspace")
    return prepare(job, around, placement)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The command


@pytest.mark.parametrize(
    ("language", "module", "interpreter", "file"),
    [
        (Language.PYTHON, False, "python3", "script.py"),
        (Language.NODE, False, "node", "script.cjs"),
        (Language.NODE, True, "node", "script.mjs"),
        (Language.BASH, False, "bash", "script.sh"),
        (Language.SHELL, False, "/bin/sh", "script.sh"),
    ],
)
def test_each_language_has_its_command(around: Surroundings, language, module, interpreter, file):
    job = a_job(language, module=module, args=("-x", "a b"))
    directory = around.directory(job)

    assert here(job, around).argv == [f"/opt/bin/{interpreter}", f"{directory}/{file}", "-x", "a b"]

    contained = a_job(language, module=module, args=("-x", "a b"), executor=ExecutorKind.DOCKER)
    assert in_container(contained, around).argv == [interpreter, f"/cronium/{file}", "-x", "a b"]


def test_a_file_is_run_where_it_lies(around: Surroundings):
    job = a_job(Language.PYTHON, None, file="/home/me/my script.py", args=("a",))

    assert here(job, around).argv == ["/opt/bin/python3", "/home/me/my script.py", "a"]
    assert sorted(path.name for path in around.directory(job).iterdir()) == ["work"]  # no input either


def test_a_program_is_started_as_it_stands(around: Surroundings):
    job = a_job(Language.PROGRAM, None, file="/home/me/tool", args=("a",))

    assert here(job, replace(around, find=lambda _: None)).argv == ["/home/me/tool", "a"]


def test_an_interpreter_that_is_not_there_is_named(around: Surroundings):
    with pytest.raises(StartFailedError, match="No node on this machine's PATH: install it") as failed:
        here(a_job(Language.NODE), replace(around, find=lambda _: None))

    assert failed.value.reason == Reason.INVALID


def test_a_container_has_interpreters_of_its_own(around: Surroundings):
    spec = in_container(a_job(executor=ExecutorKind.DOCKER), replace(around, find=lambda _: None))

    assert spec.argv[0] == "python3"


# What else is said of the process


def test_the_process_is_named_after_the_attempt(around: Surroundings):
    spec = here(a_job(attempt=3), around)

    assert (spec.name, spec.labels) == ("cronium-job_1-3", {"job": "job_1", "attempt": "3"})


def test_the_image_is_the_jobs_or_that_of_its_language(around: Surroundings):
    docker = ExecutorKind.DOCKER

    assert in_container(a_job(executor=docker, image="mine"), around).image == "mine"
    assert in_container(a_job(executor=docker), around).image == "python:3.12-slim"
    assert in_container(a_job(Language.NODE, executor=docker), around).image is None
    assert here(a_job(), around).image is None


def test_the_job_says_how_it_is_isolated(around: Surroundings):
    job = a_job(executor=ExecutorKind.DOCKER, network="bridge", pull=PullPolicy.NEVER)
    spec = in_container(job, around)

    assert (spec.network, spec.pull, spec.limits) == ("bridge", PullPolicy.NEVER, job.spec.limits)


def test_the_working_directory_is_the_jobs_then_the_wirings_then_an_empty_one(around: Surroundings):
    own = here(a_job(), around)
    assert Path(own.workdir).is_dir()
    assert mode(Path(own.workdir)) == 0o700

    assert here(a_job(), replace(around, workdir="/srv/here")).workdir == "/srv/here"
    assert here(a_job(workdir="/srv/job"), replace(around, workdir="/srv/here")).workdir == "/srv/job"
    assert in_container(a_job(executor=ExecutorKind.DOCKER), around).workdir == "/workspace"


def test_stdin_and_the_tie_are_those_of_the_wiring(around: Surroundings):
    spec = here(a_job(), replace(around, stdin=0, tied=True))

    assert (spec.stdin, spec.tied) == (0, True)


# The environment


@pytest.mark.parametrize(
    ("executor", "execution_mode"), [(ExecutorKind.PROCESS, "process"), (ExecutorKind.DOCKER, "container")]
)
def test_a_script_is_told_who_it_is_and_whom_to_call(around: Surroundings, executor, execution_mode):
    job = replace(a_job(executor=executor, attempt=2, event_id="evt_1"), scheduled_at=NEW_YEAR)
    is_process = executor is ExecutorKind.PROCESS
    env = (here if is_process else in_container)(job, around).env
    api = "unix:/run/api.sock" if is_process else "unix:/run/cronium/api.sock"

    assert {name: value for name, value in env.items() if name.startswith("CRONIUM_")} == {
        "CRONIUM_RUNTIME_API": api,
        "CRONIUM_API_ENDPOINT": api,
        "CRONIUM_API_URL": api,
        "CRONIUM_EXECUTION_TOKEN": around.token(job.id, 2),
        "CRONIUM_API_TOKEN": around.token(job.id, 2),
        "CRONIUM_EXECUTION_ID": "job_1",
        "CRONIUM_JOB_ID": "job_1",
        "CRONIUM_EVENT_ID": "evt_1",
        "CRONIUM_SCHEDULED_AT": "2026-01-01T00:00:00.000000Z",
        "CRONIUM_ATTEMPT": "2",
        "CRONIUM_EXECUTION_MODE": execution_mode,
    }


def test_the_sdks_are_found_without_the_script_doing_anything(around: Surroundings):
    env = in_container(a_job(executor=ExecutorKind.DOCKER), around).env

    assert env["PYTHONPATH"] == "/cronium/sdk/python"
    assert env["NODE_PATH"] == "/cronium/sdk/js/lib"
    assert env["NODE_OPTIONS"] == "--require=/cronium/sdk/js/lib/cronium/register.cjs"
    assert env["BASH_ENV"] == "/cronium/sdk/bash/env.sh"


def test_what_is_already_in_the_environment_is_kept_behind_ours(around: Surroundings):
    given = {"PYTHONPATH": "/mine:/too", "NODE_PATH": "/n", "NODE_OPTIONS": "--no-warnings", "BASH_ENV": "/my/env.sh"}
    env = here(a_job(env=given), around).env

    assert env["PYTHONPATH"] == f"{around.sdk}/python:/mine:/too"
    assert env["NODE_PATH"] == f"{around.sdk}/js/lib:/n"
    assert env["NODE_OPTIONS"] == f"--require={around.sdk}/js/lib/cronium/register.cjs --no-warnings"
    assert (env["BASH_ENV"], env["CRONIUM_OUTER_BASH_ENV"]) == (f"{around.sdk}/bash/env.sh", "/my/env.sh")


@pytest.mark.parametrize("name", ["PYTHONPATH", "NODE_PATH", "NODE_OPTIONS", "BASH_ENV"])
def test_a_variable_that_is_empty_is_as_one_that_is_not_there(around: Surroundings, name):
    assert here(a_job(env={name: ""}), around).env == here(a_job(), around).env


def test_the_jobs_environment_wins_over_the_places(around: Surroundings):
    env = here(a_job(env={"HOME": "/job", "A": "job"}), around).env

    assert (env["PATH"], env["HOME"], env["A"]) == ("/usr/bin:/bin", "/job", "job")


@pytest.mark.parametrize("language", list(PRINTS))
def test_a_script_in_a_path_with_blanks_and_quotes_finds_its_sdk(tmp_path: Path, around: Surroundings, language):
    place = tmp_path / 'a "blank" \\ path'
    place.mkdir()
    (place / "my sdk").symlink_to(ROOT / "sdk")
    around = replace(around, attempts=place / "my attempts", sdk=place / "my sdk", find=shutil.which)
    spec = here(a_job(language, PRINTS[language], args=("a b", "")), around)
    env = {**spec.env, "PATH": os.environ["PATH"]}

    done = subprocess.run(
        spec.argv, env=env, cwd=spec.workdir, capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL
    )

    assert (done.returncode, done.stdout.decode().strip(), done.stderr) == (0, f"{GREETINGS[language]} a b", b"")


def test_bash_reads_its_own_startup_file_too(tmp_path: Path, around: Surroundings):
    (tmp_path / "mine.sh").write_text("greeting=hello\n")
    around = replace(around, sdk=ROOT / "sdk", find=shutil.which)
    job = a_job(
        Language.BASH, 'echo "$greeting $(type -t cronium_output)"', env={"BASH_ENV": str(tmp_path / "mine.sh")}
    )
    spec = here(job, around)

    done = subprocess.run(spec.argv, env=spec.env, capture_output=True, timeout=30, check=False, text=True)

    assert (done.stdout, done.stderr) == ("hello function\n", "")


# The token


def test_a_token_is_the_same_for_the_same_attempt_and_another_for_another(around: Surroundings):
    token = around.token(JobId("job_1"), 1)
    others = {
        around.token(JobId("job_1"), 2),
        around.token(JobId("job_2"), 1),
        replace(around, key=b"x" * 32).token(JobId("job_1"), 1),
    }

    assert token == around.token(JobId("job_1"), 1)
    assert len({token, *others}) == 4
    assert token.startswith("cra_")
    assert len(token) == 47
    assert token_digest(token) != token_digest(next(iter(others)))


def test_the_token_is_nowhere_but_in_the_environment(around: Surroundings):
    job = a_job(input={"a": 1})
    spec = in_container(replace(job, executor=ExecutorKind.DOCKER), around)
    token = around.token(job.id, 1)

    assert token not in json.dumps([list(spec.argv), dict(spec.labels), spec.name, spec.workdir])
    files = [path for path in spec.directory.rglob("*") if path.is_file()]
    assert all(token.encode() not in path.read_bytes() for path in files)


# The files


def test_a_script_and_its_input_are_files_that_are_read_only(around: Surroundings):
    job = a_job(text="print('grün')\n", input={"key": ["grün", None]})
    directory = here(job, around).directory

    assert (directory / "script.py").read_bytes() == "print('grün')\n".encode()
    assert json.loads((directory / "input.json").read_text()) == {"key": ["grün", None]}
    assert (mode(directory / "script.py"), mode(directory / "input.json")) == (0o444, 0o444)
    assert not (directory / "sdk").exists()


def test_what_a_container_is_given_cannot_be_written_and_can_be_read_by_every_user(around: Surroundings):
    directory = in_container(a_job(executor=ExecutorKind.DOCKER, input={"key": 1}), around).directory

    found = {str(path.relative_to(directory)): mode(path) for path in directory.rglob("*")}
    assert found == {
        "script.py": 0o444,
        "input.json": 0o444,
        "sdk": 0o555,
        "sdk/python": 0o555,
        "sdk/python/cronium.py": 0o444,
    }
    assert mode(directory) == 0o555


def test_preparing_again_begins_anew(around: Surroundings):
    job = a_job(executor=ExecutorKind.DOCKER)
    directory = in_container(job, around).directory
    directory.chmod(0o755)
    (directory / "left").write_text("of the time before")

    in_container(job, around)

    assert not (directory / "left").exists()


def test_cleaning_removes_what_is_read_only(around: Surroundings):
    with unprivileged() as place:
        around = replace(around, attempts=place / "attempts", sdk=ROOT / "sdk")
        job = a_job(executor=ExecutorKind.DOCKER)
        in_container(job, around)

        clean(job, around)

        assert list(around.attempts.iterdir()) == []


def test_cleaning_removes_what_a_script_has_closed(around: Surroundings):
    with unprivileged() as place:
        around = replace(around, attempts=place / "attempts")
        job = a_job()
        inner = Path(here(job, around).workdir) / "a" / "b" / "c"
        inner.mkdir(parents=True)
        (inner / "file").write_text("x")
        for directory in (inner, inner.parent, inner.parent.parent):
            directory.chmod(0)

        clean(job, around)

        assert list(around.attempts.iterdir()) == []


def test_cleaning_follows_no_link(around: Surroundings, tmp_path: Path):
    with unprivileged() as place:
        outside = place / "outside"
        outside.mkdir(mode=0o500)
        around = replace(around, attempts=place / "attempts")
        job = a_job()
        workdir = Path(here(job, around).workdir)
        (workdir / "link").symlink_to(outside)
        (workdir / "closed").mkdir(mode=0o000)

        clean(job, around)

        assert list(around.attempts.iterdir()) == []
        assert mode(outside) == 0o500


def test_cleaning_again_does_nothing(around: Surroundings):
    clean(a_job(), around)
    clean(a_job(), around)

    assert not around.directory(a_job()).exists()


def test_sweeping_removes_all_attempts_but_those_that_are_kept(around: Surroundings):
    for attempt in (1, 2, 3):
        in_container(a_job(executor=ExecutorKind.DOCKER, attempt=attempt), around)
    (around.attempts / "a-file").write_text("is no directory")

    sweep(around, frozenset({"cronium-job_1-2"}))

    assert {path.name for path in around.attempts.iterdir()} == {"cronium-job_1-2", "a-file"}
