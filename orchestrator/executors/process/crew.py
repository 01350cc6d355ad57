"""The orchestrator's end of the connections to supervisors, and those of them that wait for another script."""

from __future__ import annotations

import asyncio
import socket

KEPT = 64  # a descriptor each; supervisors beyond these end with their script


class Line:
    """A connection to one supervisor. Made inside the loop that it is used in."""

    def __init__(self, connection: socket.socket, crew: Crew) -> None:
        connection.setblocking(False)
        self._connection, self._crew = connection, crew
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bytes] | None = None
        self._rest = b""
        self._loop.add_reader(connection, self._readable)

    async def ask(self, request: bytes) -> bytes:
        """The answer to a request, both without the newline; nothing when the supervisor hung up before it came."""
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._answer = answer
        try:
            await self._send(request + b"\n")
            return await answer
        except (BrokenPipeError, ConnectionResetError):
            return b""

    def close(self) -> None:
        """Hang up; safe to repeat."""
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection)
            self._connection.close()
        self._crew.forget(self)

    async def _send(self, data: bytes) -> None:
        try:
            sent = self._connection.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await self._loop.sock_sendall(self._connection, data[sent:])

    def _readable(self) -> None:
        try:
            part = self._connection.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            part = b""
        if not part:
            self._say(b"")
            self.close()
            return
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            if not self._say(line):
                self._crew.add_idle(self)

    def _say(self, line: bytes) -> bool:
        """Give the answer to who waits for it; whether somebody did, who has it before anybody else can ask."""
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(line)
        return answer is not None


class Crew:
    """Supervisors that are kept: each has a script, or waits for another one."""

    def __init__(self) -> None:
        self.kept: set[Line] = set()
        self.idle: list[Line] = []

    def keep(self, line: Line) -> None:
        """Keep a supervisor that has begun a script, or hang up where that would be too many."""
        if len(self.kept) < KEPT:
            self.kept.add(line)
        elif line not in self.kept:
            line.close()

    def add_idle(self, line: Line) -> None:
        """A supervisor says that its script is over: perhaps in one breath with its answer, before it is kept."""
        self.idle.append(line)

    def take(self) -> Line | None:
        """The one that has waited least, so that those that are not needed end."""
        if not self.idle:
            return None
        line = self.idle.pop()
        self.kept.add(line)
        return line

    def forget(self, line: Line) -> None:
        self.kept.discard(line)
        if line in self.idle:
            self.idle.remove(line)

    def close(self) -> None:
        """Hang up on all: those that wait end, the others go on to the end of their script."""
        for line in tuple(self.kept):
            line.close()
