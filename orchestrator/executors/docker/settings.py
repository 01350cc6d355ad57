"""What the docker executor is told, and where the engine is."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.observer import Observer, SilentObserver
from orchestrator.errors import InvalidError

DEFAULT_ENDPOINT = "unix:///var/run/docker.sock"


class MachineClock:
    """The machine's time, for chunks that the engine does not stamp."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC)

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSettings:
    """
    How packages are installed and kept.

    They are kept in `directory`, in `cache_bytes` at most, and installed with `network`. `scripts`: packages may run code
    of their own while they are installed. `pip_config` and `npm_config` are files of the operator's for those two.
    """

    directory: Path
    cache_bytes: int = 2 * 1024 * 1024 * 1024
    network: str = "bridge"
    scripts: bool = False
    pip_config: Path | None = None
    npm_config: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """
    How containers are made and the engine is called.

    `endpoint` is `unix:///path` or `tcp://host:port` (None: DOCKER_HOST, else the usual socket). `installation` is
    written on every container and says whose it is. `registry_auth_file` is Docker's own `config.json` with what logs
    in at registries. `socket_directory` holds the runtime API's `api.sock`; the whole
    directory is mounted, because a restarted server makes a new socket. `user` is numeric, `uid:gid`. `log_max_bytes` and `log_max_lines` are how
    much output must stay readable again after a restart. `allowed_volumes` are the paths, each with what is below it, and
    the names of volumes that jobs may mount; nothing of `data_directory` may ever be. At most `warm_containers` wait for
    a job; their files are in `warm_directory`, on the file system of the attempts' directories.
    """

    installation: str
    socket_directory: Path
    endpoint: str | None = None
    registry_auth_file: Path | None = None
    user: str = "65534:65534"
    data_directory: Path | None = None
    allowed_volumes: Sequence[str] = ()
    packages: PackageSettings | None = None
    warm_containers: int = 0
    warm_directory: Path | None = None
    observer: Observer = field(default_factory=SilentObserver)
    log_max_bytes: int = 50 * 1024 * 1024
    log_max_lines: int = 1_000_000
    call_timeout_seconds: float = 30.0
    start_timeout_seconds: float = 120.0
    pull_idle_seconds: float = 300.0
    settle_seconds: float = 5.0
    unsure_seconds: float = 600.0
    clock: Clock = field(default_factory=MachineClock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the engine listens: a Unix socket, or (`socket` None) the URL of a TCP one. `text` is for messages."""

    text: str
    url: str
    socket: str | None = None

    @property
    def address(self) -> tuple[str, str]:
        """`unix` and a path, or `tcp` and host:port."""
        return ("unix", self.socket) if self.socket is not None else ("tcp", self.url.removeprefix("http://"))


def find_endpoint(configured: str | None, env: Mapping[str, str] = os.environ) -> Endpoint:
    """Raises `InvalidError` for an address of a kind that cannot be spoken to."""
    text = configured or env.get("DOCKER_HOST") or DEFAULT_ENDPOINT
    if text.startswith("/"):
        text = f"unix://{text}"
    parts = urlsplit(text)
    if parts.scheme == "unix" and parts.path:
        return Endpoint(text=text, url="http://docker", socket=parts.path)
    if parts.scheme in ("tcp", "http") and parts.netloc:
        return Endpoint(text=text, url=f"http://{parts.netloc}")
    raise InvalidError(
        f"{text!r} is not an address of a Docker engine that can be used: give unix:///path/to/docker.sock or "
        "tcp://host:port (docker_endpoint, or DOCKER_HOST)."
    )
