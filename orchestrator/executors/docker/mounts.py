"""Where our files are for the engine: in a container of its own, the orchestrator has other names for them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, Field

from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.engine import Engine
from orchestrator.model.jobs import Reason

MOUNTS = Path("/proc/self/mountinfo")
MADE_BY_ENGINE = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
WHOLE_ID = re.compile(r"/([0-9a-f]{64})/")
SHORT_ID = re.compile(r"[0-9a-f]{12}")


class _Mount(BaseModel):
    """One of `Mounts`. `source` is a path of the engine's machine, for a volume too; empty for one in memory."""

    destination: str = Field(alias="Destination")
    source: str = Field("", alias="Source")


class _HostConfig(BaseModel):
    tmpfs: dict[str, str] | None = Field(None, alias="Tmpfs")


class _Self(BaseModel):
    """What `GET /containers/{id}/json` says of the container that we are in."""

    mounts: list[_Mount] = Field(default_factory=list, alias="Mounts")
    host_config: _HostConfig | None = Field(None, alias="HostConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounts:
    """What is mounted where in our container, by our names: the engine's name for it, None for what it cannot mount."""

    sources: Mapping[PurePosixPath, str | None]

    def find(self, path: PurePosixPath) -> str | None:
        """The engine's name for `path`; None where it has none. The innermost mount is the one that is seen."""
        for place in (path, *path.parents):
            if place in self.sources:
                source = self.sources[place]
                return None if source is None else str(PurePosixPath(source) / path.relative_to(place))
        return None


class OurFiles:
    """
    Translates paths of ours into paths of the engine's machine.

    The engine itself is asked which container is ours and what is mounted in it, once. On an engine that does not know
    our container, or when we are in none, the names are the same.
    """

    def __init__(self, engine: Engine, candidates: tuple[str, ...] | None = None) -> None:
        self._engine = engine
        self._candidates = own_containers() if candidates is None else candidates
        self._mounts: Mounts | None = None
        self._asked = not self._candidates

    async def place_of(self, path: Path) -> str:
        """
        Raises `StartFailedError` (`invalid`) for a path that the engine cannot mount, `UnavailableError` where it does
        not answer.
        """
        if not self._asked:
            self._mounts = await self._ask()
            self._asked = True
        if self._mounts is None:
            return str(path)
        found = self._mounts.find(_real(path))
        if found is None:
            raise StartFailedError(
                f"The Docker engine cannot mount {path} into a job: it is not on a volume of the container that "
                f"Cronium runs in. Mount a volume, or a directory of the host, at {path} or above it.",
                reason=Reason.INVALID,
            )
        return found

    async def _ask(self) -> Mounts | None:
        for candidate in self._candidates:
            answer = await self._engine.call("GET", f"/containers/{candidate}/json")
            if answer.status == 404:
                continue
            if not answer.ok:
                raise UnavailableError(
                    f"The Docker engine cannot say what is mounted in our own container: {answer.message}"
                )
            return _mounts_of(_Self.model_validate_json(answer.body))
        return None


def _mounts_of(own: _Self) -> Mounts:
    """A destination may lead through links of the image (/var/run): both sides are compared without them."""
    in_memory = (own.host_config.tmpfs if own.host_config else None) or {}
    sources: dict[str, str | None] = dict.fromkeys(in_memory)
    sources.update({mount.destination: mount.source or None for mount in own.mounts})
    return Mounts(sources={_real(place): source for place, source in sources.items()})


def _real(path: str | Path) -> PurePosixPath:
    return PurePosixPath(os.path.realpath(path))


def own_containers() -> tuple[str, ...]:
    """
    Names under which an engine may know the container that we are in; none on a machine without one.

    Engines mount files of their own, from directories named after the container. The host name, which is the beginning
    of the id unless somebody chose another, is the second guess.
    """
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    host = socket.gethostname()
    guesses = [*containers_in(lines), *([host] if SHORT_ID.fullmatch(host) else [])]
    return tuple(dict.fromkeys(guesses))


def containers_in(lines: list[str]) -> list[str]:
    """The ids in the lines of a mountinfo (proc(5)): in the root, field 4, of what engines mount, field 5."""
    fields = [line.split(" ") for line in lines]
    roots = [entry[3] for entry in fields if len(entry) > 4 and entry[4] in MADE_BY_ENGINE]
    return [found[-1] for root in roots if (found := WHOLE_ID.findall(root))]
