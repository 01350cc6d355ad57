"""Credentials of registries from a file of Docker's own format (`config.json`), read anew for each pull."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from orchestrator.errors import StartFailedError
from orchestrator.executors.docker.credential_program import ask_program
from orchestrator.executors.docker.registry import DOCKER_HUB, DOCKER_HUB_KEY, HUB_NAMES, RegistryAuth
from orchestrator.model.jobs import Reason

ValueT = TypeVar("ValueT")

MAX_BYTES = 1024 * 1024
SCHEME = re.compile(r"^https?://")
TOKEN_USER = "<token>"  # noqa: S105 - how the programs say that the secret is a token


class _Entry(BaseModel):
    auth: str = ""
    username: str = ""
    password: str = ""
    identity_token: str = Field("", alias="identitytoken")


class _File(BaseModel):
    auths: dict[str, _Entry] = Field(default_factory=dict)
    programs: dict[str, str] = Field(default_factory=dict, alias="credHelpers")
    program: str = Field("", alias="credsStore")


class AuthFile:
    """The credentials in a file as `docker login` writes it. It is read for each pull, so that it may be replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def credentials_for(self, registry: str) -> RegistryAuth | None:
        """As `Credentials` says. Programs that the file names (`credHelpers`, `credsStore`) are asked."""
        said = await asyncio.to_thread(self._read)
        program = _of(said.programs, registry) or said.program
        if program:
            key = DOCKER_HUB_KEY if registry == DOCKER_HUB else registry
            found = await ask_program(program, key)
            if found is not None:
                return _auth(registry, found.username, found.secret)
        entry = _of(said.auths, registry)
        return None if entry is None else self._auth_of(registry, entry)

    def _read(self) -> _File:
        """No message may hold a piece of the content: neither pydantic's nor the decoder's own is used."""
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise _unreadable(f"The credentials in {self._path} cannot be read: {error.strerror}.") from error
        if len(content) > MAX_BYTES:
            raise _unreadable(f"{self._path} is larger than 1 MiB: this is no file of credentials.")
        try:
            return _File.model_validate_json(content)
        except ValidationError:
            raise _unreadable(f"{self._path} is not what docker login writes (JSON with `auths`).") from None

    def _auth_of(self, registry: str, entry: _Entry) -> RegistryAuth | None:
        username, password = entry.username, entry.password
        if entry.auth:
            try:
                pair = base64.b64decode(entry.auth, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                pair = ""
            username, colon, password = pair.partition(":")
            if not colon:
                raise _unreadable(f"`auth` of {registry} in {self._path} is not NAME:PASSWORD in base64.")
            password = password.strip("\0")
        if entry.identity_token:
            return RegistryAuth(registry=_address(registry), identity_token=entry.identity_token, username=username)
        if not username:  # docker leaves an empty entry where a program has the credentials
            return None
        return RegistryAuth(registry=_address(registry), username=username, password=password)


def _auth(registry: str, username: str, secret: str) -> RegistryAuth:
    if username == TOKEN_USER:
        return RegistryAuth(registry=_address(registry), identity_token=secret)
    return RegistryAuth(registry=_address(registry), username=username, password=secret)


def _address(registry: str) -> str:
    return DOCKER_HUB_KEY if registry == DOCKER_HUB else registry


def _of(entries: Mapping[str, ValueT], registry: str) -> ValueT | None:
    """What is said of `registry`: under its own name, else under a URL of it, as older versions wrote."""
    names = (DOCKER_HUB_KEY, *HUB_NAMES) if registry == DOCKER_HUB else (registry,)
    exact = next((entries[name] for name in names if name in entries), None)
    if exact is not None:
        return exact
    return next((value for key, value in entries.items() if _host_in(key) in names), None)


def _host_in(key: str) -> str:
    return SCHEME.sub("", key).partition("/")[0]


def _unreadable(message: str) -> StartFailedError:
    return StartFailedError(
        f"{message} `registry_auth_file` names it, for images that are pulled: put a file there that is.",
        reason=Reason.IMAGE_UNAVAILABLE,
    )
