"""The engine in the caller's own process: what `cronium run` does with a script or a workflow file."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from orchestrator.app import EngineSettings, open_local_engine
from orchestrator.cli.descriptors import STDERR, STDOUT, say, write_all
from orchestrator.cli.failures import EXIT_FAILURE, EXIT_PIPE
from orchestrator.cli.interruption import Interruption
from orchestrator.cli.run_artifacts import copy_artifacts
from orchestrator.cli.script import read_script, read_text
from orchestrator.cli.show import Canvas, ScriptShow, WorkflowShow
from orchestrator.errors import InvalidError
from orchestrator.jobs.spec_values import MAX_PIDS
from orchestrator.jobs.submit import Submission
from orchestrator.model.documents import job_document, run_document
from orchestrator.model.jobs import Job, JobStatus, Reason, TriggerKind
from orchestrator.model.json import Json
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Limits, Script
from orchestrator.model.workflows import RunStatus, Workflow
from orchestrator.places import (
    is_queue_of_dead_command,
    make_open,
    make_private,
    queue_of_command,
    remove_if_empty,
    socket_root,
)

PROCESS_JOBS = 16
DOCKER_JOBS = 8
STATE_ENDING = ".state"
DATABASE = "cronium.db"
EXIT_TIMEOUT = 124
DEFAULT_IMAGES = {
    Language.PYTHON: "python:3.12-slim",
    Language.NODE: "node:22-slim",
    Language.BASH: "debian:bookworm-slim",
    Language.SHELL: "debian:bookworm-slim",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the command line asked for. `given` is None without `--input`."""

    file: str
    args: tuple[str, ...]
    given: Json
    language: str | None
    image: str | None
    timeout: str | None
    as_json: bool
    ephemeral: bool
    progress: bool
    is_workflow: bool
    artifacts: str | None = None


def execute(request: RunRequest) -> int:
    """Run it and return the exit code. Raises `InvalidError` for a bad file before anything is started or stored."""
    _check_directory()
    if request.is_workflow:
        return _execute_workflow(request)
    spec = script_spec(request)
    with _settings(request, {spec.executor or ExecutorKind.PROCESS}) as settings:
        return asyncio.run(_run_script(request, spec, settings))


def _check_directory() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise InvalidError("The working directory is gone: change to one that exists (cd).") from error


def script_spec(request: RunRequest) -> JobSpec:
    """The job of a script: the file where it lies, or its text for a container."""
    options: tuple[str, ...] = ()
    if request.file == "-":
        if request.language is None:
            raise InvalidError("A script on stdin needs its language: --lang python|node|bash|shell.")
        script = Script(language=Language(request.language), text=read_text("-"))
    else:
        script, options = read_script(request.file, request.language, in_image=request.image is not None)
    return JobSpec(
        script=script,
        name=Path(request.file).name if request.file != "-" else "stdin",
        executor=ExecutorKind.DOCKER if request.image else ExecutorKind.PROCESS,
        image=request.image,
        args=(*options, *request.args),
        input=request.given,
        timeout=_timeout(request.timeout),
        # Here a script may do what its caller may; in a container it is limited as everywhere.
        limits=Limits() if request.image else Limits(pids=MAX_PIDS),
    )


def _timeout(text: str | None) -> timedelta:
    if text is None:
        return timedelta(days=3650)
    from orchestrator.jobs.quantities import parse_duration

    try:
        return parse_duration(text)
    except InvalidError as error:
        raise InvalidError(f"--timeout {text}: {error.message}") from error


@contextmanager
def _settings(request: RunRequest, kinds: set[ExecutorKind]) -> Iterator[EngineSettings]:
    """Settings for one run; what only this run needs is removed afterwards."""
    state = _state_directory()
    root = socket_root(state, os.environ)
    name = queue_of_command()
    for left in root.iterdir():
        if is_queue_of_dead_command(left.name.removesuffix(STATE_ENDING)):
            shutil.rmtree(left, ignore_errors=True)
    own = make_open(root, name)
    if request.ephemeral:
        state = make_private(root / f"{name}{STATE_ENDING}")
    slots = {ExecutorKind.PROCESS: PROCESS_JOBS, ExecutorKind.DOCKER: DOCKER_JOBS}
    try:
        yield EngineSettings(
            state=state,
            sockets=own,
            queue=name,
            alone=False,
            tied=True,
            default_executor=ExecutorKind.PROCESS,
            slots={kind: slots[kind] for kind in kinds},
            images=_images(),
            inherit=os.environ,
            workdir=Path.cwd(),
            stdin=0 if not request.is_workflow and request.file != "-" else None,
            docker_endpoint=os.environ.get("CRONIUM_DOCKER_ENDPOINT"),
            registry_auth_file=_file_named("CRONIUM_REGISTRY_AUTH_FILE"),
            package_network=os.environ.get("CRONIUM_PACKAGE_NETWORK") or "bridge",
            package_scripts=os.environ.get("CRONIUM_PACKAGE_SCRIPTS", "").lower() in ("1", "true", "yes", "on"),
            package_pip_config=_file_named("CRONIUM_PACKAGE_PIP_CONFIG"),
            package_npm_config=_file_named("CRONIUM_PACKAGE_NPM_CONFIG"),
            allowed_volumes=tuple(
                place.strip() for place in os.environ.get("CRONIUM_ALLOWED_VOLUMES", "").split(",") if place.strip()
            ),
        )
    finally:
        shutil.rmtree(own, ignore_errors=True)
        if request.ephemeral:
            shutil.rmtree(state, ignore_errors=True)
        remove_if_empty(root)


def _file_named(variable: str) -> Path | None:
    name = os.environ.get(variable)
    return Path(name).absolute() if name else None


def _database(request: RunRequest, settings: EngineSettings) -> Path | None:
    return None if request.ephemeral else settings.state / DATABASE


def _state_directory() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "cronium"


def _images() -> Mapping[Language, str]:
    """The default images, each overridden by `CRONIUM_IMAGES__<LANGUAGE>` as for the server."""
    return {
        language: os.environ.get(f"CRONIUM_IMAGES__{language.upper()}", image)
        for language, image in DEFAULT_IMAGES.items()
    }


async def _run_script(request: RunRequest, spec: JobSpec, settings: EngineSettings) -> int:
    show = ScriptShow(stdout_fd=STDERR if request.as_json else STDOUT)
    async with open_local_engine(settings, _database(request, settings), onlooker=show) as engine:
        job = await engine.submitter.submit(Submission(spec=spec, trigger=TriggerKind.MANUAL, by=_whoami()))
        interrupted = Interruption(engine, show, cancel=lambda: engine.canceller.cancel(job.id, by=_whoami()))
        interrupted.listen()
        job = await show.end_of(job)
        await engine.dispatcher.cancel_all()  # ends what nobody reads any more; waits until the process is removed
        if show.closed:  # it was settled before it had ended
            async with engine.store.read() as repos:
                job = await repos.jobs.get(job.id)
        if request.artifacts is not None:
            await copy_artifacts(engine, [job], Path(request.artifacts))
    if job.message and job.reason is not Reason.EXIT_CODE:
        say(f"cronium: {job.message}")
    if request.as_json and (refused := _deliver(json.dumps(job_document(job), ensure_ascii=False))):
        return refused
    if interrupted.exit_code is not None:
        return interrupted.exit_code
    return (EXIT_PIPE if show.is_pipe else EXIT_FAILURE) if show.closed else exit_code(job)


def _deliver(document: str) -> int:
    """Print the result; the exit code that says that it did not arrive, 0 when it did."""
    try:
        write_all(STDOUT, f"{document}\n".encode("utf-8", "backslashreplace"))  # which is how JSON escapes, too
    except BrokenPipeError:
        return EXIT_PIPE
    except OSError as error:
        say(f"cronium: stdout cannot be written: {error.strerror}")
        return EXIT_FAILURE
    return 0


def exit_code(job: Job) -> int:
    """The exit code of a command that ran one job: the script's own, 124 for a timeout."""
    if job.status is JobStatus.TIMED_OUT:
        return EXIT_TIMEOUT
    if job.exit_code is not None:
        return job.exit_code
    return 0 if job.status is JobStatus.SUCCEEDED else 1


def _execute_workflow(request: RunRequest) -> int:
    from orchestrator.workflows.definition import bind_inputs, executors_of, parse_workflow
    from orchestrator.workflows.document import load_document

    source = "<stdin>" if request.file == "-" else request.file
    if request.args:
        raise InvalidError("A workflow takes no arguments: give it inputs with --input name=value.")
    text = read_text(request.file)
    if request.given is not None and not isinstance(request.given, dict):
        raise InvalidError("The inputs of a workflow are an object: --input name=value, or --input '{\"name\": ...}'.")
    try:
        workflow = parse_workflow(load_document(text, source=source))
    except InvalidError as error:
        error.source = source
        raise
    given = bind_inputs(workflow, request.given or {})
    with _settings(request, executors_of(workflow, ExecutorKind.PROCESS)) as settings:
        return asyncio.run(_run_workflow(request, workflow, given, settings))


async def _run_workflow(
    request: RunRequest, workflow: Workflow, given: Mapping[str, Json], settings: EngineSettings
) -> int:
    from orchestrator.app_workflows import enable_workflows

    show = WorkflowShow(workflow, _drawing(workflow) if request.progress else None)
    async with open_local_engine(settings, _database(request, settings), onlooker=show) as engine:
        advancer = enable_workflows(engine)
        with show:
            run = await advancer.start(workflow, given, by=_whoami())
            interrupted = Interruption(engine, show, cancel=lambda: advancer.cancel(run.id, by=_whoami()))
            interrupted.listen()
            run = await show.end_of(run)
            await engine.dispatcher.cancel_all()
        async with engine.store.read() as repos:
            jobs = await repos.jobs.of_run(run.id)
        if request.artifacts is not None:
            await copy_artifacts(engine, jobs, Path(request.artifacts))
    show.summary(run, jobs)
    if refused := _deliver(json.dumps(run_document(run, jobs), ensure_ascii=False, indent=2)):
        return refused
    if interrupted.exit_code is not None:
        return interrupted.exit_code
    return 0 if run.status is RunStatus.SUCCEEDED else 1


def _drawing(workflow: Workflow) -> Canvas:
    from orchestrator.cli.drawing import Drawing

    return Drawing([step.name for step in workflow.steps])


def _whoami() -> str:
    try:
        return f"cli:{os.environ.get('USER') or os.getlogin()}"
    except OSError:
        return f"cli:{os.geteuid()}"
