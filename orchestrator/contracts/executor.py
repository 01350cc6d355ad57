"""The seam to the places where scripts run. Checked by tests/suites/executor_suite.py on every executor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from orchestrator.model.jobs import Reason
from orchestrator.model.json import Json
from orchestrator.model.logs import Chunk, Cursor
from orchestrator.model.specs import ExecutorKind, Language, Limits, PullPolicy, Volume, Workspace


class Signal(StrEnum):
    """How to end a process: TERM asks, KILL does not. Both reach every descendant, also those with a session of their own."""

    TERM = "TERM"
    KILL = "KILL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """
    How a script sees what it is given.

    `files` is where the attempt's directory appears to the script; `sdk` where the SDKs lie (None: copy them into the
    attempt's directory, they appear at `files`/sdk); `runtime_api` is the value of CRONIUM_RUNTIME_API; `workdir` the
    working directory when the job names none; `env` what a script finds in its environment before anything is added;
    `artifacts` where the directory of its artifacts appears.
    """

    files: str
    sdk: str | None
    runtime_api: str
    workdir: str
    env: Mapping[str, str] = field(default_factory=dict)
    artifacts: str = ""


class Setup(Protocol):
    """Whom an executor tells, while it starts a process, what it is doing. Both return at once and never raise."""

    def say(self, text: str) -> None:
        """Add a line of Cronium's own to the job's log."""
        ...

    def record(self, fact: str, value: Json) -> None:
        """Keep a fact about the attempt, such as which image its name stood for, in the job's journal."""
        ...


class Unheard:
    """A `Setup` for whoever does not want to know."""

    def say(self, text: str) -> None:
        pass

    def record(self, fact: str, value: Json) -> None:
        pass


UNHEARD: Setup = Unheard()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """
    What to start. Paths in `argv`, `env` and `workdir` are as the script sees them (see `Placement`).

    `name` is deterministic and unique: the same attempt always has the same name. `directory` is the attempt's
    directory on this machine, already filled with what the script is given; the script can read it, not write it.
    `stdin` is a file descriptor the script reads (None: an empty input). `tied` processes end when this orchestrator
    does, even if it is killed; others outlive it. `artifacts` is a directory on this machine that the script may
    write, at `Placement.artifacts` (None: there is none). The fields from `image` on mean something to executors that isolate; `language` is that
    of the `packages`, `requires_python` what the script says of the version it needs; `notes` are told to the `Setup`.
    """

    name: str
    directory: Path
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)  # secrets are in it
    workdir: str
    labels: Mapping[str, str] = field(default_factory=dict)
    stdin: int | None = None
    tied: bool = False
    artifacts: Path | None = None
    limits: Limits = field(default_factory=Limits)
    image: str | None = None
    pull: PullPolicy = PullPolicy.MISSING
    network: str = "none"
    language: Language = Language.SHELL
    packages: Sequence[str] = ()
    requires_python: str = ""
    notes: Sequence[str] = ()
    volumes: Sequence[Volume] = ()
    workspace: Workspace = Workspace.TMPFS
    warm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """
    How a process ended. `code` is the exit status, 128 + n when signal n ended it, None when nobody can know any more.

    `reason` is set where the executor knows more than the code says: `out_of_memory`, `lost`. `note` is a sentence
    for the job's log, such as that a child ran out of memory although the script went on. `by_others` is one that holds
    only if no supervisor of ours, now or before, had it ended: that it was somebody else. Times are UTC.
    """

    code: int | None
    reason: Reason | None = None
    note: str | None = None
    by_others: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Process(Protocol):
    """A started process. Every method may be called again after an error; all but `output` also concurrently."""

    @property
    def name(self) -> str: ...

    def output(self, after: Cursor) -> AsyncIterator[Chunk]:
        """
        Yield what the script writes, from `after` on: each byte of each stream once and in order.

        Order between the two streams is the order of arrival. Ends after the process has ended and all its output was
        yielded. Output that descendants of the script still hold open is waited for at most one second.
        Call it once at a time. A caller that does not go on reading may stop the script: read always. A process may offer
        `free(before: Cursor)`; from the first call on the script may have to wait until enough of its output is freed.
        """
        ...

    async def wait(self) -> Exit:
        """Wait for the end and say how it came. Answers at once, and always the same, when the process has ended."""
        ...

    async def signal(self, signal: Signal) -> None:
        """Send `signal` to the script and all its descendants. Does nothing when it has ended."""
        ...

    async def remove(self) -> None:
        """
        Remove every trace in the executor: container, spool, socket. Kills what still runs.

        Call it when the result is committed; safe to repeat, and after a crash. It does not touch `directory`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether an executor can be used here, and in a sentence why not and what to do; `version` of what answers."""

    kind: ExecutorKind
    available: bool
    detail: str
    version: str | None = None


class Executor(Protocol):
    """A place where scripts run."""

    @property
    def kind(self) -> ExecutorKind: ...

    def placement(self, directory: Path) -> Placement:
        """Say how a script will see the attempt's directory. No I/O."""
        ...

    async def start(self, spec: ProcessSpec, setup: Setup = UNHEARD) -> Process:
        """
        Start the process, or attach to the one that has this name already: a name never runs twice. What takes long
        on the way, such as fetching an image, is told to `setup`.

        Raises `StartFailedError` with reason `image_unavailable` (the image cannot be had), `invalid` (the interpreter,
        the working directory or the command does not exist there) and a message that says what to do; then nothing of
        the attempt runs or will run. Raises `UnavailableError` when the executor does not answer: whether the process
        was started is then unknown until `attach` says so.
        """
        ...

    async def attach(self, name: str) -> Process | None:
        """
        Find a process by name: one that runs, one that has ended, or one that was started and is gone.

        Of one that is gone (its supervisor was killed, the machine rebooted, somebody removed it while it ran) what is
        left of the output can be read, and `wait` answers `Exit(code=None, reason=LOST)`.
        None: it was never started, as far as the executor knows, and it never will be under this name, whoever was
        about to do it. Raises `UnavailableError` when the executor does not answer.
        """
        ...

    async def sweep(self, keep: frozenset[str]) -> list[str]:
        """Remove what this installation left behind of processes not named in `keep`; return their names."""
        ...

    async def check(self) -> Availability:
        """Say whether the executor can be used. Never raises, answers within five seconds."""
        ...
