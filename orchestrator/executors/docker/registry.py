"""Image references, which registry they are of, and what logs in there."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Protocol

DOCKER_HUB = "docker.io"
DOCKER_HUB_KEY = "https://index.docker.io/v1/"  # what Docker's own file calls it
HUB_NAMES = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
SHORTEST_SECRET = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAuth:
    """What logs in at `registry`: a name and a password, or a token that stands for both. Its `repr` has neither."""

    registry: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def header(self) -> str:
        """The value of `X-Registry-Auth`: JSON in base64 for URLs, as the engine's API wants it."""
        said = {"serveraddress": self.registry}
        if self.identity_token:
            said["identitytoken"] = self.identity_token
        else:
            said |= {"username": self.username, "password": self.password}
        return base64.urlsafe_b64encode(json.dumps(said).encode()).decode("ascii")

    def hide(self, words: str) -> str:
        """`words` without what is secret here: a registry may repeat what it was sent."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
        for secret in (self.header, pair, self.password, self.identity_token):
            if len(secret) >= SHORTEST_SECRET:
                words = words.replace(secret, "***")
        return words.replace(f"account={self.username}", "account=***") if self.username else words


class Credentials(Protocol):
    """Where it is known what logs in at which registry. Asked before each pull, so that it may change at any time."""

    async def credentials_for(self, registry: str) -> RegistryAuth | None:
        """
        None: nothing is known for `registry` (`docker.io`, `host`, `host:port`), and it is asked without.

        Raises `StartFailedError` (`image_unavailable`) where it cannot be found out; the message has no secret.
        """
        ...


class NoCredentials:
    """Every registry is asked as anybody."""

    async def credentials_for(self, registry: str) -> RegistryAuth | None:
        return None


def registry_of(image: str) -> str:
    """
    The registry of a reference: what stands before the first slash, where it can be the name of a host.

    That is Docker's own rule: it has a dot or a colon, or is `localhost`.
    """
    host, slash, _ = image.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        return DOCKER_HUB
    return DOCKER_HUB if host in HUB_NAMES else host


def split_reference(image: str) -> tuple[str, str | None]:
    """Split off the tag; `latest` where there is none, for without one the engine would fetch them all."""
    if "@" in image:
        return image, None
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        return image, "latest"
    return name, tag


def repository_of(image: str) -> str:
    """The reference without tag and digest."""
    return split_reference(image.partition("@")[0])[0]
