"""What the tests of the docker executor share: specifications, a look at the engine of its own, a proxy that fails."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.contracts.executor import Executor, ProcessSpec
from orchestrator.executors.docker import DockerSettings, open_docker_executor

IMAGE = "cronium-debian:local"
PYTHON = "cronium-job-python:local"
SOCKET = "/var/run/docker.sock"


def installation(state: Path) -> str:
    """The same directory is the same installation."""
    return "docker-tests-" + hashlib.sha256(str(state).encode()).hexdigest()[:16]


def open_executor(state: Path, **changes: Any) -> AbstractAsyncContextManager[Executor]:
    sockets = state / "sockets"
    sockets.mkdir(parents=True, exist_ok=True)
    settings = DockerSettings(installation=installation(state), socket_directory=sockets)
    return open_docker_executor(replace(settings, **changes))


def make_spec(state: Path, script: str, **changes: Any) -> ProcessSpec:
    """A fresh name that runs `script` with /bin/sh."""
    name = f"cronium-tests-{uuid.uuid4().hex[:12]}-1"
    directory = state / "attempts" / name
    directory.mkdir(parents=True)
    made = ProcessSpec(
        name=name,
        directory=directory,
        argv=["/bin/sh", "-c", script],
        env={},
        workdir="/workspace",
        labels={"job": "job_1", "attempt": "1"},
        image=IMAGE,
    )
    return replace(made, **changes)


def docker(*arguments: str) -> str:
    """Ask the engine by its own command."""
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    return json.loads(docker("inspect", name))[0]


def containers_of(state: Path) -> list[str]:
    """The names of the containers of the installations in `state` and just below it."""
    found: list[str] = []
    for directory in [state, *(path for path in state.iterdir() if path.is_dir())]:
        label = f"label=cronium.installation={installation(directory)}"
        found += docker("ps", "-a", "--filter", label, "--format", "{{.Names}}").split()
    return found


def kept_by_engine(state: Path) -> list[str]:
    """Volumes and networks of the installation in `state`."""
    label = f"label=cronium.installation={installation(state)}"
    return (
        docker("volume", "ls", "-q", "--filter", label).split()
        + docker("network", "ls", "--filter", label, "--format", "{{.Name}}").split()
    )


class Proxy:
    """
    Stands in front of the engine and breaks connections.

    `cuts` maps a piece of a request's path to the numbers of bytes after which the answers to such requests are cut
    off, one number each, then they pass. `holds` maps a piece of a request's path to the event before which such
    requests do not reach the engine; `held` is set when there is one. `is_down` closes every new connection at once.
    """

    def __init__(self, engine: str = SOCKET) -> None:
        self._engine = engine
        self.cuts: dict[str, list[int]] = {}
        self.holds: dict[str, asyncio.Event] = {}
        self.held = asyncio.Event()
        self.is_down = False
        self.seen: list[str] = []
        self.cut = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def drop_all(self) -> None:
        for writer in self._open:
            writer.close()

    async def close(self) -> None:
        """Drop everything, and wait until it is gone: a socket left open would be noticed in another test."""
        self.drop_all()
        if self._serving:
            await asyncio.wait(self._serving, timeout=10)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        if self.is_down:
            writer.close()
            return
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._engine)
        both = {writer, upstream_writer}
        self._open |= both
        limit: list[int] = []  # how much more of the answer may pass, where it is to be cut
        try:
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(self._ask(reader, upstream_writer, limit))
                await self._answer(upstream_reader, writer, limit)
                asking.cancel()
        except* (ConnectionError, OSError):
            pass
        finally:
            self._open -= both
            for end in both:
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, limit: list[int]) -> None:
        while data := await reader.read(65536):
            line = data.split(b"\r\n", 1)[0].decode("latin-1")
            if line.endswith("HTTP/1.1"):
                self.seen.append(line)
                for path, numbers in self.cuts.items():
                    if path in line and numbers:
                        limit.append(numbers.pop(0))
                await self._hold(line)
            upstream.write(data)
            await upstream.drain()
        upstream.close()

    async def _hold(self, line: str) -> None:
        for path, event in self.holds.items():
            if path in line:
                self.held.set()
                await event.wait()

    async def _answer(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: list[int]) -> None:
        while data := await upstream.read(65536):
            if limit:
                passing, limit[0] = data[: limit[0]], limit[0] - len(data)
                writer.write(passing)
                await writer.drain()
                if limit[0] <= 0:
                    self.cut.set()
                    return
            else:
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def open_proxy(path: Path, engine: str = SOCKET) -> AsyncIterator[Proxy]:
    proxy = Proxy(engine)
    server = await asyncio.start_unix_server(proxy.serve, str(path))
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
