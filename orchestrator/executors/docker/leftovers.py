"""What carries the installation's label on the engine and nobody needs: found, named with age and size, removed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import assert_never

from pydantic import BaseModel, Field, TypeAdapter

from orchestrator.errors import UnavailableError
from orchestrator.executors.docker.engine import Answer, Engine, filters, open_engine
from orchestrator.executors.docker.networks import networks_of, remove_network
from orchestrator.executors.docker.process import remove_container
from orchestrator.executors.docker.settings import find_endpoint
from orchestrator.executors.docker.state import INSTALLATION_LABEL

MAKER_LABEL = "cronium.maker"  # of containers that something was made with: what they have may be another's by now
CALL_SECONDS = 30.0
SIZES_SECONDS = 300.0  # the engine counts the bytes of every container and volume

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What the engine keeps, in the order in which it can be removed."""

    CONTAINER = "container"
    VOLUME = "volume"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One thing that can go. `made_at` and `size_bytes` are None where the engine does not say; `note` is for people."""

    kind: Kind
    id: str
    name: str
    made_at: datetime | None = None
    size_bytes: int | None = None
    note: str = ""
    is_maker: bool = False


class _Container(BaseModel):
    id: str = Field(alias="Id")
    names: list[str] | None = Field(None, alias="Names")
    created: int = Field(alias="Created")
    status: str = Field("", alias="Status")
    size: int | None = Field(None, alias="SizeRw")
    labels: dict[str, str] | None = Field(None, alias="Labels")

    @property
    def name(self) -> str:
        return (self.names or [self.id[:12]])[0].removeprefix("/")

    def as_leftover(self) -> Leftover:
        return Leftover(
            kind=Kind.CONTAINER,
            id=self.id,
            name=self.name,
            made_at=datetime.fromtimestamp(self.created, UTC),
            size_bytes=self.size or 0,
            note=self.status,
            is_maker=MAKER_LABEL in (self.labels or {}),
        )


class _Usage(BaseModel):
    size: int = Field(-1, alias="Size")  # -1: not known


class _Volume(BaseModel):
    name: str = Field(alias="Name")
    created: datetime | None = Field(None, alias="CreatedAt")
    usage: _Usage | None = Field(None, alias="UsageData")


class _Volumes(BaseModel):
    """Both of a list of volumes and of what takes place on the disk."""

    found: list[_Volume] | None = Field(None, alias="Volumes")


CONTAINERS = TypeAdapter(list[_Container])


async def find_leftovers(engine: Engine, installation: str, keep: frozenset[str]) -> list[Leftover]:
    """
    Everything of the installation but the containers named in `keep` and what they have. Nothing is changed.

    A volume or network goes when every container that has it goes; one that somebody else's container has stays.
    """
    query = {"all": "1", "size": "1", "filters": _label(installation)}
    answer = await _asked(engine, "/containers/json", "containers", query, seconds=SIZES_SECONDS)
    going = [found for found in CONTAINERS.validate_json(answer.body) if found.name not in keep]
    rest = await _unused(engine, installation, going=frozenset(found.id for found in going))
    return [*(found.as_leftover() for found in going), *await _with_sizes(engine, rest)]


async def remove_leftovers(engine: Engine, found: Iterable[Leftover]) -> list[Leftover]:
    """Remove what was found, containers first; return what is gone. What somebody uses by now stays."""
    order = list(Kind)
    return [left for left in sorted(found, key=lambda left: order.index(left.kind)) if await _remove(engine, left)]


async def sweep_makers(engine: Engine, installation: str) -> None:
    """Remove the containers that only something was made with, without what they have. To be called before others go."""
    query = {"all": "1", "filters": filters(label=[f"{INSTALLATION_LABEL}={installation}", MAKER_LABEL])}
    answer = await _asked(engine, "/containers/json", "containers", query)
    await remove_leftovers(engine, [found.as_leftover() for found in CONTAINERS.validate_json(answer.body)])


async def sweep_unused(engine: Engine, installation: str) -> list[str]:
    """Remove the installation's volumes and networks that no container has; return their names."""
    unused = await _unused(engine, installation, going=frozenset())
    return [left.name for left in await remove_leftovers(engine, unused)]


async def leftovers_at(endpoint: str | None, installation: str, keep: frozenset[str]) -> list[Leftover]:
    """`find_leftovers` on an engine that is opened for it."""
    async with open_engine(find_endpoint(endpoint), CALL_SECONDS) as engine:
        return await find_leftovers(engine, installation, keep)


async def remove_at(endpoint: str | None, found: Iterable[Leftover]) -> list[Leftover]:
    """`remove_leftovers` on an engine that is opened for it."""
    async with open_engine(find_endpoint(endpoint), CALL_SECONDS) as engine:
        return await remove_leftovers(engine, found)


async def _unused(engine: Engine, installation: str, *, going: frozenset[str]) -> list[Leftover]:
    """The volumes and networks that no container has but those `going`."""
    answer = await _asked(engine, "/volumes", "volumes", {"filters": _label(installation)})
    volumes = [
        Leftover(kind=Kind.VOLUME, id=found.name, name=found.name, made_at=found.created)
        for found in _Volumes.model_validate_json(answer.body).found or []
        if await _users(engine, "volume", found.name) <= going
    ]
    networks = [
        Leftover(kind=Kind.NETWORK, id=found.id, name=found.name, made_at=found.created, size_bytes=0)
        for found in await networks_of(engine, installation)
        if await _users(engine, "network", found.id) <= going
    ]
    return [*volumes, *networks]


async def _users(engine: Engine, kind: str, name: str) -> frozenset[str]:
    """The ids of the containers, started or not, that have a volume or are on a network."""
    query = {"all": "1", "filters": filters(**{kind: [name]})}
    answer = await _asked(engine, "/containers/json", "containers", query)
    return frozenset(found.id for found in CONTAINERS.validate_json(answer.body))


async def _with_sizes(engine: Engine, rest: Sequence[Leftover]) -> list[Leftover]:
    """How large volumes are is only told together with everything else on the disk: asked where there are some."""
    if not any(left.kind is Kind.VOLUME for left in rest):
        return list(rest)
    answer = await _asked(engine, "/system/df", "disk space", {"type": "volume"}, seconds=SIZES_SECONDS)
    used = {volume.name: volume.usage for volume in _Volumes.model_validate_json(answer.body).found or []}
    return [replace(left, size_bytes=_size(used.get(left.name), left.size_bytes)) for left in rest]


def _size(usage: _Usage | None, known: int | None) -> int | None:
    return known if usage is None or usage.size < 0 else usage.size


async def _remove(engine: Engine, left: Leftover) -> bool:
    """Whether it is gone. One that cannot be removed must not keep the others."""
    try:
        match left.kind:
            case Kind.CONTAINER if left.is_maker:
                answer = await engine.call("DELETE", f"/containers/{left.id}")
                return answer.ok or answer.status == 404
            case Kind.CONTAINER:
                await remove_container(engine, left.id)
                return True
            case Kind.NETWORK:
                return await remove_network(engine, left.id)
            case Kind.VOLUME:
                answer = await engine.call("DELETE", f"/volumes/{left.name}")
                return answer.ok or answer.status == 404
            case never:
                assert_never(never)
    except UnavailableError as error:
        log.warning("left for later", extra={"kind": left.kind, "leftover": left.name, "error": error.message})
        return False


async def _asked(
    engine: Engine, path: str, what: str, query: Mapping[str, str], *, seconds: float = CALL_SECONDS
) -> Answer:
    answer = await engine.call("GET", path, query=query, seconds=seconds)
    if not answer.ok:
        raise UnavailableError(f"The Docker engine could not list its {what}: {answer.message}")
    return answer


def _label(installation: str) -> str:
    return filters(label=[f"{INSTALLATION_LABEL}={installation}"])
