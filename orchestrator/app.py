"""The composition root: the only place that knows which adapter is which. Settings in, a running engine out."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import ParamSpec

from orchestrator.app_runtime import open_runtime_api
from orchestrator.contracts.clock import Clock
from orchestrator.contracts.executor import Executor
from orchestrator.contracts.observer import Observer, SilentObserver
from orchestrator.contracts.sealing import Sealer
from orchestrator.contracts.store import EVERYTHING, Store
from orchestrator.executors.process import ProcessSettings, open_process_executor
from orchestrator.jobs.abandoned import Settler
from orchestrator.jobs.admit import Admitter
from orchestrator.jobs.artifact_files import ArtifactLimits
from orchestrator.jobs.artifact_upkeep import ArtifactUpkeep
from orchestrator.jobs.artifact_watch import ArtifactWatch
from orchestrator.jobs.artifacts import Shelf
from orchestrator.jobs.cancel import Canceller
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.jobs.environment import Surroundings
from orchestrator.jobs.feed import Feed, Onlooker
from orchestrator.jobs.finish import ADMIT
from orchestrator.jobs.follow import Follower
from orchestrator.jobs.hear import CANCEL, Teller, hearing
from orchestrator.jobs.logs import LogLimits
from orchestrator.jobs.progress import ProgressBoard
from orchestrator.jobs.run import Patience, Runner
from orchestrator.jobs.runtime_limits import RuntimeLimit
from orchestrator.jobs.runtime_session import RuntimeBackend
from orchestrator.jobs.runtime_upkeep import RuntimeUpkeep
from orchestrator.jobs.script_log import ScriptLogs
from orchestrator.jobs.submit import Submitter
from orchestrator.jobs.vault import Vault
from orchestrator.model.ids import RANDOM_BYTES, make_id
from orchestrator.model.jobs import Job, JobId
from orchestrator.model.specs import ExecutorKind, Language
from orchestrator.places import (
    KEY_FILE,
    find_interpreter,
    instance_of,
    is_queue_of_dead_command,
    load_key,
    make_private,
    sdk_directory,
)
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.telemetry.clock import SystemClock

SOCKET_NAME = "api.sock"
COUNTED_ATTEMPTS = 10_000
ParamsP = ParamSpec("ParamsP")
# How long an orchestrator may be away before others call its jobs lost: its scripts may well run on where it was.
STRAYS_AFTER = timedelta(minutes=10)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """
    How an engine is wired. `state` holds everything that is files, `sockets` is the short directory of the runtime
    API's socket, mounted into containers as a whole.

    The engine works on the jobs of `queue` only. `alone`: no other engine works with this `state` (`serve`). `shared`:
    engines with other states work on the same queue (`serve` on Postgres). `tied`: processes end when this process does
    (`cronium run`). `nofile` is the limit of open files (soft, hard) that scripts get, where ours was raised.
    """

    state: Path
    sockets: Path
    queue: str
    alone: bool
    tied: bool
    shared: bool = False
    default_executor: ExecutorKind
    slots: Mapping[ExecutorKind, int]
    images: Mapping[Language, str]
    inherit: Mapping[str, str]
    workdir: Path | None = None
    stdin: int | None = None
    nofile: tuple[int, int] | None = None
    docker_endpoint: str | None = None
    warm_containers: int = 0
    registry_auth_file: Path | None = None
    allowed_volumes: Sequence[str] = ()
    package_cache_bytes: int = 2 * 1024 * 1024 * 1024
    package_network: str = "bridge"
    package_scripts: bool = False
    package_pip_config: Path | None = None
    package_npm_config: Path | None = None
    log_limits: LogLimits = field(default_factory=LogLimits)
    artifact_limits: ArtifactLimits = field(default_factory=ArtifactLimits)
    artifact_retention: timedelta = timedelta(days=30)
    runtime_requests_per_minute: int | None = None
    patience: Patience = field(default_factory=Patience)
    sealer: Sealer | None = None  # None: there are no secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running engine: what doors need."""

    store: Store
    clock: Clock
    observer: Observer
    feed: Feed
    submitter: Submitter
    canceller: Canceller
    dispatcher: Dispatcher
    follower: Follower
    executors: Mapping[ExecutorKind, Executor]
    shelf: Shelf
    vault: Vault | None
    runtime: RuntimeBackend
    supervisors: list[Dispatcher]  # the dispatcher, and one for each dead instance whose jobs are ended here


@asynccontextmanager
async def open_engine(
    settings: EngineSettings,
    store: Store,
    *,
    clock: Clock,
    onlooker: Onlooker | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[Engine]:
    """Open everything in order, close in reverse. The engine works on its queue while the block is open."""
    async with AsyncExitStack() as stack:
        make_private(settings.state)
        seen = observer or SilentObserver()
        teller = Teller(store.bell, settings.queue)
        feed = Feed(store, onlooker, tell=teller.news)
        backend = _runtime_backend(settings, store, clock, seen, feed)
        runtime_socket = settings.sockets / SOCKET_NAME
        await stack.enter_async_context(open_runtime_api(runtime_socket, backend, lazily=settings.tied))
        surroundings = _surroundings(settings)
        executors = await _open_executors(stack, settings, runtime_socket, surroundings.key, seen)
        engine = _wire(settings, store, clock, feed, teller, executors, surroundings, backend)
        stack.enter_context(store.bell.listen(hearing(engine.dispatcher, engine.follower, feed)))
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(engine.dispatcher.run()), tasks.create_task(engine.follower.run())]
            upkeep = ArtifactUpkeep(store=store, clock=clock, shelf=engine.shelf, retention=settings.artifact_retention)
            stack.callback(engine.shelf.close)
            working += [tasks.create_task(engine.shelf.watch.run()), tasks.create_task(upkeep.run())]
            working.append(tasks.create_task(backend.progress.run()))
            working.append(tasks.create_task(RuntimeUpkeep(store=store).run()))
            if settings.tied:
                working.append(tasks.create_task(_settle(settings, engine, surroundings)))
            try:
                yield engine
            finally:
                for task in working:
                    task.cancel()


@asynccontextmanager
async def open_local_engine(
    settings: EngineSettings, database: Path | None, *, onlooker: Onlooker
) -> AsyncIterator[Engine]:
    """An engine on a SQLite file that it shares with others; None: on one in memory. What `cronium run` needs."""
    clock = SystemClock()
    make_private(settings.state)
    async with (
        open_sqlite_store(database, clock=clock, exclusive=False) as store,
        open_engine(settings, store, clock=clock, onlooker=onlooker) as engine,
    ):
        yield engine


def _wire(
    settings: EngineSettings,
    store: Store,
    clock: Clock,
    feed: Feed,
    teller: Teller,
    executors: Mapping[ExecutorKind, Executor],
    surroundings: Surroundings,
    runtime: RuntimeBackend,
) -> Engine:
    observer = runtime.observer
    follower = Follower(store=store, clock=clock, handlers={}, queue=settings.queue, observer=observer)

    def wake_after(delay: timedelta) -> None:
        # A moment later than the store's clock says, so that the look is not in vain.
        asyncio.get_running_loop().call_later(delay.total_seconds() + 0.01, dispatcher.wake)

    instance = instance_of(surroundings.key)
    owner = _owner_of(instance)
    shelf = Shelf(
        root=make_private(settings.state / "artifacts"),
        place=instance,
        watch=ArtifactWatch(settings.artifact_limits),
    )
    vault = None if settings.sealer is None else Vault(store=store, clock=clock, sealer=settings.sealer)
    runner = Runner(
        store=store,
        clock=clock,
        observer=observer,
        feed=feed,
        executors=executors,
        surroundings=surroundings,
        owner=owner,
        follow=follower.wake,
        again=wake_after,
        chance=random.random,
        log_limits=settings.log_limits,
        patience=settings.patience,
        logs=runtime.logs,
        shelf=shelf,
        vault=vault,
    )
    dispatcher = Dispatcher(
        store=store,
        clock=clock,
        observer=observer,
        feed=feed,
        runner=runner,
        executors=executors,
        slots=settings.slots,
        owner=owner,
        queue=settings.queue,
        alone=settings.alone,
        kin=f"{instance}:" if settings.shared else "",
        strays_after=STRAYS_AFTER if settings.shared else None,
    )
    supervisors = [dispatcher]

    def cancel(job_id: JobId) -> None:
        for supervisor in supervisors:
            supervisor.cancel(job_id)

    wake = both(dispatcher.wake, teller.queued)
    follower.handlers[ADMIT] = Admitter(store=store, clock=clock, wake=wake).follow

    def ended(job: Job) -> None:
        """A job had to make place for another one: it has ended, or its supervisor is to end it."""
        if not job.status.is_final:
            canceller.poke(job.id)
            return
        observer.job_finished(job)
        feed.changed(job)
        follower.wake()

    submitter = Submitter(
        store=store,
        clock=clock,
        observer=observer,
        new_id=lambda prefix: make_id(prefix, clock.now(), os.urandom(RANDOM_BYTES)),
        wake=wake,
        ended=ended,
        default_executor=settings.default_executor,
        executors=frozenset(executors),
        queue=settings.queue,
    )
    canceller = Canceller(
        store=store,
        clock=clock,
        observer=observer,
        feed=feed,
        poke=both(cancel, teller.cancel),
        wake=follower.wake,
    )
    return Engine(
        store=store,
        clock=clock,
        observer=observer,
        feed=feed,
        submitter=submitter,
        canceller=canceller,
        dispatcher=dispatcher,
        follower=follower,
        executors=executors,
        shelf=shelf,
        vault=vault,
        runtime=runtime,
        supervisors=supervisors,
    )


def _owner_of(instance: str) -> str:
    """A name for the leases of this process on the jobs of an instance, which nobody has had before."""
    return f"{instance}:{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@asynccontextmanager
async def open_inheritance(settings: EngineSettings, heir: Engine) -> AsyncIterator[Dispatcher]:
    """
    Supervise the jobs that another instance left when it died, with what `settings` say it had: state, sockets, executors.

    Its runtime socket is bound again. The heir's feed shows the jobs, its canceller ends them, its follower does what
    follows. No new job is claimed. Leaving the block leaves what still runs. The caller holds the lock on the state.
    """
    async with AsyncExitStack() as stack:
        runtime_socket = settings.sockets / SOCKET_NAME
        await stack.enter_async_context(open_runtime_api(runtime_socket, heir.runtime, lazily=False))
        surroundings = _surroundings(settings)
        instance = instance_of(surroundings.key)
        executors = await _open_executors(stack, settings, runtime_socket, surroundings.key, heir.observer)
        runner = replace(
            heir.dispatcher.runner, executors=executors, surroundings=surroundings, owner=_owner_of(instance)
        )
        dispatcher = heir.dispatcher.heir_of(f"{instance}:", runner)
        stack.enter_context(heir.store.bell.listen(hearing_cancels(dispatcher)))
        heir.supervisors.append(dispatcher)
        stack.callback(heir.supervisors.remove, dispatcher)
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(dispatcher.run())
            try:
                yield dispatcher
            finally:
                working.cancel()


def docker_endpoint(settings: EngineSettings) -> str | None:
    """Where the containers of this wiring are; None where it has none."""
    if not settings.slots.get(ExecutorKind.DOCKER):
        return None
    from orchestrator.executors.docker.settings import find_endpoint

    return find_endpoint(settings.docker_endpoint).text


def hearing_cancels(dispatcher: Dispatcher) -> Callable[[str], None]:
    """What to call with each topic rung elsewhere, for a dispatcher beside one whose hearing does all the rest."""

    def hear(topic: str) -> None:
        if topic == EVERYTHING or topic.startswith(f"{CANCEL}:"):
            dispatcher.look()

    return hear


def both(first: Callable[ParamsP, None], second: Callable[ParamsP, None]) -> Callable[ParamsP, None]:
    """One call for two."""

    def call(*args: ParamsP.args, **kwargs: ParamsP.kwargs) -> None:
        first(*args, **kwargs)
        second(*args, **kwargs)

    return call


async def _settle(settings: EngineSettings, engine: Engine, surroundings: Surroundings) -> None:
    """Beside the work, once: end what other commands left behind when they were killed."""
    settler = Settler(
        store=engine.store,
        clock=engine.clock,
        executors=engine.executors,
        surroundings=surroundings,
        owner=settings.queue,
        is_gone=is_queue_of_dead_command,
        shelf=engine.shelf,
    )
    try:
        await settler.settle()
    except Exception:
        log.exception("what a killed command left is settled by a later one")  # never at the price of this one


def _runtime_backend(
    settings: EngineSettings, store: Store, clock: Clock, observer: Observer, feed: Feed
) -> RuntimeBackend:
    limit = None
    if settings.runtime_requests_per_minute is not None:
        from orchestrator.caches.memory import MemoryCache

        # Of this process: the script of an attempt calls the socket of the instance that runs it.
        counts = MemoryCache(clock, max_items=COUNTED_ATTEMPTS)
        limit = RuntimeLimit(cache=counts, observer=observer, requests=settings.runtime_requests_per_minute)
    board = ProgressBoard(store=store, clock=clock, news=feed.progressed)
    return RuntimeBackend(store=store, clock=clock, observer=observer, progress=board, logs=ScriptLogs(), limit=limit)


def _surroundings(settings: EngineSettings) -> Surroundings:
    search = settings.inherit.get("PATH", os.defpath)
    return Surroundings(
        attempts=make_private(settings.state / "attempts"),
        sdk=sdk_directory(),
        images=settings.images,
        find=lambda name: find_interpreter(name, search),
        key=load_key(settings.state / KEY_FILE),
        workdir=str(settings.workdir) if settings.workdir else None,
        tied=settings.tied,
        stdin=settings.stdin,
    )


async def _open_executors(
    stack: AsyncExitStack, settings: EngineSettings, runtime_socket: Path, key: bytes, observer: Observer
) -> dict[ExecutorKind, Executor]:
    """The executors that have slots. Docker's is imported only then: its HTTP client takes a quarter of a second."""
    executors: dict[ExecutorKind, Executor] = {}
    if settings.slots.get(ExecutorKind.PROCESS):
        process = ProcessSettings(
            spool=make_private(settings.state / "spool"),
            sdk=sdk_directory(),
            runtime_socket=runtime_socket,
            inherit=settings.inherit,
            workdir=settings.workdir,
            nofile=settings.nofile,
        )
        executors[ExecutorKind.PROCESS] = await stack.enter_async_context(open_process_executor(process))
    if settings.slots.get(ExecutorKind.DOCKER):
        from orchestrator.executors.docker import DockerSettings, open_docker_executor
        from orchestrator.executors.docker.settings import PackageSettings

        docker = DockerSettings(
            endpoint=settings.docker_endpoint,
            registry_auth_file=settings.registry_auth_file,
            installation=instance_of(key),
            socket_directory=runtime_socket.parent,
            data_directory=settings.state,
            allowed_volumes=settings.allowed_volumes,
            packages=PackageSettings(
                directory=settings.state / "packages",
                cache_bytes=settings.package_cache_bytes,
                network=settings.package_network,
                scripts=settings.package_scripts,
                pip_config=settings.package_pip_config,
                npm_config=settings.package_npm_config,
            ),
            warm_containers=settings.warm_containers,
            warm_directory=make_private(settings.state / "warm"),
            observer=observer,
            log_max_bytes=settings.log_limits.max_bytes,
            log_max_lines=settings.log_limits.max_lines,
        )
        executors[ExecutorKind.DOCKER] = await stack.enter_async_context(open_docker_executor(docker))
    return executors
