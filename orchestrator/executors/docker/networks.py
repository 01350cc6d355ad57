"""Which network a job is on: none, the engine's bridge, one that leads nowhere and is ours, or one that an operator made."""

from __future__ import annotations

import asyncio
import logging
import secrets
from datetime import datetime

from pydantic import BaseModel, Field, TypeAdapter

from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.engine import Engine, filters
from orchestrator.executors.docker.state import INSTALLATION_LABEL, Created
from orchestrator.model.jobs import Reason
from orchestrator.model.json import Json

NONE, BRIDGE, INTERNAL, HOST, OF_CONTAINER = "none", "bridge", "internal", "host", "container:"
INTERNAL_PREFIX = "cronium-internal-"
LEAVE_SECONDS = 5.0
# Nothing is routed out of it, the containers on it do not reach each other, and the machine has no address on it.
OPTIONS = {
    "com.docker.network.bridge.enable_icc": "false",
    "com.docker.network.bridge.inhibit_ipv4": "true",
}

log = logging.getLogger(__name__)


class Network(BaseModel):
    """What the engine says of a network. `created` decides which of two with one name is used."""

    id: str = Field(alias="Id")
    name: str = Field(alias="Name")
    driver: str = Field("", alias="Driver")
    created: datetime = Field(alias="Created")
    labels: dict[str, str] | None = Field(None, alias="Labels")

    @property
    def installation(self) -> str | None:
        return (self.labels or {}).get(INSTALLATION_LABEL)


NETWORKS = TypeAdapter(list[Network])


class Networks:
    """Finds the network of a job, and makes the installation's own when a job first asks for it."""

    def __init__(self, engine: Engine, installation: str) -> None:
        self._engine, self._installation = engine, installation
        self._name = f"{INTERNAL_PREFIX}{installation}"
        self._making = asyncio.Lock()
        self._used: str | None = None

    async def place(self, network: str) -> str:
        """
        What to tell the engine for the network of a job; asked again for each attempt.

        Raises `StartFailedError` (`invalid`) for one that is not there or that no job may be on, `UnavailableError`
        where the engine does not say.
        """
        if network in (NONE, BRIDGE):
            return network
        if network == HOST or network.startswith(OF_CONTAINER):
            raise _invalid(
                f"network: {network} is refused: a job on the network of the machine, or of another container, is not "
                f"isolated. {await self._choices()}"
            )
        if network == INTERNAL:
            return await self._own()
        return await self._named(network)

    async def leave(self) -> None:
        """Remove our network where this process used it and no container does now. Others of ours may make it again."""
        used, self._used = self._used, None
        if used is None:
            return
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                if not await has_containers(self._engine, used):
                    await remove_network(self._engine, used)
        except (UnavailableError, TimeoutError) as error:
            log.info("a network is left for the sweep", extra={"network": used, "error": str(error)})

    async def _named(self, name: str) -> str:
        answer = await self._engine.call("GET", f"/networks/{name}")
        if answer.status == 404:
            raise _invalid(f"There is no network {name} on the Docker engine. {await self._choices()}")
        if not answer.ok:
            raise UnavailableError(f"The Docker engine cannot say what the network {name} is: {answer.message}")
        found = Network.model_validate_json(answer.body)
        if found.name != name or found.driver == HOST:  # an id, or the beginning of one, is understood too
            raise _invalid(f"network: {name} is refused: name a network by its name. {await self._choices()}")
        if found.name.startswith(INTERNAL_PREFIX) or found.installation is not None:
            raise _invalid(f"The network {name} is Cronium's own: ask for it with `network: internal`.")
        return name

    async def _choices(self) -> str:
        names = sorted(
            network.name
            for network in await self._list()
            if network.name not in (NONE, BRIDGE, HOST) and network.installation is None
        )
        there = f", or one of {', '.join(names)}" if names else ", or one that `docker network create` made"
        return f"Say none, internal, bridge{there}."

    async def _own(self) -> str:
        """The id of our network. It is looked for each time: it may have been removed, and others of ours make it too."""
        async with self._making:
            ours = await self._ours()
            if not ours:
                made = await self._make()
                ours = await self._ours()
                if ours and ours[0].id != made:  # another was quicker: all take the first, and this one has no user yet
                    await remove_network(self._engine, made)
            if not ours:
                raise UnavailableError("The network of `network: internal` was removed just as it was made.")
            self._used = ours[0].id
            return self._used

    async def _make(self) -> str:
        """The end of the name is random: an engine lets two networks have one name, and then no job can be on either."""
        body: Json = {
            "Name": f"{self._name}-{secrets.token_hex(4)}",
            "Driver": "bridge",
            "Internal": True,
            "Options": dict(OPTIONS),
            "Labels": {INSTALLATION_LABEL: self._installation},
        }
        answer = await self._engine.call("POST", "/networks/create", body=body)
        if not answer.ok:
            raise UnavailableError(
                f"The Docker engine could not make the network of `network: internal`: {answer.message} Where it has "
                "no addresses left, remove networks that nobody needs (docker network ls)."
            )
        return Created.model_validate_json(answer.body).id

    async def _ours(self) -> list[Network]:
        """The oldest first."""
        found = await networks_of(self._engine, self._installation)
        ours = [network for network in found if network.name.startswith(self._name)]
        return sorted(ours, key=lambda network: (network.created, network.id))

    async def _list(self) -> list[Network]:
        return await _networks(self._engine, {})


async def networks_of(engine: Engine, installation: str) -> list[Network]:
    """The networks with the installation's label."""
    return await _networks(engine, {"label": [f"{INSTALLATION_LABEL}={installation}"]})


async def has_containers(engine: Engine, network: str) -> bool:
    """Whether a container is on a network, or will be when it is started."""
    query = {"all": "1", "limit": "1", "filters": filters(network=[network])}
    answer = await engine.call("GET", "/containers/json", query=query)
    if not answer.ok:
        raise UnavailableError(f"The Docker engine could not list its containers: {answer.message}")
    return answer.body.strip() not in (b"[]", b"null")


async def remove_network(engine: Engine, network: str) -> bool:
    """Whether it is gone. One that somebody uses stays."""
    answer = await engine.call("DELETE", f"/networks/{network}")
    if not answer.ok and answer.status != 404:
        log.info("a network stays", extra={"network": network, "error": answer.message})
        return False
    return True


async def _networks(engine: Engine, wanted: dict[str, list[str]]) -> list[Network]:
    answer = await engine.call("GET", "/networks", query={"filters": filters(**wanted)})
    if not answer.ok:
        raise UnavailableError(f"The Docker engine could not list its networks: {answer.message}")
    return NETWORKS.validate_json(answer.body)


def _invalid(message: str) -> StartFailedError:
    return StartFailedError(message, reason=Reason.INVALID)
