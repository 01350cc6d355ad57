"""A process as the orchestrator sees it: its spool directory, and the supervisor behind it."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import TracebackType

from orchestrator.contracts.executor import Exit, Signal
from orchestrator.errors import UnavailableError
from orchestrator.executors.process import spool
from orchestrator.executors.process.frames import Frames, utc
from orchestrator.executors.process.news import News
from orchestrator.executors.process.shortage import is_shortage
from orchestrator.executors.process.strays import end_strays
from orchestrator.model.jobs import Reason
from orchestrator.model.logs import Chunk, Cursor

log = logging.getLogger(__name__)

END_SECONDS = 20.0
COMMAND_TRIES = 50
COMMAND_RETRY_SECONDS = 0.1
LOST = "The process's supervisor is gone (killed, or the machine was restarted), and the script with it."


class SpooledProcess:
    """A process that was claimed to run: its supervisor lives, has said how it ended, or is gone."""

    def __init__(self, directory: Path, *, removed: Callable[[str], None] | None = None) -> None:
        """`removed` is told the name when nothing of the process is left."""
        self._directory = directory
        self._removed = removed
        self._news = News(directory / spool.WAKE)
        self._exit: Exit | None = None
        self._frames: Frames | None = None
        self._collected = False
        self._searching = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._directory.name

    async def output(self, after: Cursor) -> AsyncGenerator[Chunk, None]:
        frames = self._frames = Frames(self._directory, after)
        try:
            with self._news.of_output() as news:
                over, look = False, True
                while True:
                    try:
                        chunks = frames.read()
                    except OSError as error:
                        if not is_shortage(error):
                            raise
                        await self._news.heard(news)  # not the end of the file: what is in it is still to be read
                        continue
                    if chunks is not None:
                        for chunk in chunks:
                            yield chunk
                        await asyncio.sleep(0)  # a block is read without waiting: let others have their turn
                    elif over:
                        return
                    elif look and await self.ended() is not None:
                        over = True  # and once more: what was written before the end is read after it
                    else:
                        look = not await self._news.heard(news) or self._news.hung_up
        finally:
            frames.close()

    def free(self, before: Cursor) -> None:
        """
        Remove the files of the output that are wholly before `before`: it is stored, and never asked for again.

        From the first call on the supervisor keeps the script waiting while too much is not stored. Never raises.
        """
        try:
            if not self._collected or (self._frames is not None and self._frames.free(before)):
                self._command(spool.COLLECTED + b"\n")
                self._collected = True
        except OSError as error:  # the next call does what this one could not, and the supervisor looks by itself
            log.warning("output was not freed", extra={"process_name": self.name, "error": error.strerror})

    async def wait(self) -> Exit:
        with self._news.of_end() as news:
            while (exit_ := await self.ended()) is None:
                await self._news.heard(news)
            return exit_

    async def signal(self, signal: Signal) -> None:
        await self._send(f"{signal.value}\n".encode())

    async def remove(self) -> None:
        if not self._directory.exists():
            return
        if await self.ended() is None:
            await self._send(b"KILL\n")
            try:
                async with asyncio.timeout(END_SECONDS):
                    await self.wait()
            except TimeoutError as error:
                raise UnavailableError(f"Process {self.name} could not be ended; try to remove it later.") from error
        await remove_spool(self._directory)
        if self._removed is not None:
            self._removed(self.name)

    async def ended(self) -> Exit | None:
        """How it ended; None while its supervisor lives, and while we are too short of descriptors to know."""
        if self._exit is None:
            try:
                self._exit = await self._look()
            except OSError as error:
                if not is_shortage(error):
                    raise
        return self._exit

    async def _look(self) -> Exit | None:
        alive = self._command(b"")  # asked first: an exit status is written before the supervisor ends
        found = _read_exit(self._directory)
        if found is not None or alive:
            return found
        async with self._searching:  # who reads the output and who waits ask at the same time
            if self._exit is None:
                await asyncio.to_thread(end_strays, self._directory)
        return self._exit or Exit(code=None, reason=Reason.LOST, note=LOST)

    async def _send(self, command: bytes) -> None:
        """Send a command, if there is a supervisor; in a shortage, try again for a while."""
        last: OSError | None = None
        for _ in range(COMMAND_TRIES):
            try:
                self._command(command)
            except OSError as error:
                if not is_shortage(error):
                    raise
                last = error
            else:
                return
            await asyncio.sleep(COMMAND_RETRY_SECONDS)
        raise UnavailableError(
            f"Process {self.name} could not be signalled ({last}): raise the orchestrator's limit of open files."
        ) from last

    def _command(self, command: bytes) -> bool:
        """Send a command to the supervisor; whether there is one."""
        try:
            control = os.open(self._directory / spool.CONTROL, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.ENXIO:  # fifo(7): no reader, so no supervisor
                return False
            raise
        try:
            if command:
                os.write(control, command)
        except BrokenPipeError:
            return False
        except BlockingIOError:
            pass  # as many commands wait as the pipe holds
        finally:
            os.close(control)
        return True


def read_end(directory: Path) -> dict[str, object] | None:
    """What `exit` in a spool directory says; None while it is not there, or if it was torn by a crash of the machine."""
    try:
        return dict(json.loads((directory / spool.EXIT).read_bytes()))
    except (FileNotFoundError, ValueError):
        return None


def _read_exit(directory: Path) -> Exit | None:
    end = read_end(directory)
    if end is None:
        return None
    started, finished = end["started_ns"], end["finished_ns"]
    code, note, failure = end.get("code"), end.get("note"), end.get("failure")
    reason = Reason.LIMIT if end.get("limited") else None
    if isinstance(failure, dict):  # attached to in the moment between claim and exec
        note, reason = f"The script could not be started: {failure.get('text')}.", Reason.INVALID
    return Exit(
        code=code if isinstance(code, int) else None,
        reason=reason,
        note=note if isinstance(note, str) else None,
        started_at=utc(started) if isinstance(started, int) else None,
        finished_at=utc(finished) if isinstance(finished, int) else None,
    )


async def remove_spool(directory: Path) -> None:
    """Remove a spool directory whose supervisor is gone; another may be doing the same."""
    shutil.rmtree(directory, onerror=_unless_gone)


def _unless_gone(_: object, path: str, met: tuple[type[BaseException], BaseException, TracebackType]) -> None:
    """Raise what `rmtree` met, except that something is gone already."""
    if os.path.lexists(path):
        raise UnavailableError(f"{path} could not be removed ({met[1]}): look at its directory.") from met[1]
