"""The orchestrator's end of the zygote: start it, ask it for supervisors, start another when it has died."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UnavailableError
from orchestrator.executors.process.crew import Crew, Line

PROGRAM = Path(__file__).with_name("zygote.py")
ANSWER_SECONDS = 30.0
END_SECONDS = 5.0
TRIES = 3


@dataclass(frozen=True, slots=True)
class _Zygote:
    connection: socket.socket
    child: subprocess.Popen[bytes]


class Zygotes:
    """One zygote at a time. The tie is a pipe whose write end only this process holds: it ends when we do."""

    def __init__(self, python: str, log: Path) -> None:
        self._python, self._log = python, log
        self._tie, self._tie_held = os.pipe2(os.O_CLOEXEC)
        self._zygote: _Zygote | None = None
        self._retired: list[_Zygote] = []
        self.crew = Crew()

    def current(self) -> _Zygote:
        """The zygote that is there, or a new one; a new one is used at once and answers when it is up."""
        if self._zygote is not None and self._zygote.child.poll() is not None:
            self._retire(self._zygote)
        if self._zygote is None:
            self._zygote = self._start()
        return self._zygote

    async def ask(self, request: Mapping[str, object], stdin: int | None) -> dict[str, object]:
        """
        Have a supervisor see to `request` and return its answer. Raises `UnavailableError` when none came.

        Asking again is safe: only one supervisor can claim a name.
        """
        said, tied = json.dumps(request).encode(), bool(request["tied"])
        try:
            answer = await self._ask_idle(said) if stdin is None and not tied else b""
            for _ in range(TRIES):
                answer = answer or await self._ask_new(self.current(), said, stdin, keep=not tied)
        except TimeoutError as error:
            raise UnavailableError(f"The supervisor of a process did not answer in {ANSWER_SECONDS:g} s.") from error
        except OSError as error:
            raise UnavailableError(f"No supervisor could be asked for: {error.strerror}. Try again later.") from error
        if not answer:
            raise UnavailableError(f"No supervisor could be started for processes; {self._log} may say why.")
        return dict(json.loads(answer))

    async def _ask_idle(self, request: bytes) -> bytes:
        """The answer of a supervisor that waits for another script; nothing when there is none."""
        answer = b""
        while not answer and (line := self.crew.take()) is not None:
            answer = await self._exchange(line, request, keep=True)
        return answer

    def _start(self) -> _Zygote:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._log.open("ab") as log:
            try:
                child = subprocess.Popen(  # noqa: S603 - our own program under our own interpreter
                    [self._python, "-I", "-S", str(PROGRAM), str(theirs.fileno()), str(self._tie)],
                    pass_fds=(theirs.fileno(), self._tie),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                    env={},  # what is ours is not to be read in /proc/PID/environ of a supervisor
                )
            except OSError as error:
                ours.close()
                raise UnavailableError(f"{self._python} could not be started for processes: {error}.") from error
        ours.setblocking(False)
        return _Zygote(ours, child)

    async def _ask_new(self, zygote: _Zygote, request: bytes, stdin: int | None, *, keep: bool) -> bytes:
        """The answer of a new supervisor; nothing when it or the zygote hung up before one came."""
        ours, theirs = socket.socketpair()
        with theirs:
            line = Line(ours, self.crew)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    handed = await _hand_over(zygote, [theirs.fileno(), *([stdin] if stdin is not None else [])])
            except BaseException:
                line.close()
                raise
        if not handed:
            line.close()
            self._retire(zygote)
            return b""
        return await self._exchange(line, request, keep=keep)

    async def _exchange(self, line: Line, request: bytes, *, keep: bool) -> bytes:
        """The supervisor's answer; nothing when it hung up before one came."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await line.ask(request)
        except BaseException:
            line.close()
            raise
        if answer and keep:
            self.crew.keep(line)
        else:
            line.close()
        return answer

    def _retire(self, zygote: _Zygote) -> None:
        """Hang up on a zygote that is dead or dying, and collect those that have died."""
        zygote.connection.close()
        self._retired = [old for old in (*self._retired, zygote) if old.child.poll() is None]
        if zygote is self._zygote:
            self._zygote = None

    async def close(self) -> None:
        """Hang up: the zygote ends, tied supervisors end their scripts, others go on."""
        self.crew.close()
        if self._zygote is not None:
            self._retire(self._zygote)
        os.close(self._tie_held)
        os.close(self._tie)
        try:
            async with asyncio.timeout(END_SECONDS):
                while any(old.child.poll() is None for old in self._retired):  # noqa: ASYNC110 - no thread to tell us
                    await asyncio.sleep(0.002)
        except TimeoutError:
            pass  # it is killed below
        finally:
            for old in self._retired:
                if old.child.poll() is None:
                    old.child.kill()
                    old.child.wait(END_SECONDS)


async def _hand_over(zygote: _Zygote, descriptors: list[int]) -> bool:
    """Send descriptors to a zygote; False when it is dead."""
    while zygote.connection.fileno() >= 0:  # another request may have found out first, and hung up
        try:
            socket.send_fds(zygote.connection, [b"."], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            return False
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ETOOMANYREFS):
                raise
            await asyncio.sleep(0.005)  # its queue is full: it forks a thousand a second
        else:
            return True
    return False


@asynccontextmanager
async def open_zygotes(python: str, log: Path) -> AsyncIterator[Zygotes]:
    """A zygote, started at once so that it is up when the first script comes."""
    zygotes = Zygotes(python, log)
    try:
        zygotes.current()
        yield zygotes
    finally:
        await zygotes.close()
