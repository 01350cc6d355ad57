"""What a job may see of the engine's machine, and its workspace on disk: what is allowed, and how it is mounted."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import aiohttp
from pydantic import BaseModel, Field

from orchestrator.contracts.executor import ProcessSpec
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.engine import Answer, Engine, explain
from orchestrator.executors.docker.leftovers import MAKER_LABEL
from orchestrator.executors.docker.mounts import OurFiles, own_containers
from orchestrator.executors.docker.settings import DockerSettings, Endpoint
from orchestrator.executors.docker.state import INSTALLATION_LABEL, Created
from orchestrator.model.jobs import Reason
from orchestrator.model.json import Json
from orchestrator.model.specs import Volume, Workspace

SETTING = "allowed_volumes"
# Of the machine: what says how it runs, and what the engine keeps there.
SYSTEM = ("/proc", "/sys", "/dev", "/boot", "/var/lib/docker", "/var/lib/containerd", "/run/containerd")
SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")
MAKER_SECONDS = 60.0

log = logging.getLogger(__name__)


class _Volume(BaseModel):
    """
    What the engine says of a volume. The options of one that is a directory of the machine name it; others have one of the
    engine's (`mountpoint`), under which our own container has its data.
    """

    mountpoint: str = Field("", alias="Mountpoint")
    options: dict[str, str] | None = Field(None, alias="Options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """
    What may be mounted: what lies at or below `allowed`, or is called so, but nothing that touches `closed` or would
    show `hidden`. `own` are those of `closed` that we are served from. `here`: the paths are those of this machine, and can
    be looked at.
    """

    allowed: Sequence[str]
    closed: Sequence[str]
    hidden: Sequence[str] = SOCKETS
    own: Sequence[str] = ()
    here: bool = True

    def path(self, source: str) -> str:
        """The path to mount, without links where they can be seen. Raises `StartFailedError` (`invalid`)."""
        wanted = self._resolved(source)
        if not any(_is_below(wanted, self._resolved(place)) for place in self.allowed if place.startswith("/")):
            raise _invalid(_not_allowed(source, wanted))
        self.check(source, wanted)
        if self.here and not Path(wanted).exists():
            raise _invalid(f"The volume {source} is not there: make the directory, or correct the path.")
        return wanted

    def check(self, source: str, wanted: str) -> None:
        """Raises `StartFailedError` for what no setting can allow."""
        shown = [place for place in self.hidden if _is_below(place, wanted)]
        self._refuse(source, [*_touched(self.closed, wanted), *shown])

    def check_volume(self, name: str, mountpoint: str) -> None:
        """The same for a volume that the engine keeps: among its files, which are closed, it may hold those of others."""
        self._refuse(name, _touched(self.own, mountpoint))

    def _refuse(self, source: str, places: Sequence[str]) -> None:
        if places:
            raise _invalid(
                f"The volume {source} is refused, whatever {SETTING} says: no job may see {places[0]}, what is in it, or "
                "what it is in."
            )

    def _resolved(self, path: str) -> str:
        return str(Path(path).resolve()) if self.here else str(PurePosixPath(path))


class Volumes:
    """Turns the volumes of a job into mounts."""

    def __init__(self, engine: Engine, settings: DockerSettings) -> None:
        self._engine, self._settings = engine, settings

    async def mounts(self, volumes: Sequence[Volume], ours: OurFiles) -> tuple[Json, ...]:
        """
        The mounts, read-only all.

        Raises `StartFailedError` (`invalid`) for what is not there or not allowed, naming the setting.
        """
        if not volumes:
            return ()
        rules = await self._rules(ours)
        return tuple([await self._mount(volume, rules) for volume in volumes])

    async def _rules(self, ours: OurFiles) -> Rules:
        """The engine's paths are looked at here only where its machine is certainly ours."""
        socket = self._engine.endpoint.socket
        here = socket is not None and not own_containers()
        places = [place for place in (self._settings.data_directory, self._settings.socket_directory) if place]
        own = [await ours.place_of(place) for place in places]
        closed = [*SYSTEM, *own]
        hidden = [*SOCKETS, *([socket] if socket else [])]
        return Rules(
            allowed=self._settings.allowed_volumes,
            closed=[*closed, *(_real(closed) if here else ())],
            hidden=[*hidden, *(_real(hidden) if here else ())],
            own=[*own, *(_real(own) if here else ())],
            here=here,
        )

    async def _mount(self, volume: Volume, rules: Rules) -> Json:
        if volume.source.startswith("/"):
            source = rules.path(volume.source)
            # Without what is mounted below: the engine would leave that writable.
            how: dict[str, Json] = {"Type": "bind", "BindOptions": {"NonRecursive": True, "Propagation": "rprivate"}}
        else:
            source = await self._named(volume.source, rules)
            how = {"Type": "volume", "VolumeOptions": {"NoCopy": True}}
        return {**how, "Source": source, "Target": volume.target, "ReadOnly": True}

    async def _named(self, name: str, rules: Rules) -> str:
        """Looked up before: the engine would make one of that name."""
        if name not in rules.allowed:
            raise _invalid(_not_allowed(name, name))
        answer = await self._engine.call("GET", f"/volumes/{name}")
        if answer.status == 404:
            raise _invalid(f"There is no volume {name} on the Docker engine: make it (docker volume create {name}).")
        if not answer.ok:
            raise UnavailableError(f"The Docker engine cannot say what the volume {name} is: {answer.message}")
        volume = _Volume.model_validate_json(answer.body)
        device = (volume.options or {}).get("device", "")
        if device.startswith("/"):
            rules.check(name, device)
        if volume.mountpoint:
            rules.check_volume(name, volume.mountpoint)
        return name


class Workspaces:
    """
    Makes workspaces on disk.

    A new volume belongs to root, and nothing in the job's container may change that. So it is made with a container
    that is never started, the engine itself writes whose it is, and the job's container takes it over. It has no name:
    it goes with the last container that has it.
    """

    def __init__(self, engine: Engine, settings: DockerSettings) -> None:
        self._engine, self._settings = engine, settings

    async def create(self, spec: ProcessSpec, send: Callable[[str | None], Awaitable[Answer]]) -> Answer:
        """Make the job's container with `send`, which is told from which container to take the workspace, if any."""
        if spec.workspace is not Workspace.VOLUME:
            return await send(None)
        answer = await self._make(spec)
        if not answer.ok:
            return answer
        maker, taken = Created.model_validate_json(answer.body).id, False
        try:
            await give_workspace(self._engine.endpoint, maker, self._settings.user)
            taken = True  # perhaps: where the engine does not answer, nobody knows
            answer = await send(maker)
            taken = answer.ok
        finally:
            await self._discard(maker, taken=taken)
        return answer

    async def _make(self, spec: ProcessSpec) -> Answer:
        label: dict[str, Json] = {INSTALLATION_LABEL: self._settings.installation}
        volume: Json = {"Type": "volume", "Target": "/workspace", "VolumeOptions": {"Labels": label}}
        body: Json = {
            "Image": spec.image,
            "Entrypoint": ["/never/started"],
            "Labels": {**label, MAKER_LABEL: "workspace"},
            "HostConfig": {"NetworkMode": "none", "Mounts": [volume]},
        }
        seconds = self._settings.start_timeout_seconds
        return await self._engine.call("POST", "/containers/create", body=body, seconds=seconds)

    async def _discard(self, maker: str, *, taken: bool) -> None:
        """With its volume where no other container has taken that: an engine does not look for one that has not started."""
        try:
            await self._engine.call("DELETE", f"/containers/{maker}", query={} if taken else {"v": "1"})
        except UnavailableError as error:
            log.info("a container is left for the sweep", extra={"container": maker, "error": error.message})


async def give_workspace(endpoint: Endpoint, maker: str, user: str) -> None:
    """Have the engine make the workspace of a container that is not started the user's own."""
    connector = aiohttp.UnixConnector(endpoint.socket) if endpoint.socket else aiohttp.TCPConnector()
    limit = aiohttp.ClientTimeout(total=MAKER_SECONDS)
    url = f"{endpoint.url}/containers/{maker}/archive"
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as session,
            session.put(url, params={"path": "/"}, data=_workspace_entry(user)) as response,
        ):
            if response.status >= 400:
                raise UnavailableError(f"The Docker engine could not make a workspace: {await response.text()}")
    except (aiohttp.ClientError, OSError) as error:
        raise UnavailableError(explain(endpoint, error, MAKER_SECONDS)) from error


def _workspace_entry(user: str) -> bytes:
    """A tar archive of one directory: the workspace, the user's own."""
    uid, _, gid = user.partition(":")
    entry = tarfile.TarInfo("workspace")
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o700, int(uid), int(gid or uid)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(entry)
    return made.getvalue()


def _real(paths: Sequence[str]) -> list[str]:
    return [str(Path(path).resolve()) for path in paths]


def _touched(places: Sequence[str], wanted: str) -> list[str]:
    return [place for place in places if _is_below(wanted, place) or _is_below(place, wanted)]


def _is_below(path: str, place: str) -> bool:
    """Whether `path` is `place` or lies in it."""
    return PurePosixPath(path).is_relative_to(place)


def _not_allowed(source: str, wanted: str) -> str:
    means = f" (which is {wanted})" if wanted != source else ""
    return (
        f"The volume {source}{means} is not allowed here: an operator can allow it, or a directory above it, with the "
        f"setting {SETTING} (CRONIUM_ALLOWED_VOLUMES)."
    )


def _invalid(message: str) -> StartFailedError:
    return StartFailedError(message, reason=Reason.INVALID)
