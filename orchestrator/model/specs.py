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
class JobSpec:
    """What to run, where and within which limits. `executor` None means the configured default."""

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
    priority: int = 0
    limits: Limits = field(default_factory=Limits)
