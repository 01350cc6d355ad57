"""`network`: which ones a job may be on, and what it reaches from there."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.executor import ProcessSpec
from orchestrator.errors import StartFailedError
from orchestrator.model.jobs import Reason
from tests.executors.docker.engine_for_tests import (
    PYTHON,
    docker,
    inspect,
    installation,
    kept_by_engine,
    make_spec,
    open_executor,
)
from tests.suites.executor_suite import finish, read_until

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

# Says of each address (argv: host:port ...) whether it answered.
KNOCK = """
import json, socket, sys
def knock(place):
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True
print(json.dumps({place: knock(place) for place in sys.argv[1:]}))
"""
LISTEN = """
import socket
listener = socket.create_server(("", 8000))
print("up", socket.gethostbyname(socket.gethostname()), flush=True)
while True:
    listener.accept()[0].close()
"""


@pytest.fixture
def network() -> Iterator[str]:
    """One that an operator made."""
    name = f"cronium-tests-{uuid.uuid4().hex[:8]}"
    docker("network", "create", "--internal", name)
    yield name
    docker("network", "rm", name)


@pytest.fixture
def port() -> Iterator[int]:
    """Somebody listens on every address of this machine, as a server with `host: 0.0.0.0` does."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        yield listener.getsockname()[1]


def addresses() -> list[str]:
    """All of this machine, those of its bridges among them."""
    shown = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], check=True, capture_output=True).stdout)
    return [info["local"] for link in shown for info in link["addr_info"] if not info["local"].startswith("127.")]


def knocking(state: Path, network: str, *places: str) -> ProcessSpec:
    return make_spec(state, "", argv=["python3", "-c", KNOCK, *places], image=PYTHON, network=network)


async def knock(state: Path, network: str, *places: str) -> dict[str, bool]:
    async with open_executor(state) as executor:
        process = await executor.start(knocking(state, network, *places))
        seen = await finish(process)
        await process.remove()
    assert seen.exit.code == 0, seen.stderr
    answers: dict[str, bool] = json.loads(seen.stdout)
    assert list(answers) == list(places)
    return answers


async def refusal(state: Path, network: str) -> str:
    async with open_executor(state) as executor:
        with pytest.raises(StartFailedError) as failure:
            await executor.start(make_spec(state, "true", network=network))
    assert failure.value.reason is Reason.INVALID
    return failure.value.message


@pytest.mark.parametrize("network", ["none", "internal"])
async def test_neither_the_machine_nor_anything_else_is_reached_from(tmp_path: Path, network: str, port: int):
    """Whoever listens on all addresses of this machine, the orchestrator too, is out of reach."""
    places = [f"{address}:{port}" for address in addresses()]
    answers = await knock(tmp_path, network, *places, "10.255.255.1:80", "example.org:80")
    assert places
    assert set(answers.values()) == {False}


async def test_from_the_bridge_the_machine_is_reached_as_documented(tmp_path: Path, port: int):
    """docs/isolation.md says so: `bridge` is for scripts that may reach what this machine reaches."""
    gateway = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
    assert await knock(tmp_path, "bridge", f"{gateway}:{port}") == {f"{gateway}:{port}": True}


async def test_jobs_on_the_internal_network_do_not_reach_each_other(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        spec = make_spec(tmp_path, "", argv=["python3", "-uc", LISTEN], image=PYTHON, network="internal")
        first = await executor.start(spec)
        told = await read_until(first, b"\n")
        address = told.split()[1].decode()
        answers = await knock(tmp_path, "internal", f"{address}:8000", f"{spec.name}:8000")
        own = docker("exec", spec.name, "python3", "-c", KNOCK, f"{address}:8000")
        await first.remove()
    assert json.loads(own) == {f"{address}:8000": True}  # it does listen
    assert set(answers.values()) == {False}


async def test_jobs_on_an_operators_network_reach_what_is_there(tmp_path: Path, network: str):
    async with open_executor(tmp_path) as executor:
        spec = make_spec(tmp_path, "", argv=["python3", "-uc", LISTEN], image=PYTHON, network=network)
        first = await executor.start(spec)
        await read_until(first, b"\n")
        answers = await knock(tmp_path, network, f"{spec.name}:8000", "10.255.255.1:80")
        await first.remove()
    assert answers == {f"{spec.name}:8000": True, "10.255.255.1:80": False}


async def test_the_internal_network_is_made_once_however_many_ask_at_once(tmp_path: Path):
    """Engines of one installation, each a process of its own: as one would do it, many do."""
    async with AsyncExitStack() as stack:
        executors = [await stack.enter_async_context(open_executor(tmp_path)) for _ in range(5)]
        specs = [make_spec(tmp_path, "exec sleep 1000", network="internal") for _ in executors]
        async with asyncio.TaskGroup() as tasks:
            starts = [tasks.create_task(executor.start(spec)) for executor, spec in zip(executors, specs, strict=True)]
        (network,) = kept_by_engine(tmp_path)
        assert network.startswith(f"cronium-internal-{installation(tmp_path)}-")
        used: set[Any] = {inspect(spec.name)["HostConfig"]["NetworkMode"] for spec in specs}
        assert len(used) == 1
        for start in starts:
            await start.result().remove()
    assert kept_by_engine(tmp_path) == []


async def test_the_internal_network_says_whose_it_is_and_leads_nowhere(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        process = await executor.start(make_spec(tmp_path, "true", network="internal"))
        (found,) = json.loads(docker("network", "inspect", *kept_by_engine(tmp_path)))
        await process.remove()
    assert found["Internal"] is True
    assert found["Labels"] == {"cronium.installation": installation(tmp_path)}
    assert found["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert found["Options"]["com.docker.network.bridge.inhibit_ipv4"] == "true"


async def test_a_network_that_a_container_still_needs_stays_and_the_sweep_takes_it_later(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        spec = make_spec(tmp_path, "exec sleep 1000", network="internal")
        await executor.start(spec)
    assert len(kept_by_engine(tmp_path)) == 1
    async with open_executor(tmp_path) as executor:
        assert await executor.sweep(frozenset({spec.name})) == []
        (network,) = kept_by_engine(tmp_path)
        assert await executor.sweep(frozenset()) == [spec.name, network]
    assert kept_by_engine(tmp_path) == []


async def test_a_network_that_vanished_is_made_again(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        for _ in range(2):
            process = await executor.start(make_spec(tmp_path, "ls /sys/class/net", network="internal"))
            seen = await finish(process)
            await process.remove()
            assert b"eth0" in seen.stdout
            docker("network", "rm", *kept_by_engine(tmp_path))


async def test_a_network_that_is_not_there_is_refused_with_the_names_of_those_that_are(tmp_path: Path, network: str):
    message = await refusal(tmp_path, "nowhere")
    assert "no network nowhere" in message
    assert network in message
    assert "none, internal, bridge" in message


@pytest.mark.parametrize("network", ["host", "container:abc"])
async def test_the_network_of_the_machine_or_of_a_container_is_refused(tmp_path: Path, network: str):
    """S11: nothing that a job says gives it the network of somebody else."""
    assert "not isolated" in await refusal(tmp_path, network)


async def test_a_network_is_not_named_by_its_id(tmp_path: Path):
    """Or that of the machine would have another name."""
    host = docker("network", "inspect", "host", "--format", "{{.Id}}")
    for identifier in (host, host[:12]):
        assert "by its name" in await refusal(tmp_path, identifier)


async def test_the_internal_network_of_another_installation_is_refused(tmp_path: Path):
    (tmp_path / "other").mkdir()
    async with open_executor(tmp_path / "other") as executor:
        process = await executor.start(make_spec(tmp_path / "other", "true", network="internal"))
        assert "Cronium's own" in await refusal(tmp_path, kept_by_engine(tmp_path / "other")[0])
        await process.remove()
    assert kept_by_engine(tmp_path / "other") == []
