"""`docs/container-migration/systemd.md`: its commands in a machine that systemd runs, which is a container of the tests."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, blocks, clone
from tests.e2e.serving import eventually
from tests.image.deployment import build, docker

UNIT = PAGES / "cronium.service"
COMMANDS = blocks("systemd.md")
DROP_INS = blocks("systemd.md", "ini")["Changes"]
STEADY = "echo begun; for n in $(seq 1200); do [ -e /tmp/go ] && break; sleep 0.05; done; cronium_output '\"kept\"'"
# A clone in a machine with systemd: what the page asks for, and nothing of Cronium.
MACHINE = """ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update -qq \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd >/dev/null \\
 && rm -rf /var/lib/apt/lists/*
COPY . /root/clone
WORKDIR /root/clone
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT []
CMD ["/lib/systemd/systemd"]
"""

pytestmark = pytest.mark.deployment


def verify(directory: Path, unit: str, drop_ins: list[str]) -> str:
    """What systemd says against a unit; nothing, where all is well."""
    problem = "systemd-analyze is not on this machine (Debian: apt install systemd)"
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI"):
            pytest.fail(f"the unit must be checked in CI: {problem}")
        pytest.skip(problem)
    (directory / "cronium.service").write_text(unit.replace("/opt/cronium/bin/cronium", "/bin/true"))
    (directory / "cronium.service.d").mkdir()
    for number, text in enumerate(drop_ins):
        (directory / "cronium.service.d" / f"{number}.conf").write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(directory / "cronium.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"exit {done.returncode}")


def test_systemd_has_nothing_against_the_unit_and_the_drop_ins_of_the_page(tmp_path: Path):
    assert len(DROP_INS) == 4
    assert verify(tmp_path, UNIT.read_text(), DROP_INS) == ""


def test_systemd_would_say_what_is_wrong(tmp_path: Path):
    wrong = UNIT.read_text().replace("KillMode=process", "KillMode=proces")
    said = verify(tmp_path, wrong, ["[Service]\nNoSuchKey=1\n"])
    assert "kill mode" in said
    assert "NoSuchKey" in said


class Machine:
    """A container that systemd runs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, script: str, seconds: float = 240) -> str:
        """A script of root's, in the clone."""
        command = ["docker", "exec", self.name, "bash", "-euc", script]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds)
        assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}"
        return done.stdout

    def cronium(self, *words: str) -> str:
        return self.run(f"{CRONIUM}\ncronium {' '.join(words)}")

    def answers(self) -> bool:
        """Whether there is a server."""
        return self.run(f"{CRONIUM}\ncronium jobs >/dev/null 2>&1 && echo yes || true") == "yes\n"

    def job(self, name: str) -> dict[str, object]:
        found = json.loads(self.cronium("jobs", "--json"))["items"]
        return next(job for job in found if job["name"] == name)

    def has_said(self, text: str) -> bool:
        return text in self.cronium("logs", "last")

    def main_process(self) -> str:
        return self.run("systemctl show --property MainPID --value cronium").strip()


@pytest.fixture
def machine(base: str, tmp_path: Path) -> Iterator[Machine]:
    context = clone(tmp_path / "machine")
    (context / ".dockerignore").unlink()
    (context / "Dockerfile").write_text(MACHINE)
    image = build(context, "cronium-test:systemd", base)
    name = f"cronium-test-systemd-{secrets.token_hex(4)}"
    rights = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]
    mounts = ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"]
    docker("run", "--detach", "--name", name, "--env", "container=docker", *rights, *mounts, image)
    try:
        made = Machine(name)
        eventually(lambda: "running" in made.run("systemctl is-system-running || true"), "systemd")
        yield made
    finally:
        docker("rm", "--force", "--volumes", name)


INSTALL, LOOK = COMMANDS["Install"]
(END_ALL,) = COMMANDS["What the unit does"]
(DRAIN,) = COMMANDS["Changes"]
(UPGRADE,) = COMMANDS["Upgrade"]
CRONIUM = next(line for line in LOOK.splitlines() if line.startswith("cronium() "))


@pytest.mark.docker
@pytest.mark.torture
@pytest.mark.timeout(900)
def test_the_commands_of_the_page_install_run_change_and_upgrade_a_service(machine: Machine):
    """Scripts outlive a restart, a kill and an upgrade of the server, with their calls to the runtime API."""
    machine.run(INSTALL, seconds=600)
    eventually(machine.answers, "the server")
    said = machine.run(LOOK)
    assert "Active: active (running)" in said
    assert "hello from a service" in said

    machine.run(f"{CRONIUM}\ncronium submit --detach --lang bash --name steady - <<'END'\n{STEADY}\nEND")
    eventually(lambda: machine.has_said("begun"), "the first line")
    machine.run(DRAIN.replace("CRONIUM_DRAIN_SECONDS=60", "CRONIUM_DRAIN_SECONDS=1"))
    before = machine.main_process()
    machine.run(f"kill -9 {before}")
    eventually(lambda: machine.main_process() not in ("0", before), "another start")
    eventually(machine.answers, "the server")
    eventually(lambda: machine.job("steady")["status"] == "running", "the same job")
    machine.run(f"{CRONIUM}\n{UPGRADE}", seconds=300)
    eventually(machine.answers, "the server")
    machine.run("touch /tmp/go")
    eventually(lambda: machine.job("steady")["status"] == "succeeded", "its end")
    steady = machine.job("steady")
    assert (steady["attempt"], steady["output"]) == (1, "kept")
    assert "Found left-over process" in machine.run("journalctl --unit cronium --no-pager")

    machine.run(f"rm /tmp/go; {CRONIUM}\ncronium submit --detach --lang bash --name ended - <<'END'\n{STEADY}\nEND")
    eventually(lambda: machine.has_said("begun"), "the first line")
    machine.run(END_ALL)
    eventually(machine.answers, "the server")
    eventually(lambda: machine.job("ended")["status"] == "failed", "the end of all")
    assert re.search(r"^Restart=always$", machine.run("systemctl show --property Restart cronium"), re.MULTILINE)
