"""`Executor` for processes on this machine."""

from __future__ import annotations

import errno
import logging
import os
import platform
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.contracts.executor import UNHEARD, Availability, Executor, Placement, Process, ProcessSpec, Setup
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.process import places, spool
from orchestrator.executors.process.process import SpooledProcess, remove_spool
from orchestrator.executors.process.zygotes import Zygotes, open_zygotes
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import ExecutorKind

log = logging.getLogger(__name__)

IGNORABLE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)  # by nohup(1), and by a shell for what it runs with `&`
PREFIX = "cronium-"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """
    `spool` is a private directory on a local disk; `inherit` what scripts find in their environment; `workdir` their
    working directory (None: one of their own each); `nofile` their soft and hard limit of open files (None: ours), for
    an orchestrator that has raised its own.
    """

    spool: Path
    sdk: Path
    runtime_socket: Path
    inherit: Mapping[str, str]
    workdir: Path | None = None
    nofile: tuple[int, int] | None = None
    python: str = sys.executable


@dataclass(frozen=True, slots=True)
class ProcessExecutor:
    """
    Processes with a supervisor each, which outlives us. `ours` are the names started here: no sweep is after them.

    `ignored` are the signals that tied scripts ignore as we do: they belong to the terminal we were started from.
    """

    settings: ProcessSettings
    zygotes: Zygotes
    ignored: tuple[signal.Signals, ...] = ()
    ours: set[str] = field(default_factory=set)

    @property
    def kind(self) -> ExecutorKind:
        return ExecutorKind.PROCESS

    def placement(self, directory: Path) -> Placement:
        return Placement(
            files=str(directory),
            sdk=str(self.settings.sdk),
            runtime_api=f"unix:{self.settings.runtime_socket}",
            workdir=str(self.settings.workdir or directory / "work"),
            env=self.settings.inherit,
            artifacts=str(directory.with_name(f"{directory.name}.artifacts")),
        )

    async def start(self, spec: ProcessSpec, setup: Setup = UNHEARD) -> Process:
        directory = self.settings.spool / spec.name
        request = _request(spec, directory)
        request["nofile"] = self.settings.nofile
        request["ignored"] = self.ignored if spec.tied else ()
        self.ours.add(spec.name)
        try:
            places.make(directory)
        except OSError as error:
            message = f"{directory} could not be made: {error.strerror}. Make room or rights."
            if error.errno in NO_ROOM:
                raise StartFailedError(message, reason=Reason.LIMIT) from error
            raise UnavailableError(message) from error
        answer: Mapping[str, object] = {"state": spool.TAKEN}
        if places.claim(directory) is None:
            answer = await self.zygotes.ask(request, spec.stdin)
        if answer["state"] == spool.READY:
            return SpooledProcess(directory, removed=self.ours.discard)
        if answer["state"] == spool.TAKEN:
            answer = _failure(directory) or answer
        if answer["state"] == spool.FAILED:
            await remove_spool(directory)
            if answer.get("stage") == "spool":
                message = f"The output of {spec.name} finds no place in {directory} ({answer.get('text')}): make room."
                raise StartFailedError(message, reason=Reason.LIMIT)
            raise StartFailedError(_explained(spec, answer), reason=Reason.INVALID)
        taken = await self.attach(spec.name)
        if taken is None:
            raise UnavailableError(f"Process {spec.name} was given up by another orchestrator and is not started.")
        return taken

    async def attach(self, name: str) -> Process | None:
        directory = self.settings.spool / name
        try:
            if places.claim_or_abandon(directory) == spool.ABANDONED:
                return None
        except OSError as error:
            raise UnavailableError(f"{directory} could not be looked at: {error.strerror}.") from error
        if _failure(directory) is not None:
            await remove_spool(directory)
            return None
        return SpooledProcess(directory, removed=self.ours.discard)

    async def sweep(self, keep: frozenset[str]) -> list[str]:
        """As the seam says; it also leaves alone what was started here, perhaps after `keep` was made."""
        removed = []
        for name in places.names(self.settings.spool, PREFIX):
            if name in keep or name in self.ours:
                continue
            process = await self.attach(name)
            if process is None:
                continue  # never started: what says so is kept for a while, against those who were about to do it
            try:
                await process.remove()
            except UnavailableError as error:
                log.warning("could not be swept", extra={"process_name": name, "error": error.message})
                continue
            removed.append(name)
        places.forget_old(self.settings.spool, PREFIX)
        return removed

    async def check(self) -> Availability:
        problem = _problem(self.settings)
        return Availability(
            kind=self.kind,
            available=problem is None,
            detail=problem or "Scripts run as processes of this account.",
            version=f"{platform.system()} {platform.release()}",
        )


def _problem(settings: ProcessSettings) -> str | None:
    if sys.platform != "linux":
        return f"Processes are supervised with what only Linux has; this is {sys.platform}. Use docker."
    if not os.access(settings.spool, os.R_OK | os.W_OK | os.X_OK):
        return f"{settings.spool} cannot be written: processes keep their output there. Correct its owner and rights."
    if not os.access(settings.python, os.X_OK):
        return f"{settings.python} cannot be executed: supervisors run under it. Install Cronium again."
    if not Path("/proc/self/stat").exists():
        return "/proc is not mounted: without it the children of a script cannot be found. Mount it."
    return None


def _request(spec: ProcessSpec, directory: Path) -> dict[str, object]:
    """What the supervisor is asked for: strings, as UTF-8 with surrogates for the bytes that are not."""
    if not spec.argv:
        raise StartFailedError(f"Process {spec.name} has no command: name one.", reason=Reason.INVALID)
    for name in spec.env:
        if not name or "=" in name:
            raise StartFailedError(f"{name!r} cannot be the name of an environment variable.", reason=Reason.INVALID)
    try:
        return {
            "spool": _text(str(directory)),
            "argv": [_text(argument) for argument in spec.argv],
            "env": {_text(name): _text(value) for name, value in spec.env.items()},
            "workdir": _text(spec.workdir),
            "tied": spec.tied,
            "pids": spec.limits.pids,
        }
    except ValueError as error:
        raise StartFailedError(
            f"The arguments, the environment or the working directory of {spec.argv[0]!r} hold a character that no "
            f"process can be given ({error}): remove it.",
            reason=Reason.INVALID,
        ) from error


def _failure(directory: Path) -> Mapping[str, object] | None:
    try:
        return places.failure(directory)
    except OSError as error:
        raise UnavailableError(f"{directory} could not be looked at: {error.strerror}.") from error


def _text(value: str) -> str:
    """The very bytes that `value` means to this process, whatever its locale; supervisors always speak UTF-8."""
    if "\0" in value:
        raise ValueError("NUL")
    return os.fsencode(value).decode("utf-8", "surrogateescape")


def _explained(spec: ProcessSpec, answer: Mapping[str, object]) -> str:
    """Why the script could not be started, and what to do."""
    code, text = answer.get("errno"), answer.get("text")
    if answer.get("stage") == "workdir":
        return f"The working directory {spec.workdir} cannot be entered ({text}): create it, or name another `workdir`."
    command = spec.argv[0]
    if answer.get("stage") == "prepare":
        return f"The process for {command} could not be set up ({text}): look at the limits of the account."
    if code == errno.ENOENT and "/" in command and Path(command).exists():
        return f"{command} names an interpreter in its first line (#!) that was not found: install it, or correct it."
    if code == errno.ENOENT:
        return f"The command {command} was not found: install it, or put it on the PATH of the job."
    if code == errno.ENOEXEC:
        return f"{command} is no program: give it a #! line, or say in which language it is written."
    if code == errno.EACCES:
        return f"{command} may not be executed: give it the right with chmod +x."
    if code == errno.E2BIG:
        return f"The arguments and the environment of {command} are too large together: pass less, or a file."
    return f"{command} could not be started: {text}."


@asynccontextmanager
async def open_process_executor(settings: ProcessSettings) -> AsyncIterator[Executor]:
    """Processes on this machine. Leaving the block ends the tied ones; the others go on, to be attached to."""
    async with open_zygotes(settings.python, settings.spool.parent / "zygote.log") as zygotes:
        # Looked at now: who listens to these signals later, to end in an orderly way, was still told to ignore them.
        ignored = tuple(number for number in IGNORABLE if signal.getsignal(number) is signal.SIG_IGN)
        yield ProcessExecutor(settings, zygotes, ignored)
