"""Read a job specification as people write it: every fault at once, with its path, nothing silently ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

from orchestrator.errors import InvalidError
from orchestrator.jobs.concurrency_values import read_concurrency
from orchestrator.jobs.container_values import read_flag, read_packages, read_volumes, read_workspace
from orchestrator.jobs.faults import MAX_PROBLEMS, Reading, kind_of, near, shown
from orchestrator.jobs.node_source import is_module
from orchestrator.jobs.retry_values import read_retry
from orchestrator.jobs.secret_values import read_secrets
from orchestrator.jobs.spec_values import (
    read_args,
    read_cpus,
    read_env,
    read_executor,
    read_image,
    read_input,
    read_memory,
    read_name,
    read_network,
    read_pids,
    read_priority,
    read_pull,
    read_text,
    read_timeouts,
    read_workdir,
)
from orchestrator.model.json import Json
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Limits, PullPolicy, RetryPolicy, Script, Workspace

ValueT = TypeVar("ValueT")

DEFAULT_TIMEOUT = timedelta(hours=24)
DEFAULT_LIMITS = Limits()
NO_RETRY = RetryPolicy()

LANGUAGES = {"python": Language.PYTHON, "node": Language.NODE, "bash": Language.BASH, "shell": Language.SHELL}
SPEC_KEYS = (
    *LANGUAGES,
    *("name", "executor", "image", "pull", "network", "args", "workdir", "input", "env", "timeout"),
    *("retry", "priority", "concurrency", "cpus", "memory", "pids"),
    *("packages", "volumes", "workspace", "warm", "secrets"),
)
LATER_KINDS = ("http", "tool", "llm", "file_read", "file_write", "event", "workflow")
LATER_KEYS = ("on", "isolation")
CONTAINER_KEYS = ("image", "pull", "network", "packages", "volumes", "workspace", "warm")
STEP_KEYS = ("needs", "if", "when", "foreach")
EVENT_KEYS = ("description", "schedule", "max_executions", "notify")
OTHER_WORDS = {
    "run": "bash",
    "script": "python`, `node`, `bash` or `shell",
    "command": "bash",
    "code": "python`, `node`, `bash` or `shell",
    "sh": "shell",
    "js": "node",
    "javascript": "node",
    "environment": "env",
    "cwd": "workdir",
    "dir": "workdir",
    "working_directory": "workdir",
    "mem": "memory",
    "cpu": "cpus",
    "params": "input",
    "with": "input",
    "cron": "schedule",
    "every": "schedule",
    "on_failure": "notify",
}


def parse_job_spec(document: Json, *, path: str = "") -> JobSpec:
    """
    Read a job specification. Raises `InvalidError` with every fault, each under `path`.

    What this version cannot do is a fault too: a key is either obeyed or refused.
    """
    reading = Reading()
    spec = read_spec(document, reading)
    if spec is None or reading.problems:
        faults = tuple(problem.fault(path) for problem in reading.problems)
        what = path or "The job specification"
        raise InvalidError(f"{what} has {len(faults)} fault{'s' if len(faults) > 1 else ''}.", faults=faults)
    return spec


def read_spec(document: Json, reading: Reading) -> JobSpec | None:
    """
    Read a job specification and note what is wrong; None where there is nothing to run.

    Where the reading allows templates, keys in `TEMPLATED_KEYS` may hold them, and what they say is not in the result.
    """
    if not isinstance(document, dict):
        reading.wrong(f"Must be a mapping such as {{bash: ...}}, not {kind_of(document)}.")
        return None
    _refuse_unknown(document, reading)
    _refuse_contradictions(document, reading)
    script = _script(document, reading)
    timeouts: dict[str, timedelta] = _read(document, "timeout", reading, read_timeouts, {})
    spec = JobSpec(
        script=script or Script(language=Language.SHELL),
        name=_read(document, "name", reading, read_name, None),
        executor=_read(document, "executor", reading, read_executor, None),
        image=_read(document, "image", reading, read_image, None),
        pull=_read(document, "pull", reading, read_pull, PullPolicy.MISSING),
        network=_read(document, "network", reading, read_network, "none"),
        args=_read(document, "args", reading, read_args, ()),
        workdir=_read(document, "workdir", reading, read_workdir, None),
        input=read_input(document.get("input"), reading.at("input")),
        env=_read(document, "env", reading, read_env, {}),
        timeout=timeouts.get("execution", DEFAULT_TIMEOUT),
        setup_timeout=timeouts.get("setup"),
        queue_timeout=timeouts.get("queue"),
        retry=_read(document, "retry", reading, read_retry, NO_RETRY),
        priority=_read(document, "priority", reading, read_priority, 0),
        concurrency=_read(document, "concurrency", reading, read_concurrency, None),
        limits=_limits(document, reading),
        packages=_read(document, "packages", reading, read_packages, ()),
        volumes=_read(document, "volumes", reading, read_volumes, ()),
        workspace=_read(document, "workspace", reading, read_workspace, Workspace.TMPFS),
        warm=_read(document, "warm", reading, read_flag, True),
        secrets=_read(document, "secrets", reading, read_secrets, ()),
    )
    return spec if script is not None else None


def _read(
    document: Mapping[str, Json],
    key: str,
    reading: Reading,
    read: Callable[[Json, Reading], ValueT | None],
    default: ValueT,
) -> ValueT:
    """The value of a key, or `default` where there is none or a wrong one, which `read` has noted."""
    value = read(document[key], reading.at(key)) if key in document else None
    return default if value is None else value


def _refuse_unknown(document: Mapping[str, Json], reading: Reading) -> None:
    for key in list(document)[:MAX_PROBLEMS]:  # there are far fewer known keys: the rest cannot all be right
        if key in SPEC_KEYS:
            continue
        at = reading.at(shown(key))
        if key in LATER_KINDS:
            at.wrong(f"`{key}` is not supported by this version; use `python`, `node`, `bash` or `shell`.")
        elif key in LATER_KEYS:
            at.wrong(f"`{key}` is not supported by this version yet; remove it.")
        elif key in STEP_KEYS:
            at.wrong(f"`{key}` belongs to the steps of a workflow; a single job has none. Remove it.")
        elif key in EVENT_KEYS:
            at.wrong(f"`{key}` belongs to an event: save this as one with `cronium events create`, or remove it.")
        else:
            at.wrong(
                f"Unknown key `{shown(key)}`.{_hint(key, (*SPEC_KEYS, *EVENT_KEYS) if at.of_event else SPEC_KEYS)}"
            )


def _hint(key: str, known: tuple[str, ...]) -> str:
    other = OTHER_WORDS.get(key.lower().replace("-", "_"))
    return f" Did you mean `{other}`?" if other and (other in known or " " in other) else near(key, known)


def _refuse_contradictions(document: Mapping[str, Json], reading: Reading) -> None:
    """A process shares its machine's files and network: keys that say otherwise would be empty promises."""
    if "packages" in document and "python" not in document and "node" not in document:
        reading.at("packages").wrong("Only `python` and `node` have packages: use an image that has what is needed.")
    _refuse_two_values(document, reading)
    if document.get("executor") != ExecutorKind.PROCESS:
        return
    for key in CONTAINER_KEYS:
        if key in document:
            reading.at(key).wrong(f"`{key}` needs `executor: docker`; remove it or the line `executor: process`.")


def _refuse_two_values(document: Mapping[str, Json], reading: Reading) -> None:
    """A variable is either in `env`, which everybody may read, or a secret."""
    env, wanted = document.get("env"), document.get("secrets")
    for index, item in enumerate(wanted if isinstance(wanted, list) and isinstance(env, dict) else ()):
        variable = item.get("as", item.get("name")) if isinstance(item, dict) else item
        if isinstance(env, dict) and isinstance(variable, str) and variable in env:
            reading.at("secrets", index).wrong(f"`{shown(variable)}` is in `env`, too: keep one of the two.")


def _script(document: Mapping[str, Json], reading: Reading) -> Script | None:
    kinds = [key for key in document if key in LANGUAGES]
    if not kinds:
        if not any(key in document for key in LATER_KINDS):
            reading.wrong("There is nothing to run: give one of `python`, `node`, `bash`, `shell`.")
        return None
    if len(kinds) > 1:
        named = " and ".join(f"`{kind}`" for kind in kinds)
        reading.at(kinds[1]).wrong(f"{named} exclude each other: keep one.")
    language = LANGUAGES[kinds[0]]
    text = read_text(document[kinds[0]], reading.at(kinds[0]))
    if text is None:
        return None
    return Script(language=language, text=text, module=language is Language.NODE and is_module(text))


def _limits(document: Mapping[str, Json], reading: Reading) -> Limits:
    return Limits(
        memory_bytes=_read(document, "memory", reading, read_memory, DEFAULT_LIMITS.memory_bytes),
        pids=_read(document, "pids", reading, read_pids, DEFAULT_LIMITS.pids),
        cpus=_read(document, "cpus", reading, read_cpus, DEFAULT_LIMITS.cpus),
    )
