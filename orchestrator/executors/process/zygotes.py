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

    def current(self) -> _Zygote:
        """The zygote that is there, or a new one; a new one is used at once and answers when it is up."""
        if self._zygote is not None and self._zygote.child.poll() is not None:
            self._retire(self._zygote)
        if self._zygote is None:
            self._zygote = self._start()
        return self._zygote

    async def ask(self, request: Mapping[str, object], stdin: int | None) -> dict[str, object]:
        """
        Have a supervisor made for `request` and return its answer. Raises `UnavailableError` when none came.

        Asking again is safe: only one supervisor can claim a name.
        """
        for _ in range(TRIES):
            try:
                answer = await self._ask_once(self.current(), request, stdin)
            except OSError as error:
                raise UnavailableError(
                    f"No supervisor could be asked for: {error.strerror}. Try again later."
                ) from error
            if answer is not None:
                return answer
        raise UnavailableError(f"No supervisor could be started for processes; {self._log} may say why.")

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

    async def _ask_once(
        self, zygote: _Zygote, request: Mapping[str, object], stdin: int | None
    ) -> dict[str, object] | None:
        """The answer; None when the zygote or the supervisor hung up before one came."""
        ours, theirs = socket.socketpair()
        try:
            with ours:
                async with asyncio.timeout(ANSWER_SECONDS):
                    with theirs:
                        handed = await _hand_over(zygote, [theirs.fileno(), *([stdin] if stdin is not None else [])])
                    if not handed:
                        self._retire(zygote)
                        return None
                    said = await _exchange(ours, json.dumps(request).encode())
        except TimeoutError as error:
            raise UnavailableError(f"The supervisor of a process did not answer in {ANSWER_SECONDS:g} s.") from error
        except (BrokenPipeError, ConnectionResetError):
            return None
        return dict(json.loads(said)) if said else None

    def _retire(self, zygote: _Zygote) -> None:
        """Hang up on a zygote that is dead or dying, and collect those that have died."""
        zygote.connection.close()
        self._retired = [old for old in (*self._retired, zygote) if old.child.poll() is None]
        if zygote is self._zygote:
            self._zygote = None

    async def close(self) -> None:
        """Hang up: the zygote ends, tied supervisors end their scripts, others go on."""
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


async def _exchange(connection: socket.socket, request: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    await loop.sock_sendall(connection, request)
    connection.shutdown(socket.SHUT_WR)
    parts = []
    while part := await loop.sock_recv(connection, 65536):
        parts.append(part)
    return b"".join(parts)


@asynccontextmanager
async def open_zygotes(python: str, log: Path) -> AsyncIterator[Zygotes]:
    """A zygote, started at once so that it is up when the first script comes."""
    zygotes = Zygotes(python, log)
    try:
        zygotes.current()
        yield zygotes
    finally:
        await zygotes.close()
