"""What a script is given: its files, its command, its environment and the token of its attempt."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.contracts.executor import Placement, ProcessSpec
from orchestrator.errors import StartFailedError
from orchestrator.jobs.artifact_places import ARTIFACTS_ENDING, GIVEN, GivenFile, lay_out, make_artifacts, remove
from orchestrator.jobs.inline_packages import Needs, needs_of
from orchestrator.model.documents import time_text
from orchestrator.model.jobs import EXECUTION_MODES, Job, JobId, Reason, process_name
from orchestrator.model.specs import ExecutorKind, Language, Script

INTERPRETERS = {Language.PYTHON: "python3", Language.NODE: "node", Language.BASH: "bash", Language.SHELL: "/bin/sh"}
FILE_NAMES = {Language.PYTHON: "script.py", Language.BASH: "script.sh", Language.SHELL: "script.sh"}
NODE_LIBRARY = "js/lib"  # NODE_PATH; the hook beside it serves `import`, which ignores NODE_PATH
NODE_HOOK = "js/lib/cronium/register.cjs"
BASH_LIBRARY = "bash/env.sh"
PYTHON_LIBRARY = "python"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """
    Where scripts find themselves in this wiring.

    `attempts` is the directory of the attempts' directories; `sdk` holds the SDKs; `images` the default image of each
    language; `find` looks an interpreter up for processes on this machine (None: there is none); `workdir` is the
    working directory of processes without one of their own (None: an empty one each).
    """

    attempts: Path
    sdk: Path
    images: Mapping[Language, str]
    find: Callable[[str], str | None]
    key: bytes = field(repr=False)
    workdir: str | None = None
    tied: bool = False
    stdin: int | None = None

    def token(self, job_id: JobId, attempt: int) -> str:
        """
        The token of an attempt: unguessable, and the same when a later orchestrator asks for it, which must mask it.

        HMAC-SHA-256 under the installation's key; the store keeps only its digest.
        """
        code = hmac.digest(self.key, f"attempt:{job_id}:{attempt}".encode(), "sha256")
        return "cra_" + base64.urlsafe_b64encode(code).rstrip(b"=").decode()

    def directory(self, job: Job) -> Path:
        """The attempt's directory on this machine."""
        return self.attempts / process_name(job.id, job.attempt)

    def artifacts(self, job: Job) -> Path:
        """The directory on this machine that the attempt's script may leave files in."""
        return self.attempts / f"{process_name(job.id, job.attempt)}{ARTIFACTS_ENDING}"


def token_digest(token: str) -> bytes:
    """What the store keeps of an attempt's token."""
    return hashlib.sha256(token.encode()).digest()


def prepare(job: Job, around: Surroundings, placement: Placement, *given: GivenFile) -> ProcessSpec:
    """
    Fill the attempt's directory, with the `given` files too, and say what to start. Blocking: call it in a thread.

    Raises `StartFailedError` where the script cannot be run here (`invalid`), saying what to do.
    """
    directory = around.directory(job)
    needs = needs_of(job.spec) if job.executor is ExecutorKind.DOCKER else Needs()
    _write_files(job, directory, around, placement, given)
    if placement.artifacts:
        make_artifacts(around.artifacts(job), others=job.executor is not ExecutorKind.PROCESS)
    here = job.executor is ExecutorKind.PROCESS  # a directory of this machine is nothing to a container
    workdir = job.spec.workdir or (around.workdir if here else None) or placement.workdir
    if here and workdir == placement.workdir:
        Path(workdir).mkdir(mode=0o700, exist_ok=True)
    return ProcessSpec(
        name=process_name(job.id, job.attempt),
        directory=directory,
        argv=_command(job, around, placement),
        env=_environment(job, around, placement),
        workdir=workdir,
        labels={"job": job.id, "attempt": str(job.attempt)},
        artifacts=around.artifacts(job) if placement.artifacts else None,
        stdin=around.stdin,
        tied=around.tied,
        limits=job.spec.limits,
        image=_image(job, around),
        pull=job.spec.pull,
        network=job.spec.network,
        language=job.spec.script.language,
        packages=needs.packages,
        requires_python=needs.requires_python,
        notes=needs.notes,
        volumes=job.spec.volumes,
        workspace=job.spec.workspace,
        warm=job.spec.warm,
    )


def clean(job: Job, around: Surroundings) -> None:
    """Remove the attempt's directory and that of its artifacts; safe to repeat."""
    remove(around.directory(job))
    try:
        remove(around.artifacts(job))
    except OSError as error:  # what another account's script closed to us is no reason to keep the job from its end
        log.warning("artifacts cannot be removed", extra={"directory": str(error.filename), "error": str(error)})


def sweep(around: Surroundings, keep: frozenset[str]) -> None:
    """Remove the directories of all attempts but those named. What cannot be removed is left, and logged."""
    for directory in around.attempts.iterdir():
        if directory.name.removesuffix(ARTIFACTS_ENDING) in keep:
            continue
        try:
            remove(directory)
        except OSError as error:
            log.warning("a leftover cannot be removed", extra={"directory": str(directory), "error": str(error)})


def _write_files(
    job: Job, directory: Path, around: Surroundings, placement: Placement, given: Sequence[GivenFile]
) -> None:
    """Files are 0444 and directories 0555: a script in a container runs as another user, and may read only."""
    clean(job, around)
    directory.mkdir(parents=True)
    script = job.spec.script
    if script.text is not None:
        _write(directory / file_name(script), script.text)
    if job.input is not None:
        _write(directory / "input.json", json.dumps(job.input, ensure_ascii=False))
    if job.spec.artifacts:
        lay_out(given, directory / GIVEN)
    if placement.sdk is None:
        shutil.copytree(around.sdk, directory / "sdk", ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        for path in (directory / "sdk").rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        (directory / "sdk").chmod(0o555)
    directory.chmod(0o755 if job.executor is ExecutorKind.PROCESS else 0o555)


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o444)


def file_name(script: Script) -> str:
    """What the script's text is called in the attempt's directory."""
    if script.language is Language.NODE:
        return "script.mjs" if script.module else "script.cjs"
    return FILE_NAMES[script.language]


def _command(job: Job, around: Surroundings, placement: Placement) -> list[str]:
    script = job.spec.script
    file = script.file or f"{placement.files}/{file_name(script)}"
    if script.language is Language.PROGRAM:
        return [file, *job.spec.args]
    interpreter = INTERPRETERS[script.language]
    if job.executor is ExecutorKind.PROCESS:
        found = around.find(interpreter)
        if found is None:
            raise StartFailedError(
                f"No {interpreter} on this machine's PATH: install it, or run the job in an image that has it "
                "(executor: docker).",
                reason=Reason.INVALID,
            )
        interpreter = found
    return [interpreter, file, *job.spec.args]


def _image(job: Job, around: Surroundings) -> str | None:
    if job.executor is not ExecutorKind.DOCKER:
        return None
    return job.spec.image or around.images.get(job.spec.script.language)


def _environment(job: Job, around: Surroundings, placement: Placement) -> dict[str, str]:
    sdk = placement.sdk or f"{placement.files}/sdk"
    env = {**placement.env, **job.spec.env}
    _prepend(env, "PYTHONPATH", f"{sdk}/{PYTHON_LIBRARY}", ":")
    _prepend(env, "NODE_PATH", f"{sdk}/{NODE_LIBRARY}", ":")
    _prepend(env, "NODE_OPTIONS", f"--require={_quoted(f'{sdk}/{NODE_HOOK}')}", " ")
    if env.get("BASH_ENV"):
        env["CRONIUM_OUTER_BASH_ENV"] = env["BASH_ENV"]
    env["BASH_ENV"] = f"{sdk}/{BASH_LIBRARY}"
    token = around.token(job.id, job.attempt)
    env |= {
        "CRONIUM_RUNTIME_API": placement.runtime_api,
        "CRONIUM_API_ENDPOINT": placement.runtime_api,
        "CRONIUM_API_URL": placement.runtime_api,
        "CRONIUM_EXECUTION_TOKEN": token,
        "CRONIUM_API_TOKEN": token,
        "CRONIUM_EXECUTION_ID": job.id,
        "CRONIUM_JOB_ID": job.id,
        "CRONIUM_EVENT_ID": job.event_id or "",
        "CRONIUM_SCHEDULED_AT": "" if job.scheduled_at is None else time_text(job.scheduled_at),
        "CRONIUM_ATTEMPT": str(job.attempt),
        "CRONIUM_EXECUTION_MODE": EXECUTION_MODES[job.executor],
    }
    if placement.artifacts:
        env["CRONIUM_ARTIFACTS"] = placement.artifacts
    if job.spec.artifacts:
        env["CRONIUM_FILES"] = f"{placement.files}/{GIVEN}"
    return env


def _prepend(env: dict[str, str], name: str, value: str, separator: str) -> None:
    env[name] = f"{value}{separator}{env[name]}" if env.get(name) else value


def _quoted(path: str) -> str:
    """A path inside NODE_OPTIONS, where blanks separate and quotes hold together."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"' if any(c in path for c in ' "\\') else path
