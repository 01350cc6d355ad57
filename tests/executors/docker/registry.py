"""A registry of the tests' own, with or without a password, and a gate before it that lets no more pass than it should."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.executors.docker.engine_for_tests import docker
from tests.executors.docker.image_files import ImageFiles, import_image
from tests.executors.docker.private_daemon import until

USERS = {"reader": "sesame-open-1", "other": "tulip-window-2"}
HTPASSWD = """\
reader:$2b$04$pW0MIgpP0xs4jRpFqaB/FOk60AtTarMMzV5SthjDXxQ8PM0wHmpFq
other:$2b$04$zto9oYFVlctg6IJA35.nt.Qff0uVQyrFNNS7H/ZpBdyvL7OK6yFaG
"""
CONFIG = """\
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: "127.0.0.1:%d"}
"""
AUTH = "auth: {htpasswd: {realm: tests, path: %s}}\n"


@dataclass
class Registry:
    """
    A registry on a free port of loopback, which engines take for one that needs no TLS.

    Whatever is named after it (`remove_images`) goes from the machine's engine with it.
    """

    directory: Path
    port: int
    locked: bool
    ports: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self.directory / "config.yml"
        config.write_text(CONFIG % (self.directory / "data", self.port) + self._auth())
        with (self.directory / "log").open("ab") as log:
            command = ["docker-registry", "serve", str(config)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._answers, "the registry to answer")

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def push(self, megabytes: float = 0.0, layers: int = 1, name: str | None = None) -> str:
        """
        Push an image that has a shell, and layers of random bytes; return its name. It is not on the engine then.

        The engine never saw its layers, so that it has to fetch all of them.
        """
        name = name or f"{self.address}/cronium/test:{uuid.uuid4().hex[:12]}"
        files = ImageFiles()
        files.add_program("/bin/dash", "bin/sh")
        files.add("salt", os.urandom(16))
        import_image(files, name)
        for number in range(layers if megabytes else 0):
            more = ImageFiles()
            more.add(f"ballast-{number}", os.urandom(int(megabytes * 1_000_000 / layers)))
            self._add_layer(name, more)
        self._push(name)
        docker("rmi", name)
        return name

    def through(self, name: str, port: int) -> str:
        """The name under which the image is found through a gate."""
        self.ports.append(port)
        return name.replace(self.address, f"127.0.0.1:{port}")

    def auth_file(self, path: Path, user: str = "reader", password: str | None = None, port: int | None = None) -> Path:
        """Write what `docker login` would."""
        pair = f"{user}:{USERS[user] if password is None else password}".encode()
        key = f"127.0.0.1:{port or self.port}"
        path.write_text(json.dumps({"auths": {key: {"auth": base64.b64encode(pair).decode()}}}))
        return path

    def remove_images(self) -> None:
        """From the machine's engine, what tests pulled."""
        named = docker("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
        prefixes = tuple(f"127.0.0.1:{port}/" for port in (self.port, *self.ports))
        ours = [line.split() for line in named if line.startswith(prefixes)]
        for name, number in ours:
            docker("rmi", "-f", number if name.endswith("<none>") else name)

    def _add_layer(self, name: str, files: ImageFiles) -> None:
        with TemporaryDirectory() as context:
            (Path(context) / "files.tar").write_bytes(files.tar())
            (Path(context) / "Dockerfile").write_text(f"FROM {name}\nADD files.tar /\n")
            env = {**os.environ, "DOCKER_BUILDKIT": "0"}
            command = ["docker", "build", "-q", "-t", name, context]
            subprocess.run(command, check=True, capture_output=True, env=env, timeout=120)

    def _push(self, name: str) -> None:
        with TemporaryDirectory() as config:
            if self.locked:
                self.auth_file(Path(config) / "config.json")
            docker("--config", config, "push", "-q", name)

    def _auth(self) -> str:
        if not self.locked:
            return ""
        (self.directory / "htpasswd").write_text(HTPASSWD)
        return AUTH % (self.directory / "htpasswd")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2/", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 401
        except OSError:
            return False


def registry_problem() -> str | None:
    """Why there can be no registry here; None when there can."""
    if shutil.which("docker-registry") is None:
        return "no docker-registry on this machine (Debian: apt install docker-registry)"
    return None


@contextlib.contextmanager
def registry_for_tests(*, locked: bool = False) -> Iterator[Registry]:
    """A registry for as long as the block lasts. Where none can run the test says why; in CI it fails."""
    problem = registry_problem()
    if problem is not None:
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    with TemporaryDirectory(prefix="cronium-registry-") as name:
        registry = Registry(Path(name), free_port(), locked)
        try:
            registry.start()
            yield registry
        finally:
            registry.stop()
            registry.remove_images()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gate:
    """
    Stands before a registry. Of each blob it lets `budget` bytes pass (None: all), then it holds on until `open` is set.

    `held` is set when it does, `left` when the engine then or later hangs up on that connection. `requests` are the first lines of what was asked, `passed` the most bytes of one answer.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self.port = 0
        self.budget: int | None = None
        self.passed = 0
        self.open = asyncio.Event()
        self.held = asyncio.Event()
        self.left = asyncio.Event()
        self.requests: list[str] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers |= {writer, upstream_writer}
        passed = [0, False]
        try:
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(self._ask(reader, upstream_writer, passed))
                await self._answer(upstream_reader, writer, passed)
                asking.cancel()
        except* (ConnectionError, OSError):
            pass
        finally:
            if passed[1]:
                self.left.set()
            for end in (writer, upstream_writer):
                self._writers.discard(end)
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def close(self) -> None:
        self.open.set()
        for writer in list(self._writers):
            writer.close()
        if self._serving:
            await asyncio.wait(self._serving, timeout=10)

    def _holds(self, passed: list[int]) -> bool:
        return self.budget is not None and passed[0] > self.budget and not self.open.is_set()

    async def _ask(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, passed: list[int]) -> None:
        while data := await reader.read(65536):
            line = data.split(b"\r\n", 1)[0].decode("latin-1")
            if line.endswith("HTTP/1.1"):
                self.requests.append(line)
                passed[0] = 0
            upstream.write(data)
            await upstream.drain()
        upstream.close()
        if self._holds(passed):
            raise ConnectionResetError

    async def _answer(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: list[int]) -> None:
        while data := await upstream.read(65536):
            passed[0] += len(data)
            self.passed = max(self.passed, passed[0])
            if self._holds(passed):
                passed[1] = True
                self.held.set()
                await self.open.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def open_gate(registry: Registry, network: Path | None = None) -> AsyncIterator[Gate]:
    """A gate on loopback; in the network namespace of that file (`/proc/PID/ns/net`), where one is named."""
    gate = Gate(registry.port)
    with ThreadPoolExecutor(max_workers=1) as thread:  # only it changes into the namespace, and ends there
        listener = thread.submit(_listen, network).result(10)
    gate.port = listener.getsockname()[1]
    server = await asyncio.start_server(gate.serve, sock=listener)
    try:
        yield gate
    finally:
        server.close()
        await gate.close()


def _listen(network: Path | None) -> socket.socket:
    """A socket belongs to the namespace that its thread was in when it was made, whoever uses it."""
    if network is not None:
        with network.open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
                raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener
