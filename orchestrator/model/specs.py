"""What to run: a job's specification, as people write it, checked and made whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from orchestrator.model.json import Json


class ExecutorKind(StrEnum):
    """Where scripts run."""

    PROCESS = "process"
    DOCKER = "docker"
    SSH = "ssh"


class Language(StrEnum):
    """What a script is written in. `shell` is for /bin/sh; `program` is a file started as it stands."""

    PYTHON = "python"
    NODE = "node"
    BASH = "bash"
    SHELL = "shell"
    PROGRAM = "program"


class PullPolicy(StrEnum):
    """When an image is fetched."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


class Workspace(StrEnum):
    """What a container's working directory is made of: memory, within the job's limit, or a volume on disk."""

    TMPFS = "tmpfs"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A directory of the engine's machine (an absolute path) or a named volume, read-only at `target`."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenArtifact:
    """
    What a step of a workflow finds of an earlier one, as `name`: an artifact that the job of that step left, or a
    directory with all of them (`artifact` None).
    """

    name: str
    step: str
    job_id: str
    artifact: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """
    The program: its text, or a file that is run where it lies (`cronium run` and the process executor only).

    `module` tells Node how to read `text`: as an ES module when true. For a file the ending decides.
    """

    language: Language
    text: str | None = None
    file: str | None = None
    module: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one attempt may use. Sizes in bytes; `cpus` is a share of time (0.5 is half a core)."""

    memory_bytes: int = 512 * 1024 * 1024
    pids: int = 256
    cpus: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSecret:
    """A secret that a job is given, by its name, as a variable of its environment."""

    name: str
    variable: str


class Backoff(StrEnum):
    """How the delay before another attempt grows."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """
    When a failed attempt is followed by another, up to `attempts` in all.

    The delay doubles with each attempt where the backoff is exponential, up to `max_delay`; of it a random share of up
    to `jitter` is left out, so that jobs that failed together do not come back together. `exit_codes` None means any.
    `on_lost`: whether to run the script again when nobody knows what became of it, and it may have done its work.
    """

    attempts: int = 1
    backoff: Backoff = Backoff.EXPONENTIAL
    delay: timedelta = timedelta(seconds=1)
    max_delay: timedelta = timedelta(minutes=5)
    jitter: float = 0.2
    exit_codes: frozenset[int] | None = None
    reasons: frozenset[str] | None = None
    on_lost: bool = False


class WhenFull(StrEnum):
    """What becomes of a job whose concurrency key has no place: it waits, is skipped, or takes the oldest one's."""

    QUEUE = "queue"
    SKIP = "skip"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """
    At most `limit` jobs of the same key are under way: admitted and not final, those between two attempts too.

    `key` None is the key of the job's event.
    """

    limit: int = 1
    key: str | None = None
    when_full: WhenFull = WhenFull.QUEUE


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """
    What to run, where and within which limits. `executor` None means the configured default.

    `timeout` bounds one attempt of the script, `setup_timeout` (None: as configured) its preparing and starting,
    `queue_timeout` (None: unbounded) the wait for the first attempt. `packages` are requirements in the words of the
    script's language. `warm` False: never in a container that was started beforehand. `artifacts` are those of earlier
    steps; only a workflow gives them.
    """

    script: Script
    name: str | None = None
    executor: ExecutorKind | None = None
    image: str | None = None
    pull: PullPolicy = PullPolicy.MISSING
    network: str = "none"
    args: tuple[str, ...] = ()
    workdir: str | None = None
    input: Json = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: timedelta = timedelta(hours=24)
    setup_timeout: timedelta | None = None
    queue_timeout: timedelta | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    priority: int = 0
    concurrency: Concurrency | None = None
    limits: Limits = field(default_factory=Limits)
    packages: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    workspace: Workspace = Workspace.TMPFS
    warm: bool = True
    artifacts: tuple[GivenArtifact, ...] = ()
    secrets: tuple[WantedSecret, ...] = ()
