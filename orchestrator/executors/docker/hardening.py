"""What an engine does and does not enforce for jobs, read from what it says of itself, and how to change that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, Field

from orchestrator.errors import UnavailableError
from orchestrator.executors.docker.engine import open_engine
from orchestrator.executors.docker.settings import find_endpoint

CALL_SECONDS = 5.0
BLOCKS_VSOCK = 23  # the first major version whose filter of system calls refuses these sockets
LIMITS = {
    "memory_limit": "memory",
    "swap_limit": "swap",
    "cpu_limit": "cpus",
    "pids_limit": "processes",
}


class Held(StrEnum):
    """`yes`: enforced. `no`: not, as with most engines. `risky`: not, and a usual engine does."""

    YES = "yes"
    NO = "no"
    RISKY = "risky"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an engine can enforce, whether it does, and what to do."""

    name: str
    held: Held
    detail: str


class EngineInfo(BaseModel):
    """What `GET /info` says, as far as it matters here."""

    version: str = Field("", alias="ServerVersion")
    driver: str = Field("", alias="Driver")
    driver_status: list[list[str]] | None = Field(None, alias="DriverStatus")
    security: list[str] | None = Field(None, alias="SecurityOptions")
    live_restore: bool = Field(False, alias="LiveRestoreEnabled")
    memory_limit: bool = Field(True, alias="MemoryLimit")
    swap_limit: bool = Field(True, alias="SwapLimit")
    cpu_limit: bool = Field(True, alias="CpuCfsQuota")
    pids_limit: bool = Field(True, alias="PidsLimit")
    filters_bridges: bool = Field(True, alias="BridgeNfIptables")

    @property
    def options(self) -> dict[str, str]:
        """`name=seccomp,profile=default` as `{"seccomp": "profile=default"}`."""
        parts = [option.removeprefix("name=").partition(",") for option in self.security or []]
        return {name: more for name, _, more in parts}


async def engine_findings(endpoint: str | None) -> list[Finding]:
    """Ask an engine. Raises `UnavailableError` where it does not answer."""
    async with open_engine(find_endpoint(endpoint), CALL_SECONDS) as engine:
        answer = await engine.call("GET", "/info", seconds=CALL_SECONDS)
        if not answer.ok:
            raise UnavailableError(f"The Docker engine does not say how it is set up: {answer.message}")
        return list(judge(EngineInfo.model_validate_json(answer.body)))


def judge(info: EngineInfo) -> Iterator[Finding]:
    """Pure."""
    yield _limits(info)
    yield _seccomp(info)
    yield _vsock(info)
    yield _account(info)
    yield _internal(info)
    yield Finding(
        name="bridge",
        held=Held.NO,
        detail="jobs with `network: bridge` reach this machine, and whatever it reaches, a cloud's metadata address "
        "too: iptables -I DOCKER-USER -d 169.254.169.254 -j DROP",
    )
    yield _disk(info)
    yield _restart(info)


def _limits(info: EngineInfo) -> Finding:
    missing = [what for field, what in LIMITS.items() if not getattr(info, field)]
    if not missing:
        return Finding(name="limits", held=Held.YES, detail="memory, swap, cpus and processes of jobs are limited")
    detail = (
        f"this kernel does not limit the {_listed(missing)} of jobs: enable the cgroup controllers "
        "(cgroup_enable=memory swapaccount=1 on the kernel's command line), or use cgroup v2"
    )
    return Finding(name="limits", held=Held.RISKY, detail=detail)


def _seccomp(info: EngineInfo) -> Finding:
    profile = info.options.get("seccomp")
    if profile is None or "unconfined" in profile:
        detail = (
            "system calls of jobs are not filtered: remove `seccomp-profile` from the engine's daemon.json, or use an "
            "engine and a kernel with seccomp"
        )
        return Finding(name="seccomp", held=Held.RISKY, detail=detail)
    return Finding(name="seccomp", held=Held.YES, detail=f"system calls of jobs are filtered ({profile or 'default'})")


def _vsock(info: EngineInfo) -> Finding:
    major = info.version.partition(".")[0]
    if major.isdigit() and int(major) < BLOCKS_VSOCK:
        detail = (
            f"engine {info.version} lets jobs make vsock sockets, also with `network: none`: in a virtual machine they "
            f"reach what its host offers there; {BLOCKS_VSOCK} and later refuse them"
        )
        return Finding(name="vsock", held=Held.NO, detail=detail)
    return Finding(name="vsock", held=Held.YES, detail="jobs cannot talk to the host of a virtual machine")


def _account(info: EngineInfo) -> Finding:
    for option, words in (("rootless", "is rootless"), ("userns", "maps users (userns-remap)")):
        if option in info.options:
            detail = f"the engine {words}: who got out of a container would have no rights here"
            return Finding(name="account", held=Held.YES, detail=detail)
    detail = (
        "the engine is root: whoever can use its socket is, and so would be a job that got out of its container through "
        "a fault of the kernel; a rootless engine, or userns-remap, narrows that"
    )
    return Finding(name="account", held=Held.NO, detail=detail)


def _internal(info: EngineInfo) -> Finding:
    if info.filters_bridges:
        return Finding(name="internal", held=Held.YES, detail="jobs with `network: internal` do not reach each other")
    detail = "jobs with `network: internal` may reach each other: load br_netfilter (modprobe br_netfilter)"
    return Finding(name="internal", held=Held.RISKY, detail=detail)


def _disk(info: EngineInfo) -> Finding:
    files = next((pair[1] for pair in info.driver_status or [] if len(pair) == 2 and "Filesystem" in pair[0]), "")
    detail = (
        f"what a job with `workspace: volume` writes is not limited ({info.driver}{' on ' if files else ''}{files}): "
        "keep the engine's directory on a disk of its own"
    )
    return Finding(name="disk", held=Held.NO, detail=detail)


def _restart(info: EngineInfo) -> Finding:
    if info.live_restore:
        return Finding(name="restart", held=Held.YES, detail="jobs outlive a restart of the engine (live-restore)")
    detail = 'a restart of the engine ends jobs: "live-restore": true in its daemon.json lets them go on'
    return Finding(name="restart", held=Held.NO, detail=detail)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
