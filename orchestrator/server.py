"""The composition root of `cronium serve`: an engine, the doors for people around it, and the files that show the way in."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from orchestrator import __version__
from orchestrator.api.app import create_api
from orchestrator.api.context import ApiContext, Readiness
from orchestrator.api.limits import RequestLimits
from orchestrator.api.server import open_api_server
from orchestrator.api.tokens import new_token
from orchestrator.app import Engine, EngineSettings, open_engine
from orchestrator.app_events import open_events
from orchestrator.app_workflows import enable_workflows
from orchestrator.caches.backing import Backing
from orchestrator.caches.memory import MemoryCache
from orchestrator.config import PostgresDatabase, ServerSettings, SqliteDatabase
from orchestrator.config.urls import DATABASE_FILE
from orchestrator.contracts.cache import Cache
from orchestrator.contracts.clock import Clock
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.sealing import Sealer
from orchestrator.contracts.store import Store
from orchestrator.errors import UnavailableError
from orchestrator.jobs.artifact_files import ArtifactLimits
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.jobs.logs import LogLimits
from orchestrator.jobs.registrar import Registrar
from orchestrator.jobs.requeue import Requeuer
from orchestrator.jobs.run import Patience
from orchestrator.model.json import Json
from orchestrator.model.tokens import Scope, Token
from orchestrator.places import clean_environment, make_open, make_private, socket_root
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.lock import hold_lock, reclaim_lock
from orchestrator.takeover import open_takeover, register
from orchestrator.telemetry.clock import SystemClock
from orchestrator.telemetry.logging import configure_logging
from orchestrator.telemetry.measured import MeasuredStore
from orchestrator.telemetry.metrics import PrometheusObserver
from orchestrator.waiting import until_ready

ADMIN_TOKEN = "admin.token"  # noqa: S105 - the name of a file
SERVER_FILE = "server.json"
SECRET_KEY_FILE = "secret.key"  # noqa: S105 - likewise
CACHE_ITEMS = 10_000
OPEN_FILES = 65_536

log = logging.getLogger(__name__)


async def serve(settings: ServerSettings) -> None:
    """
    Serve until SIGTERM or SIGINT, then drain: take no more jobs, give those that run the time that the settings say,
    close the doors, leave processes running.

    They are attached again at the next start. A second signal leaves at once.
    """
    stop = _Stop(asyncio.current_task())
    drain = _Drain(timedelta(seconds=settings.drain_seconds))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.ask)
    try:
        # Opened and closed in this one task: that is where a failure of the engine is raised, and ends the server.
        async with open_server(settings, stages=drain.watching(STAGES)) as url:
            stop.starting = None
            log.info("ready", extra={"url": url, "pid": os.getpid()})
            if not settings.is_loopback:
                log.warning("others can reach this server: every request needs a token", extra={"host": settings.host})
            await stop.asked.wait()
            await drain.wait()
            log.info("leaving; what still runs goes on and is attached again at the next start")
    except asyncio.CancelledError:
        if stop.starting is None or not stop.asked.is_set():
            raise
        log.info("stopped before it was ready")


@dataclass(slots=True)
class _Stop:
    """The wish to end the server. `starting` is the task to break off while it has not opened yet."""

    starting: asyncio.Task[None] | None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        if self.asked.is_set():
            os._exit(130)
        self.asked.set()
        if self.starting is not None:
            self.starting.cancel()


@dataclass(slots=True)
class _Drain:
    """The wait for running jobs before the doors close. It learns from the stages, as they open, what to wait for."""

    limit: timedelta
    begun: bool = False
    dispatcher: Dispatcher | None = None

    def watching(self, stages: Stages) -> Stages:
        """The same stages; `/readyz` says when it drains."""

        @asynccontextmanager
        async def engine(
            settings: EngineSettings, store: Store, clock: Clock, observer: Observer
        ) -> AsyncIterator[Engine]:
            async with stages.engine(settings, store, clock, observer) as opened:
                self.dispatcher = opened.dispatcher
                yield opened

        def doors(context: ApiContext, host: str, port: int) -> AbstractAsyncContextManager[str]:
            return stages.doors(replace(context, readiness=self._telling(context.readiness)), host, port)

        return replace(stages, engine=engine, doors=doors)

    def _telling(self, readiness: Callable[[], Awaitable[Readiness]]) -> Callable[[], Awaitable[Readiness]]:
        async def tell() -> Readiness:
            found = await readiness()
            if not self.begun:
                return found
            return Readiness(ready=False, details={**found.details, "engine": "draining"})

        return tell

    async def wait(self) -> None:
        """Claim nothing more, and return when all jobs have ended here or the time is over."""
        self.begun = True
        if self.dispatcher is None or not self.limit:
            return
        self.dispatcher.stop_claiming()
        log.info("draining: no more jobs are taken", extra={"seconds": self.limit.total_seconds()})
        try:
            async with asyncio.timeout(self.limit.total_seconds()):
                await self.dispatcher.idle()
        except TimeoutError:
            log.warning("the time for draining is over, and jobs still run")


def raise_descriptor_limit() -> tuple[int, int]:
    """Allow ourselves as many open files as the system does, within reason; return the limit that was, for scripts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft, hard


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What a server is opened from, in this order, once `wait` has found the cache; it is closed in reverse."""

    wait: Callable[[ServerSettings], Awaitable[None]]
    store: Callable[[ServerSettings, Clock], AbstractAsyncContextManager[Store]]
    cache: Callable[[ServerSettings, Clock, PrometheusObserver], AbstractAsyncContextManager[Cache]]
    engine: Callable[[EngineSettings, Store, Clock, Observer], AbstractAsyncContextManager[Engine]]
    doors: Callable[[ApiContext, str, int], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def open_server(settings: ServerSettings, *, stages: Stages | None = None) -> AsyncIterator[str]:
    """
    Open everything and yield the base URL once requests are answered and what was running has been found again.

    Raises `UnavailableError`, naming the setting, where a backend that was asked for does not answer in time.
    """
    opened = stages or STAGES
    data_dir = make_private(settings.data_dir.absolute())
    drivers = {"mode": settings.mode, "store_driver": settings.store_driver, "cache_driver": settings.cache_driver}
    configure_logging(settings.log_level, format=settings.log_format, labels={**drivers, "version": __version__})
    log.info("starting", extra={"data_dir": str(data_dir), "default_executor": settings.executor})
    metrics = PrometheusObserver(version=__version__, **drivers, data_dir=data_dir)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        # Before the store: a start that fails for want of a cache must not leave a database behind.
        with _asked_for_by(settings, "valkey_url"):
            await opened.wait(settings)
        with _asked_for_by(settings, "database_url") if settings.store_driver == "postgres" else nullcontext():
            store = MeasuredStore(await stack.enter_async_context(opened.store(settings, clock)), metrics)
        with _asked_for_by(settings, "valkey_url"):
            cache = await stack.enter_async_context(opened.cache(settings, clock, metrics))
        wiring = _engine_settings(settings, data_dir)
        if wiring.shared:
            await register(wiring, store, clock)  # before its first claim: whoever has jobs can be inherited
        engine = await stack.enter_async_context(opened.engine(wiring, store, clock, metrics))
        await _look_for_keys(engine)
        enable_workflows(engine)
        events = await stack.enter_async_context(
            open_events(engine, allow=settings.allowed_outbound, deny=settings.denied_outbound)
        )
        await _first_access(engine, data_dir)
        if wiring.shared:
            await stack.enter_async_context(open_takeover(wiring, engine))
        context = _context(settings, engine, events.registrar, cache, metrics)
        url = await stack.enter_async_context(opened.doors(context, settings.host, settings.port))
        stack.callback(engine.feed.drain)
        stack.callback(engine.dispatcher.stop_claiming)
        stack.callback(events.scheduler.stop_firing)
        await engine.dispatcher.recovered.wait()
        write_private(data_dir / SERVER_FILE, json.dumps({"url": url, "pid": os.getpid(), "version": __version__}))
        stack.callback((data_dir / SERVER_FILE).unlink, missing_ok=True)
        yield url


@asynccontextmanager
async def open_store(settings: ServerSettings, clock: Clock) -> AsyncIterator[Store]:
    """The store that the settings name. Nobody else serves from the data directory meanwhile."""
    match settings.database:
        case SqliteDatabase(path=path):
            async with AsyncExitStack() as stack:
                if path != settings.data_dir / DATABASE_FILE:
                    stack.enter_context(hold_lock(settings.data_dir / DATABASE_FILE))
                yield await stack.enter_async_context(open_sqlite_store(path, clock=clock, exclusive=True))
        case PostgresDatabase(url=url):
            from orchestrator.stores.postgres import open_postgres_store

            patience = timedelta(seconds=settings.backend_timeout_seconds)
            async with reclaim_lock(settings.data_dir / DATABASE_FILE):
                opening = open_postgres_store(
                    url.reveal(), clock=clock, patience=patience, pool_size=settings.database_pool_size
                )
                async with opening as store:
                    yield store


async def wait_for_cache(settings: ServerSettings) -> None:
    """Return when the cache's server answers, where one is asked for. Raises `UnavailableError` (`cache_unavailable`)."""
    if settings.valkey_url is None:
        return
    from orchestrator.caches.valkey import open_valkey_cache

    url = settings.valkey_url.reveal()

    async def attempt() -> UnavailableError | None:
        try:
            async with open_valkey_cache(url, required=True):
                return None
        except UnavailableError as error:
            return error

    await until_ready(
        attempt,
        what=f"The cache at {settings.valkey_url}",
        code="cache_unavailable",
        limit_seconds=settings.backend_timeout_seconds,
    )


@asynccontextmanager
async def open_cache(settings: ServerSettings, clock: Clock, metrics: PrometheusObserver) -> AsyncIterator[Cache]:
    """The cache that the settings name. Its server was there a moment ago, and may go and come later."""
    memory = MemoryCache(clock, max_items=CACHE_ITEMS, on_drop=metrics.messages_dropped)
    if settings.valkey_url is None:
        yield memory
        return
    from orchestrator.caches.degrading import open_degrading_cache
    from orchestrator.caches.valkey import open_valkey_cache

    url = settings.valkey_url

    def connect() -> AbstractAsyncContextManager[Backing]:
        return open_valkey_cache(url.reveal(), required=False, on_drop=metrics.messages_dropped)

    async with open_degrading_cache(connect, memory, clock=clock, on_change=metrics.cache_changed) as cache:
        yield cache


@asynccontextmanager
async def _open_engine(
    settings: EngineSettings, store: Store, clock: Clock, observer: Observer
) -> AsyncIterator[Engine]:
    async with open_engine(settings, store, clock=clock, observer=observer) as engine:
        yield engine


@asynccontextmanager
async def _open_doors(context: ApiContext, host: str, port: int) -> AsyncIterator[str]:
    async with open_api_server(create_api(context), host, port) as url:
        yield url


STAGES = Stages(wait=wait_for_cache, store=open_store, cache=open_cache, engine=_open_engine, doors=_open_doors)


@contextmanager
def _asked_for_by(settings: ServerSettings, key: str) -> Iterator[None]:
    """Say which setting asks for the backend that is not there."""
    try:
        yield
    except UnavailableError as error:
        raise UnavailableError(
            f"{error.message} It is asked for by {key} ({settings.origin(key)}).", code=error.code
        ) from error


def _engine_settings(settings: ServerSettings, data_dir: Path) -> EngineSettings:
    return EngineSettings(
        state=data_dir,
        # Kept between starts: containers that still run have it mounted, by its inode.
        sockets=make_open(socket_root(data_dir, os.environ), "server"),
        queue="default",
        alone=True,  # the lock on the data directory says so
        shared=isinstance(settings.database, PostgresDatabase),
        tied=False,
        default_executor=settings.executor,
        slots=settings.slots,
        images=settings.images.by_language(),
        inherit=clean_environment(os.environ),
        nofile=raise_descriptor_limit(),
        docker_endpoint=settings.docker_endpoint,
        warm_containers=settings.warm_containers,
        registry_auth_file=settings.registry_auth_file,
        allowed_volumes=settings.volumes_allowed,
        package_cache_bytes=settings.package_cache_bytes,
        package_network=settings.package_network,
        package_scripts=settings.package_scripts,
        package_pip_config=settings.package_pip_config,
        package_npm_config=settings.package_npm_config,
        artifact_limits=ArtifactLimits(max_bytes=settings.artifact_max_bytes, max_files=settings.artifact_max_files),
        artifact_retention=timedelta(days=settings.artifact_retention_days),
        sealer=_sealer(settings, data_dir),
        log_limits=LogLimits(max_bytes=settings.log_max_bytes, max_lines=settings.log_max_lines),
        runtime_requests_per_minute=settings.runtime_rate_limit_per_minute if settings.rate_limit_enabled else None,
        patience=Patience(setup=timedelta(seconds=settings.setup_timeout_seconds), grace=settings.grace),
    )


def _sealer(settings: ServerSettings, data_dir: Path) -> Sealer:
    """What encrypts secrets: by the key that configuration gives, else by the one in the data directory."""
    from orchestrator.stores.key_ring import KeyFile, given_keys
    from orchestrator.stores.sealing import AesSealer

    if settings.encryption_key is not None:
        return AesSealer(given_keys(settings.encryption_key.get_secret_value()))
    return AesSealer(KeyFile(data_dir / SECRET_KEY_FILE, shared=isinstance(settings.database, PostgresDatabase)))


async def _look_for_keys(engine: Engine) -> None:
    """Say at once which keys of stored secrets are not here: jobs that need them fail, all others run."""
    missing = frozenset[str]() if engine.vault is None else await engine.vault.missing_keys()
    if missing:
        log.error(
            "the key of stored secrets is not here, and jobs that name them will fail: put it back, see docs/secrets.md",
            extra={"missing_keys": sorted(missing)},
        )


def _context(
    settings: ServerSettings, engine: Engine, registrar: Registrar, cache: Cache, metrics: PrometheusObserver
) -> ApiContext:
    return ApiContext(
        store=engine.store,
        clock=engine.clock,
        observer=metrics,
        submitter=engine.submitter,
        canceller=engine.canceller,
        registrar=registrar,
        requeuer=Requeuer(store=engine.store, clock=engine.clock, submitter=engine.submitter),
        feed=engine.feed,
        # Never on a server that others may write to: what lies here is taken for a token.
        cache=MemoryCache(engine.clock, max_items=CACHE_ITEMS),
        metrics_text=metrics.render,
        readiness=lambda: _readiness(engine, cache),
        limits=_limits(settings, engine, cache, metrics) if settings.rate_limit_enabled else None,
        shelf=engine.shelf,
        vault=engine.vault,
        metrics_public=settings.metrics_public,
    )


def _limits(settings: ServerSettings, engine: Engine, cache: Cache, metrics: PrometheusObserver) -> RequestLimits:
    own = settings.rate_limit_backend == "memory"
    return RequestLimits(
        cache=MemoryCache(engine.clock, max_items=CACHE_ITEMS) if own else cache,
        observer=metrics,
        requests=settings.rate_limit_per_minute,
        failed_logins=settings.rate_limit_failed_logins_per_minute,
    )


async def _first_access(engine: Engine, data_dir: Path) -> None:
    """At the first start, and when the last admin token is gone, make one and say where it is."""
    async with engine.store.read() as repos:  # a start on a full disk, with a token, comes up and waits for space
        has_admin = await repos.tokens.has_admin()
    if has_admin:
        if not (data_dir / ADMIN_TOKEN).exists():
            log.warning(
                "an admin token exists, and its file is not here: copy it from the first server's data directory",
                extra={"file": str(data_dir / ADMIN_TOKEN)},
            )
        return
    async with engine.store.begin() as repos:
        if await repos.tokens.has_admin():
            return  # another server was quicker
        value, digest = new_token()
        await repos.tokens.insert(
            Token(
                id=engine.submitter.new_id("tok"),
                name="admin",
                scope=Scope.ADMIN,
                digest=digest,
                created_at=engine.clock.now(),
            )
        )
        # Inside the transaction: a token that is stored and written nowhere would lock everybody out.
        write_private(data_dir / ADMIN_TOKEN, value + "\n")
    log.info("an admin token was made", extra={"file": str(data_dir / ADMIN_TOKEN)})


async def _readiness(engine: Engine, cache: Cache) -> Readiness:
    details: dict[str, Json] = {"store": "ok", "cache": cache.driver, "engine": "ok"}
    if cache.degraded:
        details["cache"] = f"memory, while {cache.driver} is away"
    if not engine.dispatcher.recovered.is_set():
        details["engine"] = "looking for what was running"
    try:
        await engine.store.check()
    except UnavailableError as error:
        details["store"] = error.code
    return Readiness(ready=details["store"] == details["engine"] == "ok", details=details)


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file so that readers see the old content or the new, never half."""
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise UnavailableError(f"{path} cannot be written: {error.strerror}. Make room or rights.") from error
