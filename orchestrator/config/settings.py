"""Every setting of the server: its name, its bounds, its default, what it does."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr

from orchestrator.config.urls import (
    CacheDriver,
    Database,
    DatabaseUrl,
    PostgresDatabase,
    StoreDriver,
    ValkeyUrl,
    parse_database,
)
from orchestrator.errors import InvalidError
from orchestrator.model.outbound import OutboundRule, parse_outbound_rules
from orchestrator.model.specs import ExecutorKind, Language

WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
NUMBER = re.compile(r"[-+]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})")
VOLUME = re.compile(r"/[^\x00-\x1f\x7f:,]{0,4000}|[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
YEAR_SECONDS = 365 * 24 * 3600
DRIVERS: Mapping[str, tuple[StoreDriver, CacheDriver]] = {
    "standalone": ("sqlite", "memory"),
    "distributed": ("postgres", "valkey"),
}


def _whole(value: object) -> int:
    """A whole number, or its digits as files and the environment hold them; not `true`, not `8080.0`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and WHOLE.fullmatch(value):
        return int(value)
    raise ValueError("must be a whole number")


def _seconds(value: object) -> float:
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError("must be a number of seconds")


def _path(value: object) -> Path:
    if isinstance(value, str | Path) and str(value) and "\0" not in str(value):
        return Path(value)
    raise ValueError("must be a path")


def _volume_list(value: str) -> str:
    for place in parse_volume_list(value):
        if not VOLUME.fullmatch(place) or "//" in place or {".", ".."} & {*place.split("/")}:
            raise ValueError(
                "must be absolute paths without `.` and `..`, or names of volumes, with commas between them"
            )
    return value


def _outbound_rules(value: str) -> str:
    parse_outbound_rules(value)
    return value


def parse_volume_list(text: str) -> tuple[str, ...]:
    """`/srv/data, models` as `("/srv/data", "models")`."""
    return tuple(place.strip() for place in text.split(","))


Whole = Annotated[int, BeforeValidator(_whole)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Text = Annotated[str, Field(min_length=1)]
VolumeList = Annotated[str, AfterValidator(_volume_list)]
OutboundRules = Annotated[str, AfterValidator(_outbound_rules)]


class ImageSettings(BaseModel):
    """The default image of each language, for jobs of the docker executor that name none."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    python: Text = Field(default="python:3.12-slim", description="Image for Python scripts.")
    node: Text = Field(default="node:22-slim", description="Image for Node scripts.")
    bash: Text = Field(default="debian:bookworm-slim", description="Image for Bash scripts.")
    shell: Text = Field(default="debian:bookworm-slim", description="Image for /bin/sh scripts.")

    def by_language(self) -> Mapping[Language, str]:
        return {
            Language.PYTHON: self.python,
            Language.NODE: self.node,
            Language.BASH: self.bash,
            Language.SHELL: self.shell,
        }


class ServerSettings(BaseModel):
    """
    Settings of `cronium serve`. `load_settings` makes them: it checks what one field alone does not show.

    Outside of this package nothing reads `mode`: what follows from it is in `store_driver`, `cache_driver`, `database`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: Text = Field(
        "127.0.0.1", description="Address to listen on; one that others can reach moves scripts into containers."
    )
    port: Whole = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Annotated[Path, BeforeValidator(_path)] = Field(
        default_factory=lambda: default_data_dir(os.environ),
        description="Where everything is kept. In a file: relative to that file.",
    )
    mode: Literal["standalone", "distributed"] = Field(
        "standalone",
        description="Preset of backends: `standalone` needs no other server, `distributed` needs `database_url` and "
        "`valkey_url`. Either URL can be set in either mode.",
    )
    database_url: DatabaseUrl | None = Field(
        None,
        description="`postgresql://user:password@host:5432/database`, `sqlite:///absolute/file`, `sqlite://file` (in "
        "`data_dir`), or `:memory:` to keep nothing.",
    )
    database_pool_size: Whole = Field(10, ge=1, le=1000, description="Connections to Postgres at most.")
    valkey_url: ValkeyUrl | None = Field(
        None,
        description="`valkey://`, `valkeys://` (TLS), `redis://` or `rediss://` with `host:6379/0`, or "
        "`unix:///path/of/the.sock`. Unset: the cache is in memory.",
    )
    backend_timeout_seconds: Seconds = Field(
        5, gt=0, le=6, description="How long a backend that was asked for may take to answer at start."
    )
    default_executor: Literal[ExecutorKind.PROCESS, ExecutorKind.DOCKER] | None = Field(
        None, description="Where jobs run that name no executor."
    )
    process_jobs: Whole = Field(16, ge=0, le=100_000, description="Process jobs at once.")
    docker_jobs: Whole = Field(8, ge=0, le=100_000, description="Docker jobs at once.")
    docker_endpoint: Text | None = Field(None, description="The Docker engine.")
    warm_containers: Whole = Field(
        0,
        ge=0,
        le=1000,
        description="Containers at most that are started beforehand and wait for a job, for what was run in the last ten "
        "minutes; 0: none.",
    )
    registry_auth_file: Annotated[Path, BeforeValidator(_path)] | None = Field(
        None,
        description="File with what logs in at registries, as `docker login` writes it (`config.json`); read at each "
        "pull. In a file: relative to that file.",
    )
    allowed_volumes: VolumeList | None = Field(
        None,
        description="What jobs may mount (`volumes`), read-only: absolute paths, each with what is below it, and names of "
        "volumes, with commas between them. Unset: nothing.",
    )
    images: ImageSettings = Field(ImageSettings(), description="Default images.")
    package_cache_bytes: Whole = Field(
        2 * 1024 * 1024 * 1024,
        ge=1024 * 1024,
        description="Room on disk for the `packages` of jobs; those not used for longest go first.",
    )
    package_network: Text = Field("bridge", description="Docker network with which packages are installed.")
    package_scripts: bool = Field(
        default=False,
        description="Whether packages may run code of their own while they are installed: builds from source, npm's "
        "install scripts.",
    )
    package_pip_config: Annotated[Path, BeforeValidator(_path)] | None = Field(
        None,
        description="`pip.conf` for installing packages, such as with an index and its password; jobs do not see it.",
    )
    package_npm_config: Annotated[Path, BeforeValidator(_path)] | None = Field(
        None,
        description="`npmrc` for installing packages, such as with a registry and its token; jobs do not see it.",
    )
    setup_timeout_seconds: Seconds = Field(
        600, gt=0, le=YEAR_SECONDS, description="Longest preparing and starting of a job."
    )
    grace_seconds: Seconds = Field(10, ge=0, le=YEAR_SECONDS, description="Between TERM and KILL.")
    drain_seconds: Seconds = Field(
        0,
        ge=0,
        le=YEAR_SECONDS,
        description="How long a server that is told to end waits for running jobs. What runs longer goes on by itself "
        "and is attached again at the next start.",
    )
    log_max_bytes: Whole = Field(50 * 1024 * 1024, ge=1024, description="Output kept per job.")
    log_max_lines: Whole = Field(1_000_000, ge=100, description="Lines kept per job.")
    artifact_max_bytes: Whole = Field(
        256 * 1024 * 1024, ge=0, description="Artifacts kept per job, in bytes; a script that leaves more is ended."
    )
    artifact_max_files: Whole = Field(
        1000, ge=0, le=100_000, description="Artifacts kept per job; a script that leaves more files is ended."
    )
    artifact_retention_days: Whole = Field(
        30, ge=1, le=36_500, description="How long artifacts are kept after the end of their job."
    )
    encryption_key: SecretStr | None = Field(
        None,
        description="Key that secrets are encrypted with: 32 random bytes in base64 or hexadecimal; further keys behind it, "
        "with commas between them, open what was encrypted before. Unset: `secret.key` in `data_dir`, made at the first "
        "use.",
    )
    rate_limit_enabled: bool = Field(default=True, description="Whether requests are limited at all.")
    rate_limit_per_minute: Whole = Field(
        6000, ge=1, le=1_000_000, description="Requests of one token, or of one address without one, in a minute."
    )
    rate_limit_failed_logins_per_minute: Whole = Field(
        30, ge=1, le=1_000_000, description="Refused tokens of one address in a minute."
    )
    runtime_rate_limit_per_minute: Whole = Field(
        1000, ge=1, le=1_000_000, description="Requests to the runtime API of one attempt of a job in a minute."
    )
    rate_limit_backend: CacheDriver = Field(
        "memory",
        description="Where requests are counted: `memory` (each server for itself, in either mode) or `valkey` "
        "(servers count together; needs `valkey_url`).",
    )
    outbound_allow: OutboundRules | None = Field(
        None,
        description="Where Cronium itself may send to besides public addresses (failure webhooks): networks, addresses, "
        "host names, `*.domain`, with commas between them; all but networks may have a `:port`.",
    )
    outbound_deny: OutboundRules | None = Field(
        None, description="Where it may not, public or allowed: written as `outbound_allow`, and stronger."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The server's own log.")
    log_format: Literal["json", "text"] = Field("json", description="Format of the server's own log.")
    metrics_public: bool = Field(default=False, description="Whether /metrics needs no token.")

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def executor(self) -> ExecutorKind:
        """The default executor in force: fixed by configuration, never by what happens to answer."""
        if self.default_executor is not None:
            return self.default_executor
        return ExecutorKind.PROCESS if self.is_loopback else ExecutorKind.DOCKER

    @property
    def slots(self) -> Mapping[ExecutorKind, int]:
        return {ExecutorKind.PROCESS: self.process_jobs, ExecutorKind.DOCKER: self.docker_jobs}

    @property
    def volumes_allowed(self) -> tuple[str, ...]:
        return () if self.allowed_volumes is None else parse_volume_list(self.allowed_volumes)

    @property
    def allowed_outbound(self) -> tuple[OutboundRule, ...]:
        return () if self.outbound_allow is None else parse_outbound_rules(self.outbound_allow)

    @property
    def denied_outbound(self) -> tuple[OutboundRule, ...]:
        return () if self.outbound_deny is None else parse_outbound_rules(self.outbound_deny)

    @property
    def grace(self) -> timedelta:
        return timedelta(seconds=self.grace_seconds)

    @property
    def database(self) -> Database:
        """What to keep everything in."""
        return parse_database(self.database_url, self.data_dir)

    @property
    def store_driver(self) -> StoreDriver:
        return "postgres" if isinstance(self.database, PostgresDatabase) else "sqlite"

    @property
    def cache_driver(self) -> CacheDriver:
        return "memory" if self.valkey_url is None else "valkey"

    def origin(self, key: str) -> str:
        """
        Where the value in force of `key` (`port`, `images.python`, `store_driver`) comes from, in words for people:
        `flag --port`, `environment CRONIUM_PORT`, `/srv/cronium.yaml:3`, `mode standalone`, `host 127.0.0.1`, `default`.
        """
        if key in self._origins:
            return self._origins[key]
        if key == "default_executor":
            return f"host {self.host}"
        store, cache = DRIVERS[self.mode]
        if key == "store_driver" and self.store_driver != store:
            return self.origin("database_url")
        if key == "cache_driver" and self.cache_driver != cache:
            return self.origin("valkey_url")
        return f"mode {self.mode}" if key in ("database_url", "store_driver", "cache_driver") else "default"

    def with_origins(self, origins: Mapping[str, str]) -> Self:
        """These settings, knowing by key where those come from that somebody gave."""
        copy = self.model_copy()
        copy._origins = dict(origins)  # noqa: SLF001 - of our own kind
        return copy


def default_data_dir(env: Mapping[str, str]) -> Path:
    """`$XDG_DATA_HOME/cronium`, else `~/.local/share/cronium`. Raises `InvalidError` for an account without a home."""
    base = env.get("XDG_DATA_HOME")
    if base:
        return Path(base) / "cronium"
    home = home_directory(env)
    if home is None:
        raise InvalidError("This account has no home directory; say where to keep everything: set CRONIUM_DATA_DIR.")
    return home / ".local" / "share" / "cronium"


def home_directory(env: Mapping[str, str]) -> Path | None:
    if env.get("HOME"):
        return Path(env["HOME"])
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and an account that the system does not know: usual in containers
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
