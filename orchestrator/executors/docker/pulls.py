"""Pulling images: one pull for all who want the same, its progress told to each of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.executor import Setup
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.engine import Answer, Engine, explain
from orchestrator.executors.docker.progress import Progress
from orchestrator.executors.docker.refusals import refused
from orchestrator.executors.docker.registry import Credentials, RegistryAuth, registry_of, split_reference
from orchestrator.model.jobs import Reason

log = logging.getLogger(__name__)

SAY_SECONDS = 2.0


@dataclass(slots=True, eq=False)
class _Pull:
    """One that is under way, and who waits for it."""

    image: str
    begun: float
    said: float
    progress: Progress = field(default_factory=Progress)
    words: str = ""
    listeners: list[Setup] = field(default_factory=list)

    def say(self, text: str) -> None:
        for setup in self.listeners:
            setup.say(text)


class Pulls:
    """
    The pulls of one engine.

    Whoever wants an image that is being pulled already waits for that pull; the credentials are then those of the
    first. It ends with the last who waits: what nobody wants any more is broken off.
    """

    def __init__(self, engine: Engine, credentials: Credentials, clock: Clock, *, idle_seconds: float) -> None:
        self._engine, self._credentials, self._clock = engine, credentials, clock
        self._idle_seconds = idle_seconds
        self._running: dict[tuple[str, str | None], tuple[_Pull, asyncio.Task[str | None]]] = {}

    async def pull(self, image: str, setup: Setup, *, missing: bool) -> None:
        """
        Fetch `image` as the registry has it now. `missing` says that the engine has none.

        Raises `StartFailedError` (`image_unavailable`) with the registry's own words, also when it hangs, and
        `UnavailableError` when the engine is away or does.
        """
        pull, task = self._join(image, setup)
        try:
            await asyncio.wait({task})
        finally:
            pull.listeners.remove(setup)
            if not pull.listeners:
                await self._leave(pull, task)
        if (why := task.result()) is not None:
            message = (
                f"The image {image} is not here and could not be pulled: {why}"
                if missing
                else f"The image {image} could not be pulled, as the job says `pull: always`: {why}"
            )
            raise StartFailedError(message, reason=Reason.IMAGE_UNAVAILABLE)

    def _join(self, image: str, setup: Setup) -> tuple[_Pull, asyncio.Task[str | None]]:
        key = split_reference(image)
        if key in self._running:
            pull, task = self._running[key]
            setup.say(f"Pulling {image}, which another job has begun: {pull.progress.words()}")
        else:
            now = self._clock.monotonic()
            pull = _Pull(image=image, begun=now, said=now)
            task = asyncio.ensure_future(self._carry_out(pull))
            self._running[key] = pull, task
            task.add_done_callback(lambda _: self._forget(pull))
            setup.say(f"Pulling {image}")
        pull.listeners.append(setup)
        return pull, task

    async def _leave(self, pull: _Pull, task: asyncio.Task[str | None]) -> None:
        """The last one goes. A job that comes now begins anew, also while this pull is still on its way down."""
        self._forget(pull)
        if not task.done():
            log.info("a pull is broken off", extra={"image": pull.image})
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # so that asyncio knows that it was seen, where all who waited were cancelled

    def _forget(self, pull: _Pull) -> None:
        key = split_reference(pull.image)
        if key in self._running and self._running[key][0] is pull:
            del self._running[key]

    async def _carry_out(self, pull: _Pull) -> str | None:
        """Pull; why that cannot be, where it cannot."""
        registry = registry_of(pull.image)
        auth = await self._credentials.credentials_for(registry)
        log.info("pulling an image", extra={"image": pull.image, "logged_in": auth is not None})
        await self._read(pull, auth)
        if pull.progress.error is not None:
            words = pull.progress.error if auth is None else auth.hide(pull.progress.error)
            return refused(words, registry, logged_in=auth is not None)
        self._say_end(pull)
        return None

    async def _read(self, pull: _Pull, auth: RegistryAuth | None) -> None:
        """Read the engine's progress to its end: only there it says whether it went well."""
        try:
            async with _asked(self._engine, pull.image, auth, self._idle_seconds) as response:
                if response.status >= 400:
                    answer = Answer(status=response.status, body=await response.read(), headers={})
                    pull.progress.error = answer.message
                    return
                rest = b""
                while data := await self._next(response):
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        pull.progress.hear(line)
                    self._say_progress(pull)
                pull.progress.hear(rest)
        except TimeoutError as error:
            raise await self._hanging(pull.image) from error

    async def _next(self, response: aiohttp.ClientResponse) -> bytes:
        data = await self._engine.read(response, self._idle_seconds)
        if data is None:
            raise TimeoutError
        return data

    async def _hanging(self, image: str) -> StartFailedError:
        """Nothing was heard. Raises `UnavailableError` where it is the engine that hangs, and not the registry."""
        await self._engine.call("GET", "/_ping")
        return StartFailedError(
            f"Pulling the image {image} made no progress for {self._idle_seconds:g} s: the registry "
            f"{registry_of(image)} does not answer the engine, or is too slow. Try again when it does, or load the "
            "image on the engine (docker load).",
            reason=Reason.IMAGE_UNAVAILABLE,
        )

    def _say_progress(self, pull: _Pull) -> None:
        now, words = self._clock.monotonic(), pull.progress.words()
        if now - pull.said >= SAY_SECONDS and words != pull.words:
            pull.said, pull.words = now, words
            pull.say(f"Pulling {pull.image}: {words}")

    def _say_end(self, pull: _Pull) -> None:
        took = f"{self._clock.monotonic() - pull.begun:.1f} s"
        digest = f": {pull.progress.digest}" if pull.progress.digest else ""
        if pull.progress.is_up_to_date:
            pull.say(f"{pull.image} is up to date, as the registry said after {took}{digest}")
        else:
            pull.say(f"Pulled {pull.image} in {took}{digest}")


@asynccontextmanager
async def _asked(
    engine: Engine, image: str, auth: RegistryAuth | None, seconds: float
) -> AsyncIterator[aiohttp.ClientResponse]:
    """
    The engine's answer to the wish for `image`, with its body still to be read. Leaving the block breaks the pull off.

    On a connection of its own: the engine may begin to answer only when the registry has, which takes longer than
    any other call may (`seconds`; `TimeoutError` then). The path names no version of the API: this call is the same in all.
    """
    await engine.call("GET", "/_ping")
    name, tag = split_reference(image)
    query = {"fromImage": name, "tag": tag} if tag else {"fromImage": name}
    headers = {} if auth is None else {"X-Registry-Auth": auth.header}
    place = engine.endpoint
    connector = aiohttp.UnixConnector(place.socket) if place.socket is not None else aiohttp.TCPConnector()
    unbounded = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=unbounded) as session:
        try:
            async with asyncio.timeout(seconds):
                response = await session.post(f"{place.url}/images/create", params=query, headers=headers)
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(explain(place, error, seconds)) from error
        try:
            yield response
        finally:
            response.close()
