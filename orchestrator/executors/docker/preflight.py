"""Before a container is started: does the image have the command and the working directory?"""

from __future__ import annotations

import base64
import os
from datetime import datetime
from pathlib import PurePosixPath

from cachetools import LRUCache
from pydantic import BaseModel

from orchestrator.contracts.executor import ProcessSpec
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.container import FILES, OWN_PLACES
from orchestrator.executors.docker.engine import Engine
from orchestrator.executors.docker.state import Container
from orchestrator.model.jobs import Reason

KERNEL_PLACES = ("/proc", "/sys", "/dev")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SYMLINK = 1 << 27  # of Go's FileMode
DIRECTORY = 1 << 31
EXECUTABLE = 0o111


class _Stat(BaseModel):
    mode: int
    mtime: datetime


class Preflight:
    """
    Looks into a container that was made and not started.

    The init process in the container would find a missing command only after the start, and say so with exit status
    127, as a script may itself. Looking costs some 2 ms; what was found is remembered per image and command.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._found: LRUCache[tuple[str, str, str, str | None], bool] = LRUCache(maxsize=1024)

    async def check(self, spec: ProcessSpec, container: str, image: str | None = None) -> None:
        """
        Raises `StartFailedError` (`invalid`) naming the image and what it lacks. `image` is its id, where the caller
        knows it: what its name stood for when it was looked into may be another one by now.
        """
        command = spec.argv[0]
        key = (image or spec.image or "", command, spec.workdir, spec.env.get("PATH"))
        if key in self._found:
            return
        made = await self._inspect(container)
        await self._check_workdir(spec, made)
        await self._check_command(spec, made)
        if not command.startswith(f"{FILES}/"):  # that is another file in each attempt
            self._found[key] = True

    async def _check_command(self, spec: ProcessSpec, made: Container) -> None:
        command = spec.argv[0]
        refused = False
        for path in _candidates(command, spec.workdir, made.config.env or []):
            stat = await self._stat(made.id, path)
            if stat is None:
                continue
            if stat.mode & SYMLINK or (stat.mode & EXECUTABLE and not stat.mode & DIRECTORY):
                return
            refused = True
        if refused:
            raise _invalid(f"{command} is in the image {spec.image}, but it is not a program that may be executed.")
        raise _invalid(f"The image {spec.image} has no {command}: name an image that has it (`image`).")

    async def _check_workdir(self, spec: ProcessSpec, made: Container) -> None:
        """The engine makes a working directory that the image lacks: then it is not older than the container."""
        workdir = PurePosixPath(spec.workdir)
        if any(workdir.is_relative_to(place) for place in OWN_PLACES):
            return
        stat = await self._stat(made.id, spec.workdir)
        if stat is None or stat.mtime >= made.created:
            raise _invalid(
                f"The image {spec.image} has no directory {spec.workdir}: name one that it has (`workdir`), or leave "
                "it out to work in /workspace."
            )

    async def _inspect(self, container: str) -> Container:
        answer = await self._engine.call("GET", f"/containers/{container}/json")
        if not answer.ok:
            raise _invalid(f"The container vanished before it was started: {answer.message}")
        return Container.model_validate_json(answer.body)

    async def _stat(self, container: str, path: str) -> _Stat | None:
        answer = await self._engine.call("HEAD", f"/containers/{container}/archive", query={"path": path})
        if answer.status == 404:
            return None
        if not answer.ok:
            raise UnavailableError(f"The Docker engine could not look for {path} in the container ({answer.status}).")
        return _Stat.model_validate_json(base64.b64decode(answer.headers["x-docker-container-path-stat"]))


def check_workdir(spec: ProcessSpec) -> None:
    """
    Raises `StartFailedError` (`invalid`) for a working directory of the kernel's.

    One in /proc is resolved by the runtime, which had descriptors open that lead out of the container (CVE-2024-21626).
    """
    place = PurePosixPath(os.path.normpath(spec.workdir))
    if any(place.is_relative_to(kernel) for kernel in KERNEL_PLACES):
        raise _invalid(f"workdir: {spec.workdir} is the kernel's and no place to work in: name another directory.")


def _candidates(command: str, workdir: str, env: list[str]) -> list[str]:
    """Where execvp(3) would look."""
    if "/" in command:
        return [str(PurePosixPath(workdir) / command)]
    search = next((entry.removeprefix("PATH=") for entry in env if entry.startswith("PATH=")), DEFAULT_PATH)
    return [str(PurePosixPath(workdir) / (directory or ".") / command) for directory in search.split(":")]


def _invalid(message: str) -> StartFailedError:
    return StartFailedError(message, reason=Reason.INVALID)
