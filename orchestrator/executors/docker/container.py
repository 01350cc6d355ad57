"""The container of an attempt, as the engine's API wants it: locked down, limited, logged. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.contracts.executor import ProcessSpec
from orchestrator.executors.docker.settings import DockerSettings
from orchestrator.executors.docker.state import INSTALLATION_LABEL
from orchestrator.model.json import Json

FILES = "/cronium"
SOCKETS = "/run/cronium"
WORKSPACE = "/workspace"
TMP = "/tmp"  # noqa: S108 - in the container
ARTIFACTS = "/artifacts"
PACKAGES = "/packages"
OWN_PLACES = (FILES, SOCKETS, WORKSPACE, TMP, ARTIFACTS, PACKAGES)

TMP_BYTES = 64 * 1024 * 1024
OPEN_FILES = 4096  # the least hard limit that Linux gives: raising the engine's own would fail the start
OOM_SCORE = 500  # the kernel, short of memory as a whole, shall end a job rather than the orchestrator
ESCAPED_BYTES = 6  # a control character is written as \u001b
RECORD_BYTES = 128  # {"log":"","stream":"stdout","time":"..."} is 70 and some


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """
    The attempt's files, the directory of the runtime API's socket, that of its artifacts and that of its packages, by
    the names that the engine has for them.
    """

    files: str
    sockets: str
    artifacts: str | None = None
    packages: str | None = None


def container_body(spec: ProcessSpec, settings: DockerSettings, sources: Sources) -> Json:
    """What to send to `POST /containers/create`."""
    # With the entrypoint set the image's own is not in the way, and its default arguments do not apply.
    return {
        "Image": spec.image,
        "Entrypoint": [spec.argv[0]],
        "Cmd": list(spec.argv[1:]),
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "WorkingDir": spec.workdir,
        "User": settings.user,
        "Labels": _labels(spec, settings),
        "AttachStdin": False,
        "OpenStdin": False,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_config(spec, settings, sources),
    }


def _labels(spec: ProcessSpec, settings: DockerSettings) -> dict[str, Json]:
    labels: dict[str, Json] = {f"cronium.{name.removeprefix('cronium.')}": value for name, value in spec.labels.items()}
    return {**labels, INSTALLATION_LABEL: settings.installation}


def _host_config(spec: ProcessSpec, settings: DockerSettings, sources: Sources) -> dict[str, Json]:
    limits = spec.limits
    return {
        "NetworkMode": spec.network,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Init": True,  # reaps orphans, and gives the script signals with their usual effect, which process 1 lacks
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,  # the sum of both: no swap
        "NanoCpus": round(limits.cpus * 1_000_000_000),
        "PidsLimit": limits.pids,
        "OomScoreAdj": OOM_SCORE,
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES},
        ],
        "Tmpfs": _tmpfs(limits.memory_bytes, settings.user),
        "Mounts": _mounts(sources),
        "LogConfig": _log_config(settings),
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
    }


def _tmpfs(memory_bytes: int, user: str) -> dict[str, Json]:
    """
    Both count against the memory limit; together they leave the script a quarter of it at least.

    They belong to the user, because the mode is not kept where the image, or the engine for its working directory, has
    a directory of that name: runc then gives the new file system that directory's mode.
    """
    owner = "".join(f",{name}={number}" for name, number in zip(("uid", "gid"), user.split(":"), strict=False))
    tmp = min(TMP_BYTES, memory_bytes // 4)
    return {
        TMP: f"rw,noexec,nosuid,nodev,size={tmp},mode=1777{owner}",
        WORKSPACE: f"rw,exec,nosuid,nodev,size={memory_bytes // 2},mode=1777{owner}",
    }


def _mounts(sources: Sources) -> list[Json]:
    mounts = [_bind(sources.files, FILES), _bind(sources.sockets, SOCKETS)]
    if sources.artifacts is not None:
        mounts.append(_bind(sources.artifacts, ARTIFACTS, writable=True))
    if sources.packages is not None:
        mounts.append(_bind(sources.packages, PACKAGES))
    return mounts


def _bind(source: str, target: str, *, writable: bool = False) -> Json:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": not writable}


def _log_config(settings: DockerSettings) -> Json:
    """
    A log that is whole up to the limits of what we keep, and ends growing at twice the size that may take.

    A resumed reader counts from the first record, so nothing may be rotated away before the limit: the size is what
    the limit can come to in JSON, every byte escaped and every line short. Two files, because with one the engine
    begins an empty file when it is full, and not even the end of the output could be read again.
    """
    size = ESCAPED_BYTES * settings.log_max_bytes + RECORD_BYTES * settings.log_max_lines
    return {"Type": "json-file", "Config": {"mode": "blocking", "max-size": str(size), "max-file": "2"}}
