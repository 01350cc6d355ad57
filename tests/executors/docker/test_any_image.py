"""Any image will do: glibc or musl or neither, with a shell or without, root or not, old and new interpreters."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import StartFailedError
from orchestrator.model.jobs import Reason
from tests.e2e.serving import Serving
from tests.executors.docker.engine_for_tests import PYTHON, docker, inspect, make_spec, open_executor
from tests.executors.docker.image_files import ImageFiles, image_of, import_image
from tests.suites.executor_suite import finish

pytestmark = pytest.mark.docker

PYENV = Path.home() / ".pyenv" / "versions"
LEFT_OUT = ("test", "tests", "idlelib", "tkinter", "ensurepip", "site-packages", "__pycache__", "lib2to3", "turtledemo")
BUSYBOX = ("/usr/bin/busybox", "/bin/busybox")
PYTHON_SCRIPT = """
import asyncio, hashlib, json, os, ssl, subprocess, sys
import cronium
cronium.output({"version": list(sys.version_info[:2]), "uid": os.getuid(), "got": cronium.input()})
"""
NODE_SCRIPT = """
const cronium = require("cronium");
cronium.input().then((got) => cronium.output({version: process.versions.node, uid: process.getuid(), got}));
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    server = Serving(tmp_path_factory.mktemp("any-image") / "data")
    try:
        server.start()
        yield server
        assert server.stop() == 0, server.log()
    finally:
        server.close()


def name() -> str:
    return f"cronium-tests-any:{uuid.uuid4().hex[:12]}"


def found(what: str, *places: str | Path) -> Path:
    """The first that is here. A test without its program says so: it has proved nothing."""
    here = [Path(place) for place in places if Path(place).exists()]
    if not here:
        pytest.skip(f"nothing is proved: there is no {what} on this machine")
    return here[0]


def python_files(version: str) -> ImageFiles:
    """A Python of this machine under /usr/local, and nothing else: no shell."""
    pattern = f"{version}.*"
    home = found(f"Python {version}", *sorted(PYENV.glob(pattern)), Path(f"/nowhere/python{version}"))
    files = ImageFiles()
    files.add_program(home / "bin" / f"python{version}", "usr/local/bin/python3")
    files.add_tree(home / "lib" / f"python{version}", f"usr/local/lib/python{version}", LEFT_OUT)
    return files


def busybox_files(*applets: str) -> ImageFiles:
    """One static program under several names: no libc at all."""
    program = found("busybox (Debian: apt install busybox-static)", *BUSYBOX)
    files = ImageFiles()
    for applet in applets:
        files.add(f"bin/{applet}", program.read_bytes(), 0o755)
    return files


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_a_python_job_runs_in_an_image_with_nothing_but_python(server: Serving, version: str):
    with image_of(python_files(version), name()) as image:
        job = server.wait(server.submit(python=PYTHON_SCRIPT, image=image, input={"a": 1}))
    assert job["status"] == "succeeded", (job, server.text(job["id"], "stderr"))
    assert job["output"] == {"version": [int(part) for part in version.split(".")], "uid": 65534, "got": {"a": 1}}


def test_a_node_job_runs_in_an_image_with_nothing_but_node(server: Serving):
    files = ImageFiles()
    files.add_program(found("Node", shutil.which("node") or "/nowhere/node"), "usr/local/bin/node")
    with image_of(files, name()) as image:
        job = server.wait(server.submit(node=NODE_SCRIPT, image=image, input=[1]))
    assert job["status"] == "succeeded", (job, server.text(job["id"], "stderr"))
    assert (job["output"]["uid"], job["output"]["got"]) == (65534, [1])
    assert int(job["output"]["version"].partition(".")[0]) >= 18


def test_a_shell_job_runs_in_an_image_with_one_static_program(server: Serving):
    """An Alpine-like image: busybox is its shell, and there is no libc to be found."""
    with image_of(busybox_files("sh", "cat", "id"), name()) as image:
        job = server.wait(server.submit(shell="id -u; cat /proc/self/comm", image=image))
    assert (job["status"], server.text(job["id"])) == ("succeeded", ["65534", "cat"])


async def test_a_program_that_needs_musl_runs_in_an_image_with_nothing_but_musl(tmp_path: Path, nothing_left: None):
    compiler = found("musl-gcc (Debian: apt install musl-tools)", "/usr/bin/musl-gcc")
    (tmp_path / "a.c").write_text('#include <stdio.h>\nint main(int n, char **a) { printf("%s\\n", a[n - 1]); }\n')
    subprocess.run([compiler, "-o", tmp_path / "a", tmp_path / "a.c"], check=True, timeout=60)
    files = ImageFiles()
    files.add("bin/say", (tmp_path / "a").read_bytes(), 0o755)
    files.add("lib/ld-musl-x86_64.so.1", Path("/lib/ld-musl-x86_64.so.1").resolve().read_bytes(), 0o755)
    with image_of(files, name()) as image:
        async with open_executor(tmp_path) as executor:
            process = await executor.start(make_spec(tmp_path, "", image=image, argv=["say", "from musl"]))
            assert (await finish(process)).stdout == b"from musl\n"
            await process.remove()


@pytest.mark.parametrize(
    "changes",
    [
        ("USER root",),
        ("USER 1234:1234",),
        ("USER somebody-that-is-nobody",),
        ('ENTRYPOINT ["/bin/false"]', 'CMD ["more"]'),
        ("VOLUME /workspace", "EXPOSE 80"),
        ("WORKDIR /no/such/place", "ENV HOME=/root PATH=/bin"),
        ("HEALTHCHECK --interval=1s CMD exit 1",),
    ],
    ids=lambda changes: changes[0].split()[0].lower() + str(len(changes[0])),
)
def test_what_an_image_asks_for_itself_changes_nothing(server: Serving, changes: tuple[str, ...]):
    with image_of(busybox_files("sh", "id", "pwd"), name(), *changes) as image:
        job = server.wait(server.submit(shell="id -u; pwd; echo $HOME; echo x > file && echo written", image=image))
        lines = server.text(job["id"])
    assert (job["status"], lines) == ("succeeded", ["65534", "/workspace", "/workspace", "written"])


async def test_the_volumes_that_an_image_asks_for_go_with_the_container(tmp_path: Path, nothing_left: None):
    with image_of(busybox_files("sh"), name(), "VOLUME /data") as image:
        async with open_executor(tmp_path) as executor:
            process = await executor.start(make_spec(tmp_path, "true", image=image))
            await process.wait()
            made = {mount["Name"] for mount in inspect(process.name)["Mounts"] if mount["Type"] == "volume"}
            await process.remove()
    assert made
    assert made & set(docker("volume", "ls", "-q").split()) == set()


@pytest.mark.parametrize(("language", "interpreter"), [("python", "python3"), ("node", "node"), ("bash", "bash")])
def test_an_interpreter_that_is_missing_is_named_with_the_image(server: Serving, language: str, interpreter: str):
    with image_of(busybox_files("sh"), name()) as image:
        job = server.wait(server.submit(**{language: "1", "image": image}))
    assert (job["status"], job["reason"]) == ("failed", "invalid")
    assert job["message"].startswith(f"The image {image} has no {interpreter}: ")


def test_a_shell_that_is_missing_is_named_with_the_image(server: Serving):
    files = ImageFiles()
    files.add("etc/empty", b"")
    with image_of(files, name()) as image:
        job = server.wait(server.submit(shell="true", image=image))
    assert (job["status"], job["reason"]) == ("failed", "invalid")
    assert job["message"].startswith(f"The image {image} has no /bin/sh: ")


async def test_an_interpreter_that_a_newer_image_of_the_name_lost_is_named_too(tmp_path: Path, nothing_left: None):
    """What was found in an image is not believed of the next one with its name."""
    image = name()
    docker("tag", PYTHON, image)
    try:
        async with open_executor(tmp_path) as executor:
            spec = make_spec(tmp_path, "", image=image, argv=["python3", "-c", "print('ran')"])
            process = await executor.start(spec)
            assert (await finish(process)).stdout == b"ran\n"
            await process.remove()
            import_image(busybox_files("sh"), image)
            with pytest.raises(StartFailedError, match=rf"{re.escape(image)} has no python3") as failure:
                await executor.start(make_spec(tmp_path, "", image=image, argv=["python3", "-c", "1"]))
        assert failure.value.reason == Reason.INVALID
    finally:
        docker("rmi", image)
