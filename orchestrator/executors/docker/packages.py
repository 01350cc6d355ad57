"""A job's packages: installed once for an image and a set of requirements, kept, mounted read-only into its jobs."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter

from orchestrator.contracts.executor import ProcessSpec, Setup
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.container import PACKAGES
from orchestrator.executors.docker.engine import Engine, filters
from orchestrator.executors.docker.images import Images
from orchestrator.executors.docker.mounts import OurFiles
from orchestrator.executors.docker.package_cache import Facts, Lock, PackageCache, Staged, size_of
from orchestrator.executors.docker.package_install import CONFIG_FILES, Order, Places, install
from orchestrator.executors.docker.preflight import DEFAULT_PATH
from orchestrator.executors.docker.settings import DockerSettings, PackageSettings
from orchestrator.executors.docker.state import INSTALLATION_LABEL
from orchestrator.executors.docker.tied import Tie
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Language, PullPolicy

log = logging.getLogger(__name__)

FORMAT = 1  # of an entry: another number makes every entry another
LABEL = "packages"
CONTAINER = "cronium-packages-"
LOOK_AGAIN_SECONDS = 0.1
MEASURE_SECONDS = 2.0
TRIES = 5
MIB = 1024 * 1024


class _Image(BaseModel):
    class _Config(BaseModel):
        env: list[str] | None = Field(None, alias="Env")

    id: str = Field(alias="Id")
    config: _Config | None = Field(None, alias="Config")

    @property
    def path(self) -> str:
        """Where the image looks for programs."""
        env = (self.config.env if self.config else None) or []
        return next((entry.removeprefix("PATH=") for entry in env if entry.startswith("PATH=")), DEFAULT_PATH)


class _Labelled(BaseModel):
    labels: dict[str, str] | None = Field(None, alias="Labels")


LABELLED = TypeAdapter(list[_Labelled])


@dataclass(slots=True)
class _Installing:
    """An installation that jobs wait for. What it says is told to each of them."""

    setups: list[Setup] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def say(self, text: str) -> None:
        for setup in self.setups:
            setup.say(text)


class Packages:
    """
    The packages of one installation of Cronium on one engine.

    An entry of the cache belongs to an image (by its id), a language and a set of requirements. Jobs that need the
    same one wait for one installation; it ends when the last of them is cancelled. Other processes that work with
    the same directory are kept apart by the locks of the cache.
    """

    def __init__(self, engine: Engine, settings: DockerSettings, ours: OurFiles, images: Images, tie: Tie) -> None:
        self._engine, self._settings, self._ours, self._images, self._tie = engine, settings, ours, images, tie
        self._rules = settings.packages
        self._cache = None if self._rules is None else PackageCache(self._rules.directory)
        self._installing: dict[str, _Installing] = {}

    @asynccontextmanager
    async def ready(self, spec: ProcessSpec, setup: Setup, requires: str = "") -> AsyncIterator[ProcessSpec]:
        """
        The specification of a job that finds its packages: they stay until the block is left, and after that as long
        as there is a container made from it.

        `requires` is what the script says of Python's version. Raises as `Executor.start` does.
        """
        if not spec.packages and not requires:
            yield spec
            return
        if self._rules is None or self._cache is None:
            raise _invalid("This wiring keeps no packages: use an image that has them (`image`).")
        image = await self._image(spec, setup)
        order = await self._order(spec, image, requires, self._rules)
        key = order.name.removeprefix(CONTAINER)
        lock, facts = await self._held(order, key, self._cache, self._rules, setup)
        try:
            if spec.packages:
                setup.record(LABEL, dict(facts.resolved))
            yield _finding(spec, key, image.path)
        finally:
            self._cache.leave(key, lock)

    async def place(self, spec: ProcessSpec) -> str | None:
        """The engine's name for the packages of a specification that `ready` has given; None where it has none."""
        key = spec.labels.get(LABEL)
        return None if key is None or self._cache is None else await self._ours.place_of(self._cache.tree(key))

    def is_installing(self, container: str) -> bool:
        """Whether this container installs for somebody who is alive: then it is no leftover."""
        if self._cache is None or not container.startswith(CONTAINER):
            return False
        return self._cache.is_locked(container.removeprefix(CONTAINER))

    async def sweep(self) -> None:
        """Remove what dead processes have begun."""
        if self._cache is not None:
            await asyncio.to_thread(self._cache.sweep)

    async def _image(self, spec: ProcessSpec, setup: Setup) -> _Image:
        """The image that the name stands for now, fetched where the job wants that."""
        name = spec.image
        if name is None:
            raise _invalid("The job names no image and there is no default for its language: name one (`image`).")
        if spec.pull is PullPolicy.ALWAYS:
            await self._images.pull(spec, name, setup)
        found = await self._look(name)
        if found is None:
            await self._images.pull(spec, name, setup, missing=True)
            found = await self._look(name)
        if found is None:
            raise StartFailedError(f"The image {name} is gone again.", reason=Reason.IMAGE_UNAVAILABLE)
        return found

    async def _look(self, name: str) -> _Image | None:
        answer = await self._engine.call("GET", f"/images/{name}/json")
        if answer.ok:
            return _Image.model_validate_json(answer.body)
        if answer.status == 404:
            return None
        raise UnavailableError(f"The Docker engine cannot say what {name} is: {answer.message}")

    async def _order(self, spec: ProcessSpec, image: _Image, requires: str, rules: PackageSettings) -> Order:
        requirements = tuple(sorted({requirement.strip() for requirement in spec.packages}))
        config = await asyncio.to_thread(_config_of, rules, spec.language)
        parts = (
            FORMAT,
            self._settings.installation,  # on one engine, two of them must not call their containers the same
            image.id,
            spec.language.value,
            requirements,
            requires,
            rules.scripts,
            hashlib.sha256(config or b"").hexdigest(),
        )
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        return Order(
            name=f"{CONTAINER}{key}",
            language=spec.language,
            requirements=requirements,
            image=image.id,
            image_name=spec.image or image.id,
            requires=requires,
            network=rules.network,
            scripts=rules.scripts,
            config=config is not None,
            tied=spec.tied,
        )

    async def _held(
        self, order: Order, key: str, cache: PackageCache, rules: PackageSettings, setup: Setup
    ) -> tuple[Lock, Facts]:
        """The whole entry, installed where it is not there, under a lock that keeps it."""
        for _ in range(TRIES):
            try:
                held = _found(cache, key)
            except OSError as error:
                raise _disk(error, rules) from error
            if held is not None:
                return held
            await self._join(order, key, cache, rules, setup)
        raise StartFailedError(
            f"The packages {order.text} are removed as soon as they are installed: give them more room "
            "(package_cache_bytes).",
            reason=Reason.LIMIT,
        )

    async def _join(self, order: Order, key: str, cache: PackageCache, rules: PackageSettings, setup: Setup) -> None:
        """Wait for the installation, beginning it where nobody has; who is the last to give up ends it."""
        found = self._installing.get(key)
        if found is None:
            found = self._installing[key] = _Installing()
            found.task = asyncio.ensure_future(self._install(order, key, cache, rules, found.say))
        found.setups.append(setup)
        task = found.task
        try:
            if task is not None:
                await asyncio.shield(task)
        finally:
            found.setups.remove(setup)
            if not found.setups:
                self._installing.pop(key, None)
                if task is not None and not task.done():
                    await _ended(task)

    async def _install(
        self, order: Order, key: str, cache: PackageCache, rules: PackageSettings, say: Callable[[str], None]
    ) -> None:
        while (lock := cache.lock(key)) is None:  # noqa: ASYNC110 - another process installs or is about to mount them
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        try:
            if cache.find(key) is None:
                await self._make(order, key, cache, rules, say)
        except OSError as error:
            raise _disk(error, rules) from error
        finally:
            lock.release()

    async def _make(
        self, order: Order, key: str, cache: PackageCache, rules: PackageSettings, say: Callable[[str], None]
    ) -> None:
        if order.requirements:
            say(f"Installing {order.text} in the image {order.image_name}.")
        begun = time.monotonic()
        staged = cache.stage(key)
        try:
            resolved = await self._fill(staged, order, rules, say)
            facts = {
                "language": order.language.value,
                "image": order.image_name,
                "requirements": list(order.requirements),
                "resolved": resolved,
            }
            await _whole(asyncio.to_thread(cache.publish, staged, facts))
        finally:
            await _whole(asyncio.to_thread(cache.discard, staged))
        if order.requirements:
            say(f"Installed {_listed(resolved)} in {time.monotonic() - begun:.1f} s.")
        await self._shrink(cache, rules)

    async def _fill(
        self, staged: Staged, order: Order, rules: PackageSettings, say: Callable[[str], None]
    ) -> Mapping[str, str]:
        """Install into the staged entry, and give up when it outgrows the whole cache."""
        config = await asyncio.to_thread(_lay_config, rules, order.language, staged.directory)
        places = Places(
            tree=await self._ours.place_of(staged.tree),
            config=None if config is None else await self._ours.place_of(config),
        )
        installing = asyncio.ensure_future(install(self._engine, self._settings, order, places, self._tie, say))
        try:
            while not (await asyncio.wait({installing}, timeout=MEASURE_SECONDS))[0]:
                _check_size(await asyncio.to_thread(size_of, staged.tree), order, rules)
            resolved = installing.result()
            _check_size(await asyncio.to_thread(size_of, staged.tree), order, rules)
        finally:
            await _ended(installing)
            if config is not None:
                await asyncio.to_thread(_take_config, config)
        return resolved

    async def _shrink(self, cache: PackageCache, rules: PackageSettings) -> None:
        """
        Make room, and remove what dead processes have begun: commands do not sweep when they start. What a container has
        mounted stays, running or not: it may be started yet.
        """
        as_of = time.time()
        try:
            used = await self._mounted()
        except UnavailableError as error:
            log.info("the package cache is not looked through", extra={"error": error.message})
            return
        try:
            await asyncio.to_thread(cache.shrink, rules.cache_bytes, used, as_of=as_of)
            await asyncio.to_thread(cache.sweep)
        except OSError as error:  # what was installed is there all the same
            log.warning("the package cache was not made smaller", extra={"error": str(error)})

    async def _mounted(self) -> frozenset[str]:
        wanted = filters(label=[f"{INSTALLATION_LABEL}={self._settings.installation}", f"cronium.{LABEL}"])
        answer = await self._engine.call("GET", "/containers/json", query={"all": "1", "filters": wanted})
        if not answer.ok:
            raise UnavailableError(f"The Docker engine could not list its containers: {answer.message}")
        found = LABELLED.validate_json(answer.body)
        return frozenset((one.labels or {}).get(f"cronium.{LABEL}", "") for one in found)


def _found(cache: PackageCache, key: str) -> tuple[Lock, Facts] | None:
    """The whole entry, if there is one, under a lock that keeps it."""
    lock = cache.lock(key, shared=True)
    if lock is None:
        return None
    try:
        if (facts := cache.find(key)) is not None:
            cache.touch(key)
            return lock, facts
    except BaseException:
        lock.release()
        raise
    lock.release()
    return None


async def _whole(work: Awaitable[None]) -> None:
    """Cancelled, wait for it all the same: a thread goes on, and what it writes must not appear later."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _ended(task: asyncio.Future[Any]) -> None:
    """Cancel it, and wait until it has cleaned up. What it raises then is nobody's any more."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _finding(spec: ProcessSpec, key: str, image_path: str) -> ProcessSpec:
    """
    The same process, with the packages where its language looks: behind the SDK, before what the job itself names.

    Their programs come first on PATH, as in a virtual environment, unless the job has a PATH of its own.
    """
    env = dict(spec.env)
    if spec.language is Language.NODE:
        _insert(env, "NODE_PATH", f"{PACKAGES}/node_modules")
        programs = f"{PACKAGES}/node_modules/.bin"
    else:
        _insert(env, "PYTHONPATH", PACKAGES)
        programs = f"{PACKAGES}/bin"
    env.setdefault("PATH", f"{programs}:{image_path}")
    # Fetched already, where the job wants it fetched: another image now would not be the one they are for.
    pull_ = PullPolicy.MISSING if spec.pull is PullPolicy.ALWAYS else spec.pull
    return replace(spec, env=env, labels={**spec.labels, LABEL: key}, pull=pull_)


def _insert(env: dict[str, str], name: str, value: str) -> None:
    first, *rest = env.get(name, "").split(":")
    env[name] = ":".join(part for part in (first, value, *rest) if part)


def _config_of(rules: PackageSettings, language: Language) -> bytes | None:
    """The operator's settings of pip or npm. Raises `StartFailedError` where they cannot be read."""
    path = rules.npm_config if language is Language.NODE else rules.pip_config
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        key = "package_npm_config" if language is Language.NODE else "package_pip_config"
        raise _invalid(f"{path} ({key}) cannot be read: {error.strerror}. Correct the setting, or the file.") from error


def _lay_config(rules: PackageSettings, language: Language, directory: Path) -> Path | None:
    """A copy that the container's user can read; it may hold a token, so it is only there while it is needed."""
    text = _config_of(rules, language)
    if text is None:
        return None
    place = directory / "config"
    place.mkdir(mode=0o755)
    file = place / CONFIG_FILES[language]
    file.write_bytes(text)
    file.chmod(0o444)
    return place


def _take_config(place: Path) -> None:
    for file in place.iterdir():
        file.unlink()
    place.rmdir()


def _listed(resolved: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name} {version}" for name, version in list(resolved.items())[:20])
    more = len(resolved) - 20
    return f"{shown} and {more} more" if more > 0 else shown or "nothing"


def _check_size(size: int, order: Order, rules: PackageSettings) -> None:
    if size > rules.cache_bytes:
        raise StartFailedError(
            f"The packages {order.text} take more than the {rules.cache_bytes // MIB} MiB that all packages together may "
            "(package_cache_bytes): allow more, or use an image that has them.",
            reason=Reason.LIMIT,
        )


def _disk(error: OSError, rules: PackageSettings) -> StartFailedError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        words = "the disk is full: free some, or keep fewer packages (package_cache_bytes)"
    else:
        words = error.strerror or type(error).__name__
    return StartFailedError(f"Packages cannot be kept in {rules.directory}: {words}.", reason=Reason.LIMIT)


def _invalid(message: str) -> StartFailedError:
    return StartFailedError(message, reason=Reason.INVALID)
