"""Take-over: a server goes on with the jobs of a dead one whose files lie on its machine, until that one comes back."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ValidationError

from orchestrator.app import Engine, EngineSettings, docker_endpoint, open_inheritance
from orchestrator.config.urls import DATABASE_FILE
from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import Store
from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.jobs.persist import persist
from orchestrator.model.instances import Instance
from orchestrator.model.specs import ExecutorKind
from orchestrator.places import KEY_FILE, instance_of, load_key, make_open
from orchestrator.stores.sqlite.lock import hold_lock, is_wanted

ESTATE_FILE = "estate.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = logging.getLogger(__name__)


class Estate(BaseModel):
    """What a server leaves word of, beside its files: the executors that it has, and where its containers are."""

    executors: list[ExecutorKind]
    docker_endpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often to look for dead servers, and for an owner who is back; how long what failed is left alone."""

    look_every: timedelta = timedelta(seconds=2)
    wish_every: timedelta = timedelta(seconds=0.5)
    again_after: timedelta = timedelta(seconds=60)
    register_every: timedelta = timedelta(minutes=5)


async def register(settings: EngineSettings, store: Store, clock: Clock) -> None:
    """Say where this instance keeps its files: in the store, and with them what must be known to go on with its jobs."""
    kinds = [kind for kind, slots in settings.slots.items() if slots]
    estate = Estate(executors=kinds, docker_endpoint=docker_endpoint(settings))
    await asyncio.to_thread(_write, settings.state / ESTATE_FILE, estate.model_dump_json())
    await persist(lambda: _store(settings, store, clock))


@asynccontextmanager
async def open_takeover(settings: EngineSettings, engine: Engine, *, pace: Pace | None = None) -> AsyncIterator[None]:
    """
    Go on with the jobs of dead servers of this machine while the block is open.

    Leaving it leaves their processes running, for the next heir or for their owner.
    """
    takeover = _Takeover(settings=settings, engine=engine, pace=pace or Pace())
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(takeover.run())
        try:
            yield
        finally:
            working.cancel()


@dataclass(slots=True, kw_only=True)
class _Takeover:
    """
    Looks for instances that have jobs whose leases expired, and inherits those that are dead, which their lock proves.

    An heir that dies is inherited like the instance itself: its leases bear the name of the dead one.
    """

    settings: EngineSettings
    engine: Engine
    pace: Pace
    _inherited: set[str] = field(default_factory=set)
    _failed: dict[str, float] = field(default_factory=dict)  # when it may be tried again
    _registered_at: float = 0.0

    async def run(self) -> None:
        """Work until cancelled. What was running here before comes first."""
        await self.engine.dispatcher.recovered.wait()
        self._registered_at = _now()
        own = instance_of(load_key(self.settings.state / KEY_FILE))
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    await self._register_again()
                    await self._look(tasks, own)
                except UnavailableError as error:
                    log.debug("no look for dead servers", extra={"error": str(error)})  # renewing leases says it aloud
                await asyncio.sleep(self.pace.look_every.total_seconds())

    async def _register_again(self) -> None:
        """Now and then: the store may be one that was restored from a backup."""
        if _now() - self._registered_at >= self.pace.register_every.total_seconds():
            await _store(self.settings, self.engine.store, self.engine.clock)
            self._registered_at = _now()

    async def _look(self, tasks: asyncio.TaskGroup, own: str) -> None:
        if not self.engine.dispatcher.is_claiming:
            return
        async with self.engine.store.read() as repos:
            bereft = await repos.instances.bereft(self.settings.queue)
        for instance in bereft:
            if instance.id == own or instance.id in self._inherited or self._failed.get(instance.id, 0.0) > _now():
                continue
            if await asyncio.to_thread(_is_here, instance):
                self._inherited.add(instance.id)
                tasks.create_task(self._inherit(instance))

    async def _inherit(self, instance: Instance) -> None:
        """One inheritance's failure is its own: the server, and the other inheritances, go on."""
        try:
            with ExitStack() as held:
                try:
                    held.enter_context(hold_lock(Path(instance.state) / DATABASE_FILE, as_heir=True))
                except ConflictError as error:
                    log.debug("not dead, or another server goes on with its jobs", extra={"error": str(error)})
                    return
                await self._administer(instance)
        except Exception:
            log.exception("the jobs of a dead server are left to others for now", extra={"state": instance.state})
            self._failed[instance.id] = _now() + self.pace.again_after.total_seconds()
        finally:
            self._inherited.discard(instance.id)

    async def _administer(self, instance: Instance) -> None:
        """Supervise its jobs until the last has ended, or its owner wants them back."""
        database = Path(instance.state) / DATABASE_FILE
        about = {"instance": instance.id, "state": instance.state}
        log.warning("a server is dead: going on with its jobs", extra=about)
        self.engine.observer.instance_inherited()
        async with open_inheritance(_inheritance(self.settings, instance), self.engine) as dispatcher:
            while not (settled := dispatcher.is_settled) and not is_wanted(database):  # noqa: ASYNC110 - a file's lock
                await asyncio.sleep(self.pace.wish_every.total_seconds())
        log.info("its jobs have ended" if settled else "its owner is back and goes on with its jobs", extra=about)


def _is_here(instance: Instance) -> bool:
    """Whether the files of an instance are those that lie here, and whatever it started runs under this kernel."""
    if instance.boot_id != _boot_id():
        return False
    key = Path(instance.state) / KEY_FILE
    try:
        return key.stat().st_uid == os.geteuid() and instance_of(key.read_bytes()) == instance.id
    except OSError:
        return False  # another account's, or in another container


def _inheritance(settings: EngineSettings, instance: Instance) -> EngineSettings:
    """Our settings with the files and executors of the dead one. What it had no executor for is left as it is."""
    state, sockets = Path(instance.state), Path(instance.sockets)
    try:
        estate = Estate.model_validate_json((state / ESTATE_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        log.warning("it is not known what executors it had", extra={"state": instance.state, "error": str(error)})
        estate = Estate(executors=[ExecutorKind.PROCESS])
    return replace(
        settings,
        state=state,
        sockets=make_open(sockets.parent, sockets.name),
        slots=dict.fromkeys(estate.executors, 1),
        docker_endpoint=estate.docker_endpoint,
    )


async def _store(settings: EngineSettings, store: Store, clock: Clock) -> None:
    instance = Instance(
        id=instance_of(load_key(settings.state / KEY_FILE)),
        state=str(settings.state.absolute()),
        sockets=str(settings.sockets.absolute()),
        boot_id=_boot_id(),
        seen_at=clock.now(),
    )
    async with store.begin() as repos:
        await repos.instances.register(instance)


def _boot_id() -> str:
    return BOOT_ID.read_text().strip()


def _write(path: Path, text: str) -> None:
    """Write so that readers see the old content or the new; whoever has the lock on the state is the only writer."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


def _now() -> float:
    return asyncio.get_running_loop().time()
