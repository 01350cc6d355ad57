"""The composition root of `cronium serve`: an engine, the doors for people around it, and the files that show the way in."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from orchestrator import __version__
from orchestrator.api.app import create_api
from orchestrator.api.context import ApiContext, Readiness
from orchestrator.api.server import open_api_server
from orchestrator.api.tokens import new_token
from orchestrator.app import Engine, EngineSettings, open_engine
from orchestrator.app_workflows import enable_workflows
from orchestrator.caches.memory import MemoryCache
from orchestrator.config import ServerSettings
from orchestrator.errors import UnavailableError
from orchestrator.jobs.logs import LogLimits
from orchestrator.jobs.run import Patience
from orchestrator.model.tokens import Scope, Token
from orchestrator.places import clean_environment, make_open, make_private, socket_root
from orchestrator.telemetry.clock import SystemClock
from orchestrator.telemetry.logging import configure_logging
from orchestrator.telemetry.metrics import PrometheusObserver

DATABASE = "cronium.db"
ADMIN_TOKEN = "admin.token"  # noqa: S105 - the name of a file
SERVER_FILE = "server.json"
CACHE_ITEMS = 10_000
OPEN_FILES = 65_536

log = logging.getLogger(__name__)


async def serve(settings: ServerSettings) -> None:
    """
    Serve until SIGTERM or SIGINT, then drain: take no more jobs, close the doors, leave processes running.

    They are attached again at the next start. A second signal leaves at once.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopped)
    async with open_server(settings) as url:
        log.info("ready", extra={"url": url, "pid": os.getpid()})
        if not settings.is_loopback:
            log.warning("others can reach this server: every request needs a token", extra={"host": settings.host})
        await stopped.wait()
        log.info("draining; running jobs go on and are attached again at the next start")


def _stop(stopped: asyncio.Event) -> None:
    if stopped.is_set():
        os._exit(130)
    stopped.set()


def raise_descriptor_limit() -> tuple[int, int]:
    """Allow ourselves as many open files as the system does, within reason; return the limit that was, for scripts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft, hard


@asynccontextmanager
async def open_server(settings: ServerSettings) -> AsyncIterator[str]:
    """Open everything and yield the base URL once requests are answered and what was running has been found again."""
    data_dir = make_private(settings.data_dir.absolute())
    labels = {"mode": settings.mode, "store_driver": "sqlite", "cache_driver": "memory", "version": __version__}
    configure_logging(settings.log_level, format=settings.log_format, labels=labels)
    log.info("starting", extra={"data_dir": str(data_dir), "default_executor": settings.executor})
    metrics = PrometheusObserver(version=__version__, mode=settings.mode, store_driver="sqlite", cache_driver="memory")
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_engine(_engine_settings(settings, data_dir), observer=metrics))
        enable_workflows(engine)
        await _first_access(engine, data_dir)
        context = ApiContext(
            store=engine.store,
            clock=engine.clock,
            observer=metrics,
            submitter=engine.submitter,
            canceller=engine.canceller,
            feed=engine.feed,
            cache=MemoryCache(SystemClock(), max_items=CACHE_ITEMS),
            metrics_text=metrics.render,
            readiness=lambda: _readiness(engine),
            metrics_public=settings.metrics_public,
        )
        await engine.dispatcher.recovered.wait()
        url = await stack.enter_async_context(open_api_server(create_api(context), settings.host, settings.port))
        stack.callback(engine.feed.drain)
        stack.callback(engine.dispatcher.stop_claiming)
        write_private(data_dir / SERVER_FILE, json.dumps({"url": url, "pid": os.getpid(), "version": __version__}))
        stack.callback((data_dir / SERVER_FILE).unlink, missing_ok=True)
        yield url


def _engine_settings(settings: ServerSettings, data_dir: Path) -> EngineSettings:
    return EngineSettings(
        state=data_dir,
        database=data_dir / DATABASE,
        # Kept between starts: containers that still run have it mounted, by its inode.
        sockets=make_open(socket_root(data_dir, os.environ), "server"),
        queue="default",
        alone=True,
        tied=False,
        default_executor=settings.executor,
        slots=settings.slots,
        images=settings.images.by_language(),
        inherit=clean_environment(os.environ),
        nofile=raise_descriptor_limit(),
        docker_endpoint=settings.docker_endpoint,
        log_limits=LogLimits(max_bytes=settings.log_max_bytes, max_lines=settings.log_max_lines),
        patience=Patience(setup=timedelta(seconds=settings.setup_timeout_seconds), grace=settings.grace),
    )


async def _first_access(engine: Engine, data_dir: Path) -> None:
    """At the first start, and when the last admin token is gone, make one and say where it is."""
    async with engine.store.begin() as repos:
        if await repos.tokens.has_admin():
            return
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


async def _readiness(engine: Engine) -> Readiness:
    try:
        await engine.store.check()
    except UnavailableError as error:
        return Readiness(ready=False, details={"store": str(error)})
    return Readiness(ready=True, details={"store": "ok", "cache": "memory"})


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file so that readers see the old content or the new, never half."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(temporary).replace(path)
