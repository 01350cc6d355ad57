"""Installing packages: in a container of the job's image, locked down like a job's, with a network and without the job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from orchestrator.contracts.executor import Exit, ProcessSpec
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.container import PACKAGES, TMP, Sources, container_body
from orchestrator.executors.docker.engine import Answer, Engine
from orchestrator.executors.docker.package_words import Said, meaning, own_words, resolved_of
from orchestrator.executors.docker.process import DockerProcess, inspect, remove_container
from orchestrator.executors.docker.refusals import advised
from orchestrator.executors.docker.settings import DockerSettings
from orchestrator.executors.docker.state import Created
from orchestrator.executors.docker.tied import Tie
from orchestrator.model.jobs import Reason
from orchestrator.model.json import Json
from orchestrator.model.logs import Cursor
from orchestrator.model.specs import Language, Limits

log = logging.getLogger(__name__)

LIMITS = Limits(memory_bytes=1024 * 1024 * 1024, pids=256, cpus=1.0)
CONFIG = "/config"
CONFIG_FILES = {Language.PYTHON: "pip.conf", Language.NODE: "npmrc"}
CONFIG_VARIABLES = {Language.PYTHON: "PIP_CONFIG_FILE", Language.NODE: "NPM_CONFIG_USERCONFIG"}
PROGRAMS = {Language.PYTHON: "pip_install.py", Language.NODE: "npm_install.cjs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    What is to be installed. `name` is the container's; `image` the image's id, `image_name` what the job calls it;
    `requires` the script's `requires-python`; `config` whether there is a file of the operator's to be mounted; `tied` that
    it ends with this process.
    """

    name: str
    language: Language
    requirements: Sequence[str]
    image: str
    image_name: str
    requires: str
    network: str
    scripts: bool
    config: bool
    tied: bool

    @property
    def text(self) -> str:
        return ", ".join(self.requirements) or f"Python {self.requires}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The engine's names of the directory to install into, and of the one that holds the operator's file."""

    tree: str
    config: str | None


async def install(
    engine: Engine, settings: DockerSettings, order: Order, places: Places, tie: Tie, say: Callable[[str], None]
) -> Mapping[str, str]:
    """
    Install, and return what was: versions by name. Nothing of the container is left, whatever happens; of a tied
    order also when this process is killed.

    Raises `StartFailedError` with pip's or npm's own words, `UnavailableError` when the engine does not answer.
    """
    said = Said(say)
    try:
        container = await _create(engine, settings, order, _body(order, settings, places))
        if order.tied:
            await tie.hold(container)
        exit_ = await _run(engine, settings, order, container, said)
    finally:
        # Cancelled, too: it must not go on writing into a directory that is being removed.
        await asyncio.shield(asyncio.ensure_future(_removed(engine, order.name)))
    if exit_.code == 0 and said.result is not None:
        return resolved_of(said.result)
    for line in said.last:
        say(line)
    raise _failure(order, said, exit_)


async def _removed(engine: Engine, name: str) -> None:
    try:
        await remove_container(engine, name)
    except UnavailableError as error:
        log.warning("a container is left for the sweep", extra={"container": name, "error": error.message})


async def _run(engine: Engine, settings: DockerSettings, order: Order, container: str, said: Said) -> Exit:
    answer = await engine.call("POST", f"/containers/{container}/start", seconds=settings.start_timeout_seconds)
    if not answer.ok:
        raise _refused(order, answer)
    process = DockerProcess(engine, settings.clock, name=order.name, container=container)
    async with aclosing(process.output(Cursor())) as chunks:
        async for chunk in chunks:
            said.take(chunk.stream, chunk.data)
    said.end()
    return await process.wait()


async def _create(engine: Engine, settings: DockerSettings, order: Order, body: Json) -> str:
    """Who installs has the entry's lock: a container with this name is one that a dead server has left."""
    query, seconds = {"name": order.name}, settings.start_timeout_seconds
    answer = await engine.call("POST", "/containers/create", query=query, body=body, seconds=seconds)
    if answer.status == 409:
        found = await inspect(engine, order.name)
        if found is not None and found.installation == settings.installation:
            await remove_container(engine, found.id)
        answer = await engine.call("POST", "/containers/create", query=query, body=body, seconds=seconds)
    if not answer.ok:
        raise _refused(order, answer)
    return Created.model_validate_json(answer.body).id


def _body(order: Order, settings: DockerSettings, places: Places) -> Json:
    """A job's container in all that locks it down, and nothing of a job in it."""
    spec = ProcessSpec(
        name=order.name,
        directory=Path("/"),
        argv=_command(order),
        env=_environment(order),
        workdir=TMP,
        limits=LIMITS,
        image=order.image,
        network=order.network,
        labels={"installs": order.name},
    )
    body = container_body(spec, settings, Sources(files="", sockets=""))
    host = body.get("HostConfig") if isinstance(body, dict) else None
    if isinstance(host, dict):
        # Wheels are unpacked here: on disk, not in memory. A volume begins with the image's directory and its mode.
        mounts: list[Json] = [{"Type": "volume", "Target": TMP}]
        mounts.append({"Type": "bind", "Source": places.tree, "Target": PACKAGES, "ReadOnly": False})
        if places.config is not None:
            mounts.append({"Type": "bind", "Source": places.config, "Target": CONFIG, "ReadOnly": True})
        host |= {"Mounts": mounts, "Tmpfs": {}}
    return body


def _command(order: Order) -> list[str]:
    program = Path(__file__).with_name(PROGRAMS[order.language]).read_text(encoding="utf-8")
    scripts = "1" if order.scripts else "0"
    if order.language is Language.NODE:
        return ["node", "-e", program, "--", PACKAGES, scripts, *order.requirements]
    return ["python3", "-I", "-c", program, order.requires, PACKAGES, scripts, *order.requirements]


def _environment(order: Order) -> dict[str, str]:
    env = {"HOME": TMP, "TMPDIR": TMP, "LANG": "C.UTF-8"}
    if order.config:
        env[CONFIG_VARIABLES[order.language]] = f"{CONFIG}/{CONFIG_FILES[order.language]}"
    return env


def _failure(order: Order, said: Said, exit_: Exit) -> StartFailedError:
    if said.python is not None:
        return StartFailedError(
            f"The script asks for Python {order.requires} (requires-python), and the image {order.image_name} has "
            f"{said.python}: name an image that has such a Python (`image`).",
            reason=Reason.INVALID,
        )
    what = f"The packages {order.text} could not be installed in the image {order.image_name}"
    if exit_.reason is Reason.OUT_OF_MEMORY:
        mib = LIMITS.memory_bytes // 1024**2
        return StartFailedError(
            f"{what}: that took more than {mib} MiB of memory. Use an image that has them.", reason=Reason.LIMIT
        )
    if exit_.reason is Reason.LOST:
        return StartFailedError(
            f"{what}: somebody removed or stopped the container that did it ({order.name}). Run the job again.",
            reason=Reason.HOST_UNREACHABLE,
        )
    reason, advice = meaning(said.last, order.language, order.network)
    return StartFailedError(f"{what}: {own_words(said.last)}. {advice}", reason=reason)


def _refused(order: Order, answer: Answer) -> StartFailedError | UnavailableError:
    words = answer.message.rstrip(".")
    what = f"The container that installs {order.text} cannot be started (image {order.image_name}"
    if answer.status == 404 and "network" in words.lower():
        return StartFailedError(
            f"{what}): {words}. Name a network that the engine has (package_network).", reason=Reason.INVALID
        )
    if answer.status < 500 and answer.status != 409:
        return StartFailedError(f"{what}): {words}. Name an image that has what is needed.", reason=Reason.INVALID)
    return UnavailableError(f"{what}): {advised(answer.message)}")
