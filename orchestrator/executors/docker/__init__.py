"""The docker executor: one container per attempt, on an engine spoken to over its own socket."""

from __future__ import annotations

from orchestrator.executors.docker.executor import open_docker_executor
from orchestrator.executors.docker.settings import DockerSettings

__all__ = ["DockerSettings", "open_docker_executor"]
