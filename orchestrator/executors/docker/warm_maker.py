"""Makes the containers that wait for a job."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp

from orchestrator.contracts.executor import ProcessSpec
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.container import Sources, container_body
from orchestrator.executors.docker.engine import Answer, Engine
from orchestrator.executors.docker.images import Images
from orchestrator.executors.docker.mounts import OurFiles
from orchestrator.executors.docker.package_cache import PackageCache
from orchestrator.executors.docker.packages import LABEL as PACKAGES_LABEL
from orchestrator.executors.docker.preflight import Preflight
from orchestrator.executors.docker.process import inspect, remove_container
from orchestrator.executors.docker.settings import DockerSettings
from orchestrator.executors.docker.state import WARM_LABEL, Container, Created
from orchestrator.executors.docker.warm_slot import Gate, WarmFiles, open_gate
from orchestrator.executors.docker.warm_text import ENV, WAITING
from orchestrator.model.jobs import Reason
from orchestrator.model.json import Json

LOOK_SECONDS = 0.005

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """
    A kind of container: all that one for `spec` is made with, except what is the job's own. Two are the same kind where
    the engine would be sent the same, which is what `key` says.
    """

    key: str
    spec: ProcessSpec = field(compare=False)
    sources: Sources = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slot:
    """One container that waits. `image` is the id of the image that it was made of; `facts` are for the job's journal."""

    id: str
    profile: Profile
    files: WarmFiles
    container: str
    image: str
    env: tuple[str, ...]
    facts: dict[str, Json]
    live: aiohttp.ClientResponse
    gate: Gate

    def close(self) -> None:
        self.gate.close()
        self.live.close()


class Noted:
    """A `Setup` that keeps the facts for later."""

    def __init__(self) -> None:
        self.facts: dict[str, Json] = {}

    def say(self, text: str) -> None:
        log.info(text)

    def record(self, fact: str, value: Json) -> None:
        self.facts[fact] = value


class Maker:
    """Makes warm containers in `directory`, and removes them."""

    def __init__(self, engine: Engine, settings: DockerSettings, directory: Path) -> None:
        self._engine, self._settings, self._directory = engine, settings, directory
        self._ours, self._preflight, self._images = OurFiles(engine), Preflight(engine), Images(engine, settings)

    def files(self, slot_id: str) -> WarmFiles:
        return WarmFiles(self._directory / slot_id)

    async def make(self, slot_id: str, profile: Profile, told: Callable[[], None]) -> Slot:
        """
        Make and start one, and return when it waits at its gate; `told` is called when it does so no longer.

        Raises `StartFailedError` where such a container cannot be made, `UnavailableError`, or `OSError`; the caller
        removes what was made.
        """
        files = self.files(slot_id)
        await asyncio.to_thread(files.make)
        with self._packages_kept(profile):
            answer = await self._engine.call(
                "POST",
                "/containers/create",
                query={"name": container_name(slot_id)},
                body=await self._body(slot_id, profile, files),
                seconds=self._settings.start_timeout_seconds,
            )
        _check(answer)
        container, env = await self._examined(profile, Created.model_validate_json(answer.body).id)
        noted = Noted()
        await self._images.record(profile.spec.image or "", container.id, noted)
        live, gate = await self._waiting(container.id, files, told)
        return Slot(
            id=slot_id,
            profile=profile,
            files=files,
            container=container.id,
            image=container.image,
            env=env,
            facts=noted.facts,
            live=live,
            gate=gate,
        )

    @contextmanager
    def _packages_kept(self, profile: Profile) -> Iterator[None]:
        """Its packages stay until there is a container, whose label keeps them from then on."""
        key = profile.spec.labels.get(PACKAGES_LABEL)
        if key is None or self._settings.packages is None:
            yield
            return
        cache = PackageCache(self._settings.packages.directory)
        lock = cache.lock(key, shared=True)
        if lock is None:
            raise _unfit("its packages are just being installed")
        try:
            if cache.find(key) is None:
                raise _unfit("its packages are gone")
            yield
        finally:
            cache.leave(key, lock)

    async def remove(self, slot_id: str, container: str | None = None) -> None:
        """Remove a container and its files. Raises `UnavailableError`, and `OSError` for files that stay."""
        await remove_container(self._engine, container or container_name(slot_id))
        await asyncio.to_thread(self.files(slot_id).remove)

    async def _body(self, slot_id: str, profile: Profile, files: WarmFiles) -> Json:
        has_artifacts = profile.sources.artifacts is not None
        sources = replace(
            profile.sources,
            files=await self._ours.place_of(files.files),
            artifacts=await self._ours.place_of(files.artifacts) if has_artifacts else None,
        )
        return container_body(
            replace(profile.spec, labels={**profile.spec.labels, WARM_LABEL: slot_id}), self._settings, sources
        )

    async def _examined(self, profile: Profile, made: str) -> tuple[Container, tuple[str, ...]]:
        """The container, and the environment that it has of the image, where the image has all that waiting takes."""
        container = await inspect(self._engine, made)
        if container is None:
            raise UnavailableError("A warm container was removed before it was started.")
        await self._preflight.check(profile.spec, made, container.image)
        await self._preflight.check(replace(profile.spec, argv=(ENV,)), made, container.image)
        env = tuple(container.config.env or ())
        if not all(entry.find("=") > 0 for entry in env):
            raise _unfit("its image has an environment that cannot be handed on")
        return container, env

    async def _waiting(
        self, container: str, files: WarmFiles, told: Callable[[], None]
    ) -> tuple[aiohttp.ClientResponse, Gate]:
        """Start it, and wait until it does: its output, and the gate that it waits at."""
        latch = files.hold()
        try:
            live = await self._started(container)
            try:
                return live, Gate(await self._opened(files), latch, told)
            except BaseException:
                live.close()
                raise
        except BaseException:
            os.close(latch)
            raise

    async def _started(self, container: str) -> aiohttp.ClientResponse:
        query = {"stream": "1", "stdout": "1", "stderr": "1"}
        live = await self._engine.open("POST", f"/containers/{container}/attach", query=query)
        try:
            if live.status >= 400:
                raise UnavailableError("A warm container was removed before it was started.")
            seconds = self._settings.start_timeout_seconds
            _check(await self._engine.call("POST", f"/containers/{container}/start", seconds=seconds))
        except BaseException:
            live.close()
            raise
        return live

    async def _opened(self, files: WarmFiles) -> int:
        """Wait until the container is at its gate: nobody announces that."""
        try:
            async with asyncio.timeout(self._settings.settle_seconds):
                while (descriptor := open_gate(files.gate)) is None:  # noqa: ASYNC110 - it is the container that opens it
                    await asyncio.sleep(LOOK_SECONDS)
                return descriptor
        except TimeoutError as error:
            raise _unfit("it was started and does not come to its gate") from error


def profile_of(spec: ProcessSpec, settings: DockerSettings, sources: Sources) -> Profile:
    """The kind of container that `spec` is to run in. The working directory is part of it, the command is not."""
    path = {name: value for name, value in spec.env.items() if name == "PATH"}  # by which the shell is found, too
    labels = {name: value for name, value in spec.labels.items() if name == PACKAGES_LABEL}
    kind = replace(spec, name="", argv=WAITING, env=path, labels=labels)
    place = None if sources.artifacts is None else ""
    return Profile(
        key=repr(container_body(kind, settings, replace(sources, files="", artifacts=place))),
        spec=kind,
        sources=sources,
    )


def new_slot_id() -> str:
    return secrets.token_hex(8)


def container_name(slot_id: str) -> str:
    return f"cronium-warm-{slot_id}"


def _check(answer: Answer) -> None:
    if answer.status >= 500:
        raise UnavailableError(f"The Docker engine could not make a warm container: {answer.message}")
    if not answer.ok:
        raise _unfit(answer.message)


def _unfit(words: str) -> StartFailedError:
    return StartFailedError(f"No container of this kind can wait: {words}.", reason=Reason.INVALID)
