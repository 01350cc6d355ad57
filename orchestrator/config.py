"""Every setting of the server: flag, then environment (`CRONIUM_*`), then default. `mode` is expanded here and nowhere else."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from orchestrator.errors import Fault, InvalidError
from orchestrator.model.specs import ExecutorKind, Language


class ImageSettings(BaseModel):
    """The default image of each language, for jobs of the docker executor that name none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    python: str = Field(default="python:3.12-slim", description="Image for Python scripts.")
    node: str = Field(default="node:22-slim", description="Image for Node scripts.")
    bash: str = Field(default="debian:bookworm-slim", description="Image for Bash scripts.")
    shell: str = Field(default="debian:bookworm-slim", description="Image for /bin/sh scripts.")

    def by_language(self) -> Mapping[Language, str]:
        return {
            Language.PYTHON: self.python,
            Language.NODE: self.node,
            Language.BASH: self.bash,
            Language.SHELL: self.shell,
        }


class ServerSettings(BaseSettings):
    """Settings of `cronium serve`."""

    model_config = SettingsConfigDict(
        env_prefix="CRONIUM_", env_nested_delimiter="__", extra="ignore", frozen=True, case_sensitive=False
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(
        default_factory=lambda: default_data_dir(os.environ), description="Where everything is kept."
    )
    mode: Literal["standalone"] = Field("standalone", description="Preset of drivers.")
    default_executor: ExecutorKind | None = Field(
        None, description="Where jobs run that name no executor; unset: process on loopback, else docker."
    )
    process_jobs: int = Field(16, ge=0, description="Process jobs at once.")
    docker_jobs: int = Field(8, ge=0, description="Docker jobs at once.")
    docker_endpoint: str | None = Field(None, description="Docker engine; unset: DOCKER_HOST, else the usual socket.")
    images: ImageSettings = ImageSettings()
    setup_timeout_seconds: float = Field(600, gt=0, description="Longest preparing and starting of a job.")
    grace_seconds: float = Field(10, ge=0, description="Between TERM and KILL.")
    log_max_bytes: int = Field(50 * 1024 * 1024, ge=1024, description="Output kept per job.")
    log_max_lines: int = Field(1_000_000, ge=100, description="Lines kept per job.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The server's own log.")
    log_format: Literal["json", "text"] = Field("json", description="Format of the server's own log.")
    metrics_public: bool = Field(default=False, description="Whether /metrics needs no token.")

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
    def grace(self) -> timedelta:
        return timedelta(seconds=self.grace_seconds)


def load_settings(flags: Mapping[str, object]) -> ServerSettings:
    """Settings from flags (None: not given) and the environment. Raises `InvalidError` naming each bad one."""
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return ServerSettings(**given)  # type: ignore[arg-type]  # pydantic checks what the flags hold
    except ValidationError as error:
        faults = tuple(
            Fault(path=".".join(str(part) for part in fault["loc"]), message=fault["msg"]) for fault in error.errors()
        )
        raise InvalidError("The settings are not valid.", faults=faults) from error


def default_data_dir(env: Mapping[str, str]) -> Path:
    """`$XDG_DATA_HOME/cronium`, else `~/.local/share/cronium`."""
    base = env.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "cronium"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
