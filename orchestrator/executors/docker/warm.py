"""Warm starts: a job is handed to a container that waited for one, once or never."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel, Field

from orchestrator.contracts.executor import ProcessSpec, Setup
from orchestrator.errors import StartFailedError
from orchestrator.executors.docker.container import Sources
from orchestrator.executors.docker.engine import Engine
from orchestrator.executors.docker.preflight import Preflight
from orchestrator.executors.docker.process import DockerProcess
from orchestrator.executors.docker.settings import DockerSettings
from orchestrator.executors.docker.state import Container
from orchestrator.executors.docker.warm_maker import Slot, profile_of
from orchestrator.executors.docker.warm_pool import WarmPool, finished
from orchestrator.executors.docker.warm_text import assignment
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Workspace

FACT = "warm"
TAKING_SECONDS = 5.0

log = logging.getLogger(__name__)


class _Image(BaseModel):
    id: str = Field(alias="Id")


class WarmStarts:
    """
    Starts jobs in the containers of `pool`, and finds them again.

    A container is taken for a job by giving it the name of the job's process, which is the claim that making a cold one
    is. What it is to run is given afterwards, once or never (`WarmFiles`).
    """

    def __init__(self, engine: Engine, settings: DockerSettings, pool: WarmPool) -> None:
        self._engine, self._settings, self.pool = engine, settings, pool
        self._preflight = Preflight(engine)

    def serves(self, spec: ProcessSpec) -> bool:
        """Whether such a job is started in a container that waited, where there is one."""
        return (
            self._settings.warm_containers > 0
            and self._settings.warm_directory is not None
            and spec.warm
            and not (spec.tied or spec.volumes)
            and spec.workspace is Workspace.TMPFS
        )

    async def start(self, spec: ProcessSpec, sources: Sources, setup: Setup) -> DockerProcess | None:
        """
        Start the job in a container that waits; None: there is none, or somebody has the name, and a cold start follows.

        Raises what `Executor.start` does.
        """
        profile = profile_of(spec, self._settings, sources)
        process = None
        if self.pool.ask(profile):
            image = await self._image(spec.image or "")
            if (slot := self.pool.pop(profile, image)) is not None:
                process = await self._hand_over(slot, spec, setup)
        self._settings.observer.warm_asked(hit=process is not None)
        return process

    def waits(self, container: Container) -> bool:
        """Whether the container has its name and not yet its assignment."""
        return container.warm is not None and self.pool.maker.files(container.warm).is_open()

    async def began(self, container: Container) -> bool:
        """Whether a container was given its assignment. If it was not, it never will be from now on."""
        files = self.pool.maker.files(container.warm or "")
        return await asyncio.to_thread(files.looked_at)

    def process(self, container: Container, name: str) -> DockerProcess:
        """The process of a warm container that was found by its name."""
        slot_id = container.warm or ""
        return DockerProcess(
            self._engine,
            self._settings.clock,
            name=name,
            container=container.id,
            forget=lambda _: self.pool.forget(slot_id),
            begun=self.pool.maker.files(slot_id).given_at(),
        )

    async def _image(self, name: str) -> str | None:
        answer = await self._engine.call("GET", f"/images/{name}/json")
        return _Image.model_validate_json(answer.body).id if answer.ok else None

    async def _hand_over(self, slot: Slot, spec: ProcessSpec, setup: Setup) -> DockerProcess | None:
        text = assignment(spec.argv, spec.env, slot.env)
        if text is None:
            self.pool.put_back(slot)
            return None
        try:
            await self._preflight.check(spec, slot.container, slot.image)
        except StartFailedError:
            self.pool.put_back(slot)
            raise
        except BaseException:
            self.pool.discard(slot)
            raise
        try:
            if not await self._claim(slot, spec.name):
                return None
            await finished(asyncio.to_thread(slot.files.fill, spec.directory, spec.artifacts, text))
            if not slot.files.give():
                raise StartFailedError(f"{spec.name} was given up before it was started.", reason=Reason.LOST)
        except BaseException:
            self.pool.discard(slot)
            raise
        for fact, value in {**slot.facts, FACT: True}.items():
            setup.record(fact, value)
        return await self._given(slot, spec.name)

    async def _claim(self, slot: Slot, name: str) -> bool:
        """Give the container the name of the process; False where somebody has it, or the container ends just now."""
        answer = await self._engine.call("POST", f"/containers/{slot.container}/rename", query={"name": name})
        if answer.ok and slot.gate.is_waited_at:
            return True
        if answer.status == 409 and slot.gate.is_waited_at:
            self.pool.put_back(slot)
        elif answer.ok:  # the name must be free for the cold start
            self._settings.observer.warm_wasted()
            self.pool.give_away(slot)
            slot.close()
            await self.pool.maker.remove(slot.id, slot.container)
        else:
            self.pool.waste(slot)
        return False

    async def _given(self, slot: Slot, name: str) -> DockerProcess:
        """See that the assignment is read, hide it, and let the script go. Whatever happens here, it is started."""
        self.pool.give_away(slot)
        try:
            slot.gate.knock()
            async with asyncio.timeout(TAKING_SECONDS):
                await slot.gate.closed.wait()
            slot.files.hide()
        except (TimeoutError, OSError) as error:
            log.warning("a warm container is slow", extra={"process_name": name, "error": str(error)})
        except BaseException:
            slot.live.close()
            raise
        finally:
            slot.gate.close()
        return DockerProcess(
            self._engine,
            self._settings.clock,
            name=name,
            container=slot.container,
            live=slot.live,
            forget=lambda _: self.pool.forget(slot.id),
            begun=slot.files.given_at(),
        )


@asynccontextmanager
async def open_warm_starts(engine: Engine, settings: DockerSettings) -> AsyncIterator[WarmStarts]:
    """Nothing ever waits where the settings name no directory. Leaving the block removes what waits."""
    if settings.warm_directory is not None:
        settings.warm_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pool = WarmPool(engine, settings)
    working = asyncio.ensure_future(pool.run())  # no group: it never fails, and an error of the block stays what it is
    try:
        yield WarmStarts(engine, settings, pool)
    finally:
        working.cancel()
        await asyncio.wait({working})
        await pool.close()
