"""The images of jobs: fetched as the job's policy says, and which one a container was made of."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, Field

from orchestrator.contracts.executor import ProcessSpec, Setup
from orchestrator.errors import UnavailableError
from orchestrator.executors.docker.auth_file import AuthFile
from orchestrator.executors.docker.engine import Engine
from orchestrator.executors.docker.pulls import Pulls
from orchestrator.executors.docker.refusals import never_pulled
from orchestrator.executors.docker.registry import Credentials, NoCredentials, repository_of
from orchestrator.executors.docker.settings import DockerSettings
from orchestrator.model.json import Json
from orchestrator.model.specs import PullPolicy

REMEMBERED = 1024
LOCAL_SECONDS = 60.0  # how long an image that no registry has a digest of is taken for one
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class _Made(BaseModel):
    image: str = Field(alias="Image")


class _Image(BaseModel):
    digests: list[str] | None = Field(None, alias="RepoDigests")


class Images:
    """The images of one engine. Pulls of the same image are joined, see `Pulls`."""

    def __init__(self, engine: Engine, settings: DockerSettings) -> None:
        self._engine, self._clock = engine, settings.clock
        file = settings.registry_auth_file
        credentials: Credentials = NoCredentials() if file is None else AuthFile(file)
        self._pulls = Pulls(engine, credentials, settings.clock, idle_seconds=settings.pull_idle_seconds)
        self._digests: dict[tuple[str, str], str] = {}
        self._local: dict[tuple[str, str], float] = {}  # those without one, and until when that is believed
        self._known: dict[str, str] = {}  # which image each name stood for

    async def pull(self, spec: ProcessSpec, image: str, setup: Setup, *, missing: bool = False) -> None:
        """
        Fetch `image`, telling `setup` how it goes, where the job's policy allows it: `missing` says that there is none.

        Raises `StartFailedError` (`image_unavailable`), `UnavailableError` when the engine is away.
        """
        if spec.pull is PullPolicy.NEVER:
            raise never_pulled(image)
        await self._pulls.pull(image, setup, missing=missing)
        self._local.clear()

    async def record(self, image: str, container: str, setup: Setup) -> bool:
        """
        Put the fact `image` into the job's journal: `name`, `id`, and `digest` (`repository@sha256:...`, null for an
        image that never was in a registry).

        The container itself is asked, before it is started: the name may stand for another image a minute later. That
        costs less than a millisecond. Returns whether the name stood for another image the last time.
        """
        answer = await self._engine.call("GET", f"/containers/{container}/json")
        if not answer.ok:  # removed already: whoever starts it says so
            return False
        made = _Made.model_validate_json(answer.body).image
        fact: dict[str, Json] = {"name": image, "id": made, "digest": await self._digest(image, made)}
        setup.record("image", fact)
        before = self._known.get(image, made)
        _remember(self._known, image, made)
        return before != made

    async def _digest(self, image: str, made: str) -> str | None:
        """Remembered where there is one; an image that has none, as one that was built here, may get one when it is pushed."""
        key = (made, image)
        if key not in self._digests:
            if self._local.get(key, 0.0) > self._clock.monotonic():
                return None
            answer = await self._engine.call("GET", f"/images/{made}/json")
            if answer.status >= 500:
                raise UnavailableError(f"The Docker engine could not say what {image} is: {answer.message}")
            digests = _Image.model_validate_json(answer.body).digests or [] if answer.ok else []
            found = digest_for(image, digests)
            if found is None:
                _remember(self._local, key, self._clock.monotonic() + LOCAL_SECONDS)
                return None
            _remember(self._digests, key, found)
        return self._digests[key]


def _remember(known: dict[KeyT, ValueT], key: KeyT, value: ValueT) -> None:
    if len(known) >= REMEMBERED:
        known.clear()
    known[key] = value


def digest_for(image: str, digests: list[str]) -> str | None:
    """Of the names that registries have for an image, the one that the job used, else any: they are all the same."""
    if image in digests:
        return image
    own = [digest for digest in digests if digest.partition("@")[0] == repository_of(image)]
    return next(iter(own or digests), None)
