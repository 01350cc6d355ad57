"""The engine's HTTP API: bounded calls, open streams, its version; every failure in words that say what to do."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from orchestrator.errors import UnavailableError
from orchestrator.executors.docker.settings import Endpoint
from orchestrator.model.json import Json

OLDEST = (1, 41)  # the oldest API that is tested
NEWEST = (1, 51)
CONNECT_SECONDS = 10.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024


class Version(BaseModel):
    """What `GET /version` says."""

    version: str = Field(alias="Version")
    api: str = Field(alias="ApiVersion")
    oldest_api: str = Field("1.12", alias="MinAPIVersion")


class _Refusal(BaseModel):
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. `headers` have lower-case names."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def message(self) -> str:
        """The engine's own words for a refusal."""
        try:
            return _Refusal.model_validate_json(self.body).message.strip()
        except ValidationError:
            return self.body.decode("utf-8", "replace").strip() or f"HTTP status {self.status}"


class Engine:
    """
    One engine. Every method raises `UnavailableError` when it does not answer, and only then.

    The version of the API is agreed on with the first call, and again after the engine could not be reached: it may
    have been replaced.
    """

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, call_seconds: float) -> None:
        self.endpoint = endpoint
        self._session, self._call_seconds = session, call_seconds
        self._prefix: str | None = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json = None,
        seconds: float | None = None,
    ) -> Answer:
        """Ask and read the whole answer within `seconds` (None: the configured time)."""
        limit = seconds or self._call_seconds
        url = f"{self.endpoint.url}{await self._agreed()}{path}"
        try:
            async with (
                asyncio.timeout(limit),
                self._session.request(method, url, params=query, json=body) as response,
            ):
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(status=response.status, body=await self._whole(response), headers=headers)
        except (aiohttp.ClientError, OSError) as error:
            raise self._away(error, limit) from error

    async def _whole(self, response: aiohttp.ClientResponse) -> bytes:
        """The body, within reason: what a command in a container prints comes this way, too."""
        parts, size = [], 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise UnavailableError(f"{self.endpoint.text} sends an answer that is longer than any should be.")
            parts.append(part)
        return b"".join(parts)

    async def open(self, method: str, path: str, *, query: Mapping[str, str] | None = None) -> aiohttp.ClientResponse:
        """
        Ask, and return with the answer's body still to be read (`read`). The caller closes the response.

        Only the wait for the head of the answer is bounded.
        """
        url = f"{self.endpoint.url}{await self._agreed()}{path}"
        try:
            async with asyncio.timeout(self._call_seconds):
                return await self._session.request(method, url, params=query)
        except (aiohttp.ClientError, OSError) as error:
            raise self._away(error, self._call_seconds) from error

    async def read(self, response: aiohttp.ClientResponse, seconds: float) -> bytes | None:
        """Return the next bytes of an open response, b"" at its end, None when none came for `seconds`."""
        waiting = asyncio.timeout(seconds)
        try:
            async with waiting:
                return await response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            if waiting.expired():
                return None
            raise self._away(error, seconds) from error

    async def version(self, seconds: float) -> Version:
        """Ask which engine this is. Raises `UnavailableError` also for one that is too old or too new."""
        try:
            async with asyncio.timeout(seconds), self._session.get(f"{self.endpoint.url}/version") as response:
                found = Version.model_validate_json(await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise self._away(error, seconds) from error
        except ValidationError as error:
            raise UnavailableError(
                f"What answers at {self.endpoint.text} is not a Docker engine: check docker_endpoint or DOCKER_HOST."
            ) from error
        self._prefix = self._agree(found)
        return found

    async def _agreed(self) -> str:
        if self._prefix is None:
            await self.version(self._call_seconds)
        return self._prefix or ""

    def _agree(self, found: Version) -> str:
        theirs, their_oldest = _number(found.api), _number(found.oldest_api)
        if theirs < OLDEST:
            raise UnavailableError(
                f"The Docker engine at {self.endpoint.text} is {found.version} (API {found.api}): too old, 20.10 "
                "(API 1.41) or later is needed."
            )
        if their_oldest > NEWEST:
            raise UnavailableError(
                f"The Docker engine at {self.endpoint.text} is {found.version} and wants API {found.oldest_api} or "
                "later, which this Cronium does not speak: upgrade Cronium."
            )
        return "/v{}.{}".format(*min(NEWEST, theirs))

    def _away(self, error: Exception, seconds: float) -> UnavailableError:
        self._prefix = None
        return UnavailableError(explain(self.endpoint, error, seconds))


def explain(endpoint: Endpoint, error: Exception, seconds: float) -> str:
    """Say why the engine cannot be talked to, and what to do."""
    if isinstance(error, TimeoutError):
        return (
            f"The Docker engine at {endpoint.text} did not answer within {seconds:g} s: look at its log "
            "(journalctl -u docker), restart it if it hangs."
        )
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT:
        return f"There is no Docker engine at {endpoint.text}: start Docker, or name another engine (DOCKER_HOST)."
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"This account may not use the Docker engine at {endpoint.text}: add it to the group that owns the "
            "socket (usermod -aG docker USER, then log in again)."
        )
    if number == errno.ECONNREFUSED:
        return f"Nothing listens at {endpoint.text}: start Docker (systemctl start docker), or set DOCKER_HOST."
    return f"The connection to the Docker engine at {endpoint.text} failed: {str(error) or type(error).__name__}."


@asynccontextmanager
async def open_engine(endpoint: Endpoint, call_seconds: float) -> AsyncIterator[Engine]:
    """Make the client. Nothing is sent before the first call; leaving the block ends every open stream."""
    # limit=0: every stream holds a connection, and a hundred-and-first would wait for ever.
    connector = (
        aiohttp.UnixConnector(endpoint.socket, limit=0)
        if endpoint.socket is not None
        else aiohttp.TCPConnector(limit=0)
    )
    unbounded = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=unbounded) as session:
        yield Engine(session, endpoint, call_seconds)


def _number(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def filters(**wanted: list[str]) -> str:
    """The value of a `filters` parameter."""
    return json.dumps(wanted)
