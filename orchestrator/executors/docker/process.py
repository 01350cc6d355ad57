"""A container as a `Process`: its output, its end, signals, removal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import datetime

import aiohttp

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.executor import Exit, Signal
from orchestrator.errors import UnavailableError
from orchestrator.executors.docker.engine import Engine
from orchestrator.executors.docker.frames import FrameCutter, joined, parse_stamp, split_stamp
from orchestrator.executors.docker.outside import Ender, who_ended
from orchestrator.executors.docker.reached import Reached
from orchestrator.executors.docker.signals import kill, terminate
from orchestrator.executors.docker.state import Container, State, exit_of, moment, removed
from orchestrator.model.logs import Chunk, Cursor

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0  # how long silence on a stream is taken for silence of the script before the engine is asked
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # between tries while the engine is away; the last one repeats
SETTLING = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # the engine ends the streams a little before it says "exited"
REMOVAL_SECONDS = 30.0


class DockerProcess:
    """
    One container. `live` is the attached stream of one that was started here, attached before it was started; `forget`
    is called with its id when it is removed. `begun` is when the script was started, where its container was earlier.

    The engine may go away for as long as it likes: `output` and `wait` say so in the log and go on when it is back.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        name: str,
        container: str,
        live: aiohttp.ClientResponse | None = None,
        forget: Callable[[str], None] | None = None,
        begun: datetime | None = None,
    ) -> None:
        self._engine, self._clock, self._forget = engine, clock, forget
        self._name, self._container, self._live, self._begun = name, container, live, begun
        self._exit: Exit | None = None
        self._signalled = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_unread(self) -> bool:
        """Whether there is a live stream that nobody has begun to read."""
        return self._live is not None

    async def output(self, after: Cursor) -> AsyncGenerator[Chunk, None]:
        """
        From the live stream as long as it lasts, else from the engine's log.

        The log is text: bytes that are not UTF-8 are U+FFFD in it. On the live stream every byte arrives as it was.
        """
        reached = Reached(after)
        live, self._live = self._live, None
        if live is not None and after == Cursor():
            taken = _LiveEnd()
            async with aclosing(self._read_live(live, taken)) as chunks:
                async for chunk in chunks:
                    reached.take(chunk.stream, chunk.data)
                    yield chunk
            if taken.at is not None and await self._ended_before(taken.at):
                return
        elif live is not None:
            live.close()
        async with aclosing(self._read_log(reached)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def wait(self) -> Exit:
        was_away = False
        every = pauses()
        while self._exit is None:
            try:
                was_away |= not await self._stopped()
                found = await self._inspect()
                if found is None:
                    self._exit = removed()
                elif not found.running:
                    self._exit = await self._read_exit(found, was_away=was_away)
            except UnavailableError as error:
                was_away = True
                pause = next(every)
                log.warning("waiting for the engine", extra={"process_name": self._name, "error": error.message})
                await asyncio.sleep(pause)
        return self._exit

    async def signal(self, signal: Signal) -> None:
        """TERM by a command inside the container, which reaches every process there; KILL ends the container."""
        self._signalled = True
        if signal is Signal.TERM:
            await terminate(self._engine, self._container)
        else:
            await kill(self._engine, self._container, signal)

    async def remove(self) -> None:
        self.close()
        await remove_container(self._engine, self._container)
        if self._forget is not None:
            self._forget(self._container)

    def close(self) -> None:
        """End the live stream where nobody read it."""
        if self._live is not None:
            self._live.close()
            self._live = None

    async def _read_live(self, live: aiohttp.ClientResponse, end: _LiveEnd) -> AsyncGenerator[Chunk, None]:
        """Yield until the stream ends; `end` is set where it ended between frames, as an unbroken one does."""
        cutter = FrameCutter()
        try:
            while data := await self._next(live):
                at = self._clock.now()
                for stream, payload in joined(cutter.feed(data)):
                    yield Chunk(stream=stream, data=payload, at=at)
            if data is not None and not cutter.is_inside_frame:
                end.at = self._clock.now()
        except UnavailableError as error:
            log.warning("an attached stream broke", extra={"process_name": self._name, "error": error.message})
        finally:
            live.close()

    async def _ended_before(self, end_of_stream: datetime) -> bool:
        """
        Whether the container had ended when its stream did.

        A stream that was cut looks like one that ended. But one that ended did so after the container's end; where the
        engine's clock is another machine's, that cannot be told, and the log decides.
        """
        if self._engine.endpoint.socket is None:
            return False
        try:
            for pause in SETTLING:
                await asyncio.sleep(pause)
                state = await self._inspect()
                if state is None:
                    return True
                if not state.running:
                    finished = moment(state.finished)
                    return finished is not None and finished <= end_of_stream
        except UnavailableError:
            log.debug("the engine is away", extra={"process_name": self._name})
        return False

    async def _read_log(self, reached: Reached) -> AsyncGenerator[Chunk, None]:
        """Yield what lies behind `reached`, until a log was read to its end that began after the container's end."""
        every = pauses()
        while True:
            try:
                state = await self._inspect()
                if state is None:
                    return
                async with aclosing(self._records(reached, follow=state.running)) as chunks:
                    async for chunk in chunks:
                        reached.take(chunk.stream, chunk.data)
                        yield chunk
                        every = pauses()
                if not state.running:
                    return
            except UnavailableError as error:
                log.warning("reading again soon", extra={"process_name": self._name, "error": error.message})
            await asyncio.sleep(next(every))

    async def _records(self, reached: Reached, *, follow: bool) -> AsyncGenerator[Chunk, None]:
        """One reading of the log from its beginning. Ends early, without an error, where the stream was cut."""
        query = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
        response = await self._engine.open("GET", f"/containers/{self._container}/logs", query=query)
        cutter, skips = FrameCutter(), reached.skips()
        try:
            if response.status >= 400:
                raise UnavailableError(f"The log of {self._name} cannot be read (status {response.status}).")
            while data := await self._next(response):
                for stream, payload in cutter.feed(data):
                    stamp, record = split_stamp(payload)
                    if left := skips[stream].feed(record):
                        yield Chunk(stream=stream, data=left, at=parse_stamp(stamp))
            if cutter.is_inside_frame:
                raise UnavailableError(f"Reading the log of {self._name} was cut off.")
        finally:
            response.close()

    async def _next(self, response: aiohttp.ClientResponse) -> bytes | None:
        """The next bytes; b"" at the end; None where the container has ended and the stream did not notice."""
        while (data := await self._engine.read(response, LOOK_SECONDS)) is None:
            state = await self._inspect()
            if state is None or not state.running:
                return None
        return data

    async def _stopped(self) -> bool:
        """Wait until the container stops, for some time at most; False when the connection broke instead."""
        try:
            response = await self._engine.open("POST", f"/containers/{self._container}/wait")
            try:
                while await self._engine.read(response, LOOK_SECONDS):
                    pass
            finally:
                response.close()
        except UnavailableError as error:
            log.info("a wait broke", extra={"process_name": self._name, "error": error.message})
            return False
        return True

    async def _read_exit(self, state: State, *, was_away: bool) -> Exit:
        ender, sent = None, ""
        if state.may_be_ended_from_outside and not self._signalled:
            ender, sent = await who_ended(self._engine, self._container, state, was_away=was_away)
        return exit_of(
            state,
            by_engine=ender is Ender.ENGINE,
            sent=sent if ender is Ender.HAND else None,
            signalled=self._signalled,
        )

    async def _inspect(self) -> State | None:
        container = await inspect(self._engine, self._container)
        return container.state.begun(self._begun) if container is not None else None


class _LiveEnd:
    """When the live stream ended, if it did so properly."""

    at: datetime | None = None


async def inspect(engine: Engine, container: str) -> Container | None:
    """Look at a container, by id or name; None when there is none."""
    answer = await engine.call("GET", f"/containers/{container}/json")
    if answer.status == 404:
        return None
    if not answer.ok:
        raise UnavailableError(f"The Docker engine cannot say how {container} is: {answer.message}")
    return Container.model_validate_json(answer.body)


async def remove_container(engine: Engine, container: str) -> None:
    """Kill and remove, and wait until it is gone. Fine when it is gone already."""
    every = pauses()
    try:
        async with asyncio.timeout(REMOVAL_SECONDS):
            while True:
                try:
                    answer = await engine.call("DELETE", f"/containers/{container}", query={"force": "1", "v": "1"})
                except UnavailableError as error:  # the engine is away for a moment
                    why = error.message
                else:
                    if answer.ok or answer.status == 404:
                        return
                    why = answer.message  # 409: somebody else is removing it; 500: a mount is still busy
                log.info("removing again", extra={"process_name": container, "error": why})
                await asyncio.sleep(next(every))
    except TimeoutError as error:
        raise UnavailableError(
            f"The container {container} could not be removed within {REMOVAL_SECONDS:g} s; `docker rm -f` may say why."
        ) from error


def pauses() -> Iterator[float]:
    yield from PAUSES
    while True:
        yield PAUSES[-1]
