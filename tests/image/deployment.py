"""A deployment as somebody makes it who has the repository and Docker: by compose, from outside, and gone at the end."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.e2e.conftest import IMAGES
from tests.e2e.serving import Serving, eventually

KEPT = ("PATH", "HOME", "LANG", "DOCKER_HOST", "DOCKER_CONFIG")
BASES = {"cronium-base:local": "python:3.12-slim-bookworm", "cronium-debian:local": "debian:bookworm-slim"}


def docker(*arguments: str, seconds: float = 120) -> str:
    """Ask the engine by its own command; what it printed on stdout."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    return dict(json.loads(docker("inspect", name))[0])


def has_image(name: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True, timeout=60).returncode == 0


def base_image(local: str) -> str:
    """The stand-in of this machine for a public image, where there is one; else the public one."""
    return local if has_image(local) else BASES[local]


def build(directory: Path, tag: str, base: str) -> str:
    """Build with the classic builder."""
    command = ["docker", "build", "--quiet", "--build-arg", f"BASE_IMAGE={base}", "--tag", tag, str(directory)]
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:] + done.stdout[-5000:]
    return tag


def compose_command() -> list[str] | None:
    """`docker compose`, or `docker-compose`, whichever is there; None: neither."""
    done = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60)
    if done.returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Deployment:
    """One compose project with a name, a port and a network of its own. `serving` talks to it from outside."""

    file: str
    image: str
    directory: Path
    env: dict[str, str] = field(default_factory=dict)
    data_dir: str = "/var/lib/cronium"
    profile: str | None = None
    overrides: tuple[Path, ...] = ()
    root: Path = ROOT
    project: str = field(default_factory=lambda: f"cronium-test-{secrets.token_hex(4)}")
    port: int = field(default_factory=free_port)

    def compose(self, *arguments: str, seconds: float = 180) -> str:
        command = compose_command()
        assert command is not None
        profile = ["--profile", self.profile] if self.profile else []
        done = subprocess.run(
            [*command, *self._files(), "-p", self.project, *profile, *arguments],
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, f"compose {' '.join(arguments)}: {done.stderr}\n{self.logs()}"
        return done.stdout

    def _files(self) -> list[str]:
        return [part for file in (self.file, *self.overrides) for part in ("-f", str(file))]

    def environment(self) -> dict[str, str]:
        """What this deployment is told, and nothing that this process happens to have."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        own = {"IMAGE": self.image, "PUBLISH_PORT": str(self.port), "NETWORK_NAME": self.project}
        return {**kept, **IMAGES, **own, **self.env}

    def up(self) -> Serving:
        """Bring it up and wait until it is ready."""
        self.compose("up", "--no-build", "--detach")
        self.wait_ready()
        return self.serving

    def wait_ready(self) -> None:
        eventually(self.is_ready, f"readiness\n{self.logs()}")

    def is_ready(self) -> bool:
        """Whether it answers, and says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:  # nobody listens yet, or 503
            return False

    @property
    def serving(self) -> Serving:
        """The client's side: where it is, and the token that its first start made."""
        self.directory.mkdir(exist_ok=True)
        (self.directory / "server.json").write_text(json.dumps({"url": f"http://127.0.0.1:{self.port}"}))
        token = self.directory / "admin.token"
        if not token.exists():
            eventually(self._has_token, f"an admin token\n{self.logs()}")
            token.write_text(self.run("cronium", "as-cronium", "cat", f"{self.data_dir}/admin.token"))
        return Serving(self.directory)

    def _has_token(self) -> bool:
        look = ["docker", "exec", self.container(), "as-cronium", "cat", f"{self.data_dir}/admin.token"]
        return subprocess.run(look, capture_output=True, timeout=60).returncode == 0

    def container(self, service: str = "cronium") -> str:
        return self.compose("ps", "-q", service).strip()

    def run(self, service: str, *command: str) -> str:
        """Run a command in the container of a service."""
        return docker("exec", self.container(service), *command)

    def orchestrator(self, service: str = "cronium") -> int:
        """The process id of the orchestrator, as its container sees it."""
        directory = json.loads(docker("inspect", "-f", "{{json .Config.Env}}", self.container(service)))
        data = next(entry.partition("=")[2] for entry in directory if entry.startswith("CRONIUM_DATA_DIR="))
        return int(json.loads(self.run(service, "as-cronium", "cat", f"{data}/server.json"))["pid"])

    def logs(self) -> str:
        names = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}").split()
        return "\n".join(
            subprocess.run(
                ["docker", "logs", "--tail", "40", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ).stdout
            for name in names
        )

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")

    def leftovers(self) -> list[str]:
        """What Docker still has of this project."""
        label = f"label=com.docker.compose.project={self.project}"
        left = docker("ps", "-aq", "--filter", label).split()
        left += docker("volume", "ls", "-q", "--filter", label).split()
        return left + docker("network", "ls", "-q", "--filter", label).split()
