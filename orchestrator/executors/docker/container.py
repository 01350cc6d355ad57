"""The container of an attempt, as the engine's API wants it: locked down, limited, logged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.contracts.executor import ProcessSpec
from orchestrator.executors.docker.settings import DockerSettings
from orchestrator.executors.docker.state import INSTALLATION_LABEL
from orchestrator.model.json import Json
from orchestrator.model.specs import Workspace

FILES = "/cronium"
SOCKETS = "/run/cronium"
WORKSPACE = "/workspace"
TMP = "/tmp"  # noqa: S108 - in the container
ARTIFACTS = "/artifacts"
PACKAGES = "/packages"
OWN_PLACES = (FILES, SOCKETS, WORKSPACE, TMP, ARTIFACTS, PACKAGES)

TMP_BYTES = 64 * 1024 * 1024
TMP_FILES = 16_384  # an empty file takes a kilobyte of the kernel's memory, and none of the size
WORKSPACE_FILES = 262_144
OPEN_FILES = 4096  # the least hard limit that Linux gives: raising the engine's own would fail the start
OOM_SCORE = 500  # the kernel, short of memory as a whole, shall end a job rather than the orchestrator
ESCAPED_BYTES = 6  # a control character is written as \u001b
RECORD_BYTES = 128  # {"log":"","stream":"stdout","time":"..."} is 70 and some


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """
    The attempt's files, the directory of the runtime API's socket, that of its artifacts and that of its packages, by
    the names that the engine has for them.

    `volumes` are mounts as the engine wants them; `workspace` is the container whose workspace is taken over (None: one
    in memory); `network` what the engine calls the job's network (None: as the job does).
    """

    files: str
    sockets: str
    artifacts: str | None = None
    packages: str | None = None
    volumes: Sequence[Json] = ()
    workspace: str | None = None
    network: str | None = None


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
        "NetworkMode": sources.network or spec.network,
        "IpcMode": "private",
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
        "Tmpfs": _tmpfs(spec, settings.user),
        "Mounts": _mounts(sources),
        "VolumesFrom": [] if sources.workspace is None else [sources.workspace],
        "LogConfig": _log_config(settings),
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
    }


def _tmpfs(spec: ProcessSpec, user: str) -> dict[str, Json]:
    """
    Both count against the memory limit; together they leave the script a quarter of it at least.

    They belong to the user, because the mode is not kept where the image, or the engine for its working directory, has
    a directory of that name: runc then gives the new file system that directory's mode.
    """
    owner = "".join(f",{name}={number}" for name, number in zip(("uid", "gid"), user.split(":"), strict=False))
    memory_bytes = spec.limits.memory_bytes
    tmp = min(TMP_BYTES, memory_bytes // 4)
    made: dict[str, Json] = {TMP: f"rw,noexec,nosuid,nodev,size={tmp},nr_inodes={TMP_FILES},mode=1777{owner}"}
    if spec.workspace is Workspace.TMPFS:
        made[WORKSPACE] = f"rw,exec,nosuid,nodev,size={memory_bytes // 2},nr_inodes={WORKSPACE_FILES},mode=1777{owner}"
    return made


def _mounts(sources: Sources) -> list[Json]:
    mounts = [_bind(sources.files, FILES), _bind(sources.sockets, SOCKETS)]
    if sources.artifacts is not None:
        mounts.append(_bind(sources.artifacts, ARTIFACTS, writable=True))
    if sources.packages is not None:
        mounts.append(_bind(sources.packages, PACKAGES))
    return [*mounts, *sources.volumes]


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
