"""`cronium doctor` on what an engine enforces: read from what it says of itself, each with the way to change it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.executors.docker.hardening import EngineInfo, Finding, Held, judge

USUAL = {
    "ServerVersion": "28.3.2",
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    "LiveRestoreEnabled": True,
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "BridgeNfIptables": True,
}
NAMES = ["limits", "seccomp", "vsock", "account", "internal", "bridge", "disk", "restart"]


def judged(**changes: Any) -> dict[str, Finding]:
    return {found.name: found for found in judge(EngineInfo.model_validate({**USUAL, **changes}))}


def test_a_usual_engine_has_nothing_that_a_usual_engine_has_not():
    found = judged()
    assert list(found) == NAMES
    assert {name: finding.held for name, finding in found.items()} == {
        "limits": Held.YES,
        "seccomp": Held.YES,
        "vsock": Held.YES,
        "account": Held.NO,
        "internal": Held.YES,
        "bridge": Held.NO,
        "disk": Held.NO,
        "restart": Held.YES,
    }


@pytest.mark.parametrize(
    ("changes", "name", "held", "words"),
    [
        ({"SwapLimit": False}, "limits", Held.RISKY, "the swap of jobs"),
        ({"MemoryLimit": False, "PidsLimit": False}, "limits", Held.RISKY, "the memory and processes of jobs"),
        ({"SecurityOptions": []}, "seccomp", Held.RISKY, "seccomp-profile"),
        ({"SecurityOptions": ["name=seccomp,profile=unconfined"]}, "seccomp", Held.RISKY, "not filtered"),
        ({"ServerVersion": "20.10.24+dfsg1"}, "vsock", Held.NO, "20.10.24"),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, "account", Held.YES, "rootless"),
        ({"SecurityOptions": ["name=seccomp", "name=userns"]}, "account", Held.YES, "userns-remap"),
        ({"BridgeNfIptables": False}, "internal", Held.RISKY, "modprobe br_netfilter"),
        ({}, "bridge", Held.NO, "iptables -I DOCKER-USER -d 169.254.169.254 -j DROP"),
        ({}, "disk", Held.NO, "overlay2 on extfs"),
        ({"LiveRestoreEnabled": False}, "restart", Held.NO, '"live-restore": true'),
    ],
)
def test_what_is_not_enforced_is_said_with_the_way_to_change_it(changes, name, held, words):
    """Each by what the engine says of itself."""
    found = judged(**changes)[name]
    assert found.held is held
    assert words in found.detail


@pytest.mark.docker
async def test_an_engine_that_answers_is_looked_at(lonely):
    answer = await lonely("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(answer.out)["checks"]}
    assert [name for name in checks if name in NAMES] == NAMES
    assert checks["seccomp"]["state"] == checks["limits"]["state"] == "ok"
    assert checks["bridge"]["state"] == "no"


async def test_an_engine_that_is_not_there_is_not_judged(lonely):
    lonely.env["CRONIUM_DOCKER_ENDPOINT"] = "unix:///nowhere/docker.sock"
    answer = await lonely("doctor", "--json")
    assert not {check["name"] for check in json.loads(answer.out)["checks"]} & set(NAMES)
