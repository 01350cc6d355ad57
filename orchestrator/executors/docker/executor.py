"""The docker executor: start, attach, sweep, check."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from orchestrator.contracts.executor import UNHEARD, Availability, Executor, Placement, Process, ProcessSpec, Setup
from orchestrator.errors import ConflictError, StartFailedError, UnavailableError
from orchestrator.executors.docker.container import ARTIFACTS, FILES, SOCKETS, WORKSPACE, Sources, container_body
from orchestrator.executors.docker.engine import Answer, Engine, filters, open_engine
from orchestrator.executors.docker.images import Images
from orchestrator.executors.docker.leftovers import sweep_makers, sweep_unused
from orchestrator.executors.docker.mounts import OurFiles
from orchestrator.executors.docker.networks import Networks
from orchestrator.executors.docker.packages import Packages
from orchestrator.executors.docker.preflight import Preflight, check_workdir
from orchestrator.executors.docker.process import DockerProcess, inspect, pauses, remove_container
from orchestrator.executors.docker.refusals import advised
from orchestrator.executors.docker.settings import DockerSettings, find_endpoint
from orchestrator.executors.docker.state import INSTALLATION_LABEL, Container, Created, Summary
from orchestrator.executors.docker.tied import Tie, open_tie
from orchestrator.executors.docker.volumes import Volumes, Workspaces
from orchestrator.executors.docker.warm import WarmStarts, open_warm_starts
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import ExecutorKind, PullPolicy

log = logging.getLogger(__name__)

CHECK_SECONDS = 4.0
LOOK_AGAIN_SECONDS = 0.05
SUMMARIES = TypeAdapter(list[Summary])
NOT_IN_IMAGE = ("no such file or directory", "executable file not found", "permission denied", "not a directory")


class DockerExecutor:
    """
    Runs each attempt in a container of its own.

    A container is started only by whoever made it, by its id, and once: making one claims the name, so two that start
    one name cannot both run it. Who finds the name taken waits for the other, and removes what is never started.
    """

    def __init__(self, engine: Engine, settings: DockerSettings, tie: Tie, warm: WarmStarts) -> None:
        self._engine, self._settings, self._tie, self._warm = engine, settings, tie, warm
        self._preflight = Preflight(engine)
        self._images = Images(engine, settings)
        self._ours = OurFiles(engine)
        self._packages = Packages(engine, settings, self._ours, self._images, tie)
        self._networks = Networks(engine, settings.installation)
        self._volumes, self._workspaces = Volumes(engine, settings), Workspaces(engine, settings)
        # Past some eight at a time the engine starts containers no faster, each only takes longer.
        self._starting = asyncio.Semaphore(2 * (os.cpu_count() or 1))
        self._unread: set[DockerProcess] = set()
        self._unsure: set[str] = set()  # names of containers that may have been made: the engine did not answer

    @property
    def kind(self) -> ExecutorKind:
        return ExecutorKind.DOCKER

    def placement(self, directory: Path) -> Placement:
        return Placement(
            files=FILES,
            sdk=None,
            runtime_api=f"unix:{SOCKETS}/api.sock",
            workdir=WORKSPACE,
            env={"HOME": WORKSPACE, "LANG": "C.UTF-8"},
            artifacts=ARTIFACTS,
        )

    async def start(self, spec: ProcessSpec, setup: Setup = UNHEARD) -> Process:
        for note in spec.notes:
            setup.say(note)
        async with self._packages.ready(spec, setup, spec.requires_python) as ready:
            with self._warm.pool.starting():
                return await self._start(ready, setup)

    async def _start(self, spec: ProcessSpec, setup: Setup) -> Process:
        image = _image(spec)
        pulled = spec.pull is PullPolicy.ALWAYS
        if pulled:
            await self._images.pull(spec, image, setup)
        give_up = self._settings.clock.monotonic() + 2 * self._settings.settle_seconds
        self._unsure.discard(spec.name)
        if self._warm.serves(spec):
            waiting = await self._warm.start(spec, await self._sources(spec), setup)
            if waiting is not None:
                return self._watched(waiting)
        while True:
            async with self._starting:
                answer = await self._create(spec)
                await self._discard_unsure()
                if answer.ok:
                    container = Created.model_validate_json(answer.body).id
                    if await self._images.record(image, container, setup):
                        self._preflight = Preflight(self._engine)  # what was found in the old image counts no more
                    return await self._launch(spec, container)
            if _lacks_image(answer) and not pulled:
                await self._images.pull(spec, image, setup, missing=True)
                pulled = True
                give_up = self._settings.clock.monotonic() + 2 * self._settings.settle_seconds
            elif answer.status != 409 or self._settings.clock.monotonic() > give_up:
                raise _not_created(answer, spec)
            elif (process := await self._join(spec.name)) is not None:
                return process
            else:  # removed just now, or, as the engine takes the name first, not made yet
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def attach(self, name: str) -> Process | None:
        while (container := await inspect(self._engine, name)) is not None:
            if container.name.removeprefix("/") != name:
                return None
            self._check_owner(container)
            if container.warm is not None:
                if await self._warm.began(container):
                    return self._warm.process(container, name)
                await remove_container(self._engine, container.id)
            elif container.state.was_started or container.state.status != "created":
                return DockerProcess(self._engine, self._settings.clock, name=name, container=container.id)
            # Whoever was about to start it fails then. Where the start was first, the removal fails: look again.
            await self._discard(container.id)
        return None

    async def sweep(self, keep: frozenset[str]) -> list[str]:
        await sweep_makers(self._engine, self._settings.installation)
        mine = filters(label=[f"{INSTALLATION_LABEL}={self._settings.installation}"])
        answer = await self._engine.call("GET", "/containers/json", query={"all": "1", "filters": mine})
        if not answer.ok:
            raise UnavailableError(f"The Docker engine could not list its containers: {answer.message}")
        all_found = SUMMARIES.validate_json(answer.body)
        left = [found for found in all_found if found.name not in keep]
        left = [
            found for found in left if not self._packages.is_installing(found.name) and not self._warm.pool.holds(found)
        ]
        async with asyncio.TaskGroup() as tasks:
            removing = {found.name: tasks.create_task(self._swept(found)) for found in left}
        await self._packages.sweep()
        await self._warm.pool.sweep(
            {found.warm for found in all_found if found.name in keep and found.warm is not None}
        )
        left_over = await sweep_unused(self._engine, self._settings.installation)
        return [*(name for name, task in removing.items() if task.result()), *left_over]

    async def check(self) -> Availability:
        try:
            version = await self._engine.version(CHECK_SECONDS)
        except UnavailableError as error:
            return Availability(kind=self.kind, available=False, detail=error.message)
        where = self._engine.endpoint.text
        detail = f"Docker {version.version} (API {version.api}) answers at {where}."
        return Availability(kind=self.kind, available=True, detail=detail, version=version.version)

    def close(self) -> None:
        """End the streams that nobody read. The containers run on."""
        for process in self._unread:
            process.close()

    async def leave(self) -> None:
        """Remove what this process made for all its containers and none needs now."""
        await self._networks.leave()

    async def _create(self, spec: ProcessSpec) -> Answer:
        sources = await self._sources(spec)

        async def send(workspace: str | None) -> Answer:
            body = container_body(spec, self._settings, replace(sources, workspace=workspace))
            seconds = self._settings.start_timeout_seconds
            try:
                return await self._engine.call(
                    "POST", "/containers/create", query={"name": spec.name}, body=body, seconds=seconds
                )
            except BaseException:  # cancelled too: the engine may have heard it
                self._unsure.add(spec.name)
                raise

        return await self._workspaces.create(spec, send)

    async def _sources(self, spec: ProcessSpec) -> Sources:
        return Sources(
            files=await self._ours.place_of(spec.directory),
            sockets=await self._ours.place_of(self._settings.socket_directory),
            artifacts=None if spec.artifacts is None else await self._ours.place_of(spec.artifacts),
            packages=await self._packages.place(spec),
            volumes=await self._volumes.mounts(spec.volumes, self._ours),
            network=await self._networks.place(spec.network),
        )

    async def _discard_unsure(self) -> None:
        """The engine answers again: remove what it made meanwhile and nobody will start."""
        while self._unsure:
            name = self._unsure.pop()
            try:
                await self.attach(name)  # which removes it
            except (UnavailableError, ConflictError) as error:
                log.info("a container is left for the sweep", extra={"process_name": name, "error": error.message})

    async def _launch(self, spec: ProcessSpec, container: str) -> Process:
        """Check, attach, start. What cannot be started is removed; after any other failure `attach` says what is."""
        try:
            await self._preflight.check(spec, container)
            process = await self._attached(spec.name, container)
            try:
                if spec.tied:
                    await self._tie.hold(container)
                await self._send_start(spec, container)
            except BaseException:
                process.close()
                raise
        except StartFailedError:
            await self._discard(container)
            raise
        return process

    async def _attached(self, name: str, container: str) -> DockerProcess:
        """Attach before the start, so that the live stream holds the output from its first byte."""
        query = {"stream": "1", "stdout": "1", "stderr": "1"}
        live = await self._engine.open("POST", f"/containers/{container}/attach", query=query)
        if live.status >= 400:
            live.close()
            raise StartFailedError(f"The container {name} was removed before it could be started.", reason=Reason.LOST)
        process = DockerProcess(
            self._engine,
            self._settings.clock,
            name=name,
            container=container,
            live=live,
            forget=self._tie.release,
        )
        return self._watched(process)

    def _watched(self, process: DockerProcess) -> DockerProcess:
        self._unread = {known for known in self._unread if known.is_unread} | {process}
        return process

    async def _send_start(self, spec: ProcessSpec, container: str) -> None:
        """Sent once and never again: a second start would run a short script twice."""
        try:
            answer = await self._engine.call(
                "POST", f"/containers/{container}/start", seconds=self._settings.start_timeout_seconds
            )
        except UnavailableError as error:
            await self._find_out(spec.name, container, error)
            return
        if answer.ok:
            return
        words = answer.message
        if "no such container" in words.lower() or "marked for removal" in words.lower():
            raise StartFailedError(f"The container {spec.name} was removed before it was started.", reason=Reason.LOST)
        if _lacks_network(answer):
            await self._discard(container)
            raise UnavailableError(f"The network of {spec.name} was removed just before it was started: {words}")
        if any(hint in words.lower() for hint in NOT_IN_IMAGE):
            raise _invalid(f"{spec.argv[0]} cannot be started in the image {spec.image}: {words}")
        if answer.status < 500:
            raise _invalid(f"The Docker engine refuses to start the container {spec.name}: {words}")
        await self._discard(container)
        raise UnavailableError(f"The Docker engine could not start the container {spec.name}: {advised(words)}")

    async def _find_out(self, name: str, container: str, error: UnavailableError) -> None:
        """
        A start was not answered. Return where the container was started all the same, raise `error` where it never will be.

        An engine that hangs hears the start when it goes on: until it says what is, the job is neither run again nor
        given up.
        """
        log.warning("was it started?", extra={"process_name": name, "error": error.message})
        every = pauses()
        give_up = self._settings.clock.monotonic() + self._settings.unsure_seconds
        while self._settings.clock.monotonic() < give_up:
            try:
                found = await inspect(self._engine, container)
            except UnavailableError as again:
                log.info("asking again", extra={"process_name": name, "error": again.message})
            else:
                if found is None:
                    break
                if found.state.was_started:
                    return
                await self._discard(container)  # where it is started at this moment, that fails, and is seen next
            await asyncio.sleep(next(every))
        raise error

    async def _join(self, name: str) -> Process | None:
        """Attach to the container that has the name once its maker has started it; None where there is none yet."""
        try:
            async with asyncio.timeout(self._settings.settle_seconds):
                while (found := await self._own(name)) is not None:
                    if found.warm is not None and not self._warm.waits(found):
                        return await self.attach(name)
                    if found.warm is None and found.state.was_started:
                        return DockerProcess(self._engine, self._settings.clock, name=name, container=found.id)
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
                return None
        except TimeoutError:
            log.info("a container was made and never started", extra={"process_name": name})
        return await self.attach(name)

    async def _own(self, name: str) -> Container | None:
        container = await inspect(self._engine, name)
        try:
            if container is not None:
                self._check_owner(container)
        except ConflictError as error:
            raise _invalid(error.message) from error
        return container

    async def _discard(self, container: str) -> None:
        """Remove a container that never ran; leave it where it runs after all."""
        try:
            answer = await self._engine.call("DELETE", f"/containers/{container}", query={"v": "1"})
        except UnavailableError as error:
            log.warning("a container is left for the sweep", extra={"container": container, "error": error.message})
            return
        if not answer.ok and answer.status != 404:
            log.info("a container was not removed", extra={"container": container, "error": answer.message})

    async def _remove(self, found: Summary) -> None:
        async with self._starting:
            await remove_container(self._engine, found.id)

    async def _swept(self, found: Summary) -> bool:
        """Remove one; whether that worked. One that cannot be removed must not keep the others."""
        try:
            await self._remove(found)
        except UnavailableError as error:
            log.warning("a container is left for a later sweep", extra={"container": found.name, "error": str(error)})
            return False
        return True

    def _check_owner(self, container: Container) -> None:
        if container.installation != self._settings.installation:
            name = container.name.removeprefix("/")
            raise ConflictError(
                f"The container {name} belongs to another installation of Cronium, or to nobody: it is left alone. "
                f"If it is not needed, remove it (docker rm -f {name})."
            )


@asynccontextmanager
async def open_docker_executor(settings: DockerSettings) -> AsyncIterator[Executor]:
    """
    Open the executor. The engine need not be there yet: `check` says whether it is.

    Leaving the block ends what is open to the engine; containers run on, tied ones are removed. Raises `InvalidError` for an endpoint of a
    kind that cannot be used.
    """
    endpoint = find_endpoint(settings.endpoint)
    async with (
        open_tie(endpoint) as tie,
        open_engine(endpoint, settings.call_timeout_seconds) as engine,
        open_warm_starts(engine, settings) as warm,
    ):
        executor = DockerExecutor(engine, settings, tie, warm)
        try:
            yield executor
        finally:
            executor.close()
            await executor.leave()


def _image(spec: ProcessSpec) -> str:
    """The image, where the specification is one that may be run."""
    check_workdir(spec)
    if spec.image is None:
        raise _invalid("The job names no image and there is no default for its language: name one (`image`).")
    return spec.image


def _lacks_image(answer: Answer) -> bool:
    return answer.status == 404 and "image" in answer.message.lower()


def _lacks_network(answer: Answer) -> bool:
    """It was there a moment ago: another process of ours, or somebody, has removed it because nobody used it."""
    return answer.status == 404 and answer.message.startswith("network ")


def _not_created(answer: Answer, spec: ProcessSpec) -> StartFailedError | UnavailableError:
    words = answer.message
    if _lacks_image(answer):
        return StartFailedError(f"The image {spec.image} is gone again: {words}", reason=Reason.IMAGE_UNAVAILABLE)
    if answer.status == 409:
        return UnavailableError(f"The name {spec.name} is taken on the Docker engine, but no container has it: {words}")
    if answer.status < 500 or any(hint in words.lower() for hint in NOT_IN_IMAGE):
        return _invalid(f"The Docker engine refuses the container of this job (image {spec.image}): {words}")
    return UnavailableError(f"The Docker engine could not make the container {spec.name}: {advised(words)}")


def _invalid(message: str) -> StartFailedError:
    return StartFailedError(message, reason=Reason.INVALID)
