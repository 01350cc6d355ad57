"""A Docker daemon of the tests' own, in namespaces of its own, which they may stop, kill, freeze and fill up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

IMAGE = "cronium-debian:local"
START_SECONDS = 40.0
PROGRAMS = ("dockerd", "unshare", "nsenter", "ip", "mount", "docker")
# First process of the namespaces: with it everything in them ends. What its children leave is reaped by the kernel.
KEEPER = """
import signal, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + sys.argv[2], "tmpfs", sys.argv[1]], check=True)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""


class NoDaemonError(Exception):
    """A daemon of our own cannot run here; the message says why."""


@dataclass
class PrivateDaemon:
    """
    One daemon. `directory` is short, for its socket; its data lie on a tmpfs of `size` that only it sees.

    Its network, mounts and processes are in namespaces of its own: nothing of the machine's own daemon is touched,
    and nothing is left.
    """

    directory: Path
    size: str = "2g"
    flags: tuple[str, ...] = ()
    _keeper: subprocess.Popen[bytes] | None = None
    _inner: int = 0
    _daemon: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def socket(self) -> Path:
        return self.directory / "d.sock"

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    @property
    def data(self) -> Path:
        """Its data, as seen from here."""
        return Path(f"/proc/{self._inner}/root{self.directory}/data")

    def open(self) -> None:
        """Make the namespaces, and start the daemon in them."""
        (self.directory / "data").mkdir()
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command += [sys.executable, "-I", "-c", KEEPER, str(self.directory / "data"), self.size]
        self._keeper = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"ready\n":
            assert self._keeper.stderr is not None
            raise NoDaemonError(f"no namespaces for a daemon: {self._keeper.stderr.read().decode().strip()[-300:]}")
        self._inner = _children(self._keeper.pid)[0]
        self.start()

    def close(self) -> None:
        """End everything: the daemon, its containers, its mounts."""
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.wait(START_SECONDS)
            for stream in (self._keeper.stdout, self._keeper.stderr):
                assert stream is not None
                stream.close()
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait(START_SECONDS)
        self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        """The directories that a killed daemon leaves of its containers, inmost first."""
        for top in Path("/sys/fs/cgroup").glob(f"**/cronium-{self.directory.name}"):
            for directory in (*sorted(top.glob("**/"), reverse=True), top):
                with contextlib.suppress(OSError):  # its last process may be ending yet: then an empty one is left
                    directory.rmdir()

    def start(self, *flags: str) -> None:
        """Start the daemon, or start it again with other `flags`, and wait until it answers."""
        place = self.directory / "data"
        command = ["nsenter", "-t", str(self._inner), "-n", "-m", "-p", "dockerd", "-H", self.endpoint]
        command += ["--data-root", str(place / "root"), "--exec-root", str(place / "exec")]
        command += ["--pidfile", str(place / "pid"), "--cgroup-parent", f"/cronium-{self.directory.name}"]
        command += ["--log-level", "warn", *self.flags, *flags]
        with (self.directory / "log").open("ab") as log:
            self._daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._answers, "the private Docker daemon to answer", START_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it and wait: SIGTERM in order, SIGKILL as a crash."""
        assert self._daemon is not None
        self.signal(number)
        self._daemon.wait(START_SECONDS)

    def restart(self, *flags: str, number: int = signal.SIGTERM) -> None:
        self.stop(number)
        self.start(*flags)

    def signal(self, number: int) -> None:
        """SIGSTOP makes it hang, with all of its threads, SIGCONT go on."""
        assert self._daemon is not None
        for pid in _children(self._daemon.pid):
            os.kill(pid, number)
        if number == signal.SIGCONT:
            self._daemon.send_signal(number)  # nsenter stops itself when what it waits for is stopped

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Ask it by the usual command."""
        command = ["docker", "-H", self.endpoint, *arguments]
        done = subprocess.run(command, check=check, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def state(self, name: str) -> dict[str, Any]:
        """The `State` of a container."""
        return dict(json.loads(self.docker("inspect", name))[0]["State"])

    def load(self) -> None:
        """Give it the image that tests run."""
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saving:
            command = ["docker", "-H", self.endpoint, "load", "-q"]
            subprocess.run(command, stdin=saving.stdout, check=True, capture_output=True, timeout=120)

    def log(self) -> str:
        return (self.directory / "log").read_text()[-2000:] if (self.directory / "log").exists() else ""

    def _answers(self) -> bool:
        assert self._daemon is not None
        if self._daemon.poll() is not None:
            raise NoDaemonError(f"the private Docker daemon ended: {self.log()}")
        done = subprocess.run(["docker", "-H", self.endpoint, "version"], capture_output=True, timeout=60)
        return done.returncode == 0


@contextlib.contextmanager
def daemon_for_tests(*flags: str, size: str = "2g") -> Iterator[PrivateDaemon]:
    """A daemon with the image for as long as the block lasts. Where none can run the test says why; in CI it fails."""
    with contextlib.ExitStack() as stack:
        try:
            daemon = stack.enter_context(_running(flags, size))
        except NoDaemonError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield daemon


@contextlib.contextmanager
def _running(flags: tuple[str, ...], size: str) -> Iterator[PrivateDaemon]:
    problem = private_daemon_problem()
    if problem is not None:
        raise NoDaemonError(problem)
    with TemporaryDirectory(prefix="crd-", dir="/tmp") as name:  # short: sockets lie in it
        daemon = PrivateDaemon(Path(name), size=size, flags=flags)
        try:
            daemon.open()
            daemon.load()
            yield daemon
        finally:
            daemon.close()


def private_daemon_problem() -> str | None:
    """Why a daemon of the tests' own cannot run here; None when it may."""
    if os.geteuid() != 0:
        return "a Docker daemon of the tests' own needs root"
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"a Docker daemon of the tests' own needs {', '.join(lacking)}" if lacking else None


def until(look: Callable[[], Any], what: str, within: float = 30.0) -> Any:
    """Look until the answer is true, and return it; fail saying `what` never came."""
    deadline = time.monotonic() + within
    while not (answer := look()):
        assert time.monotonic() < deadline, f"waited {within:g} s for {what}"
        time.sleep(0.02)  # polling with a deadline: a daemon announces nothing
    return answer


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
