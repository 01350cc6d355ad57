"""`docs/container-migration/reverse-proxy.md`: its nginx and its Caddy in front of a real server, over TLS."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import CRONIUM
from tests.docs.pages import Shell, blocks
from tests.e2e.serving import Serving, environment, eventually
from tests.image.deployment import free_port

pytestmark = pytest.mark.deployment

NAME = "cronium.example.org"
NGINX, CADDY = blocks("reverse-proxy.md", "nginx")["nginx"], blocks("reverse-proxy.md", "caddyfile")["Caddy"]
COMMANDS = blocks("reverse-proxy.md")
WAITING = "echo begun; for n in $(seq 1200); do [ -e {go} ] && break; sleep 0.05; done; echo done"


@dataclass(frozen=True)
class Behind:
    """A server, the proxy in front of it, and a shell with the page's commands."""

    serving: Serving
    url: str
    certificate: Path
    shell: Shell

    def session(self) -> aiohttp.ClientSession:
        trusted = ssl.create_default_context(cafile=str(self.certificate))
        headers = {"Authorization": f"Bearer {self.serving.token}"}
        return aiohttp.ClientSession(self.url, headers=headers, connector=aiohttp.TCPConnector(ssl=trusted))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    server = Serving(tmp_path / "data")
    server.data_dir.mkdir(mode=0o700)
    try:
        start(server, free_port())
        yield server
    finally:
        server.close()


def start(serving: Serving, port: int) -> None:
    """On a port that stays the same: the proxy knows no other."""
    with serving.log_file.open("ab") as log:
        serving.process = subprocess.Popen(
            [CRONIUM, "serve", "--port", str(port), "--data-dir", serving.data_dir],
            env=environment(CRONIUM_LOG_FORMAT="text"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    eventually(lambda: answers(f"http://127.0.0.1:{port}/readyz"), f"the server\n{serving.log()}")


def answers(url: str, *options: str) -> bool:
    return (
        subprocess.run(["curl", "--silent", "--fail", *options, url], capture_output=True, timeout=10).returncode == 0
    )


@pytest.fixture(params=["nginx", "caddy"])
def behind(request: pytest.FixtureRequest, serving: Serving, tmp_path: Path) -> Iterator[Behind]:
    place = tmp_path / "proxy"
    place.mkdir()
    certificate = certify(place)
    open_proxy = {"nginx": nginx, "caddy": caddy}[request.param]
    with open_proxy(place, serving) as shell:
        port = shell.replace[NAME].rpartition(":")[2]
        (place / "admin.token").write_text(serving.token)
        trusted = {"SSL_CERT_FILE": str(certificate), "CURL_CA_BUNDLE": str(certificate)}
        shell.env = {**shell.env, **trusted, "CRONIUM_URL": ""}
        behind = Behind(serving=serving, url=f"https://localhost:{port}", certificate=certificate, shell=shell)
        eventually(lambda: answers(f"{behind.url}/readyz", "--cacert", str(certificate)), "the proxy")
        yield behind


def program(name: str) -> str:
    """Where it is; a test that needs it is skipped without it, and fails in CI."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        problem = f"{name} is not on this machine (Debian: apt install {'nginx-light' if name == 'nginx' else name})"
        if os.environ.get("CI"):
            pytest.fail(f"tests of the proxies must run in CI: {problem}")
        pytest.skip(problem)
    return found


def certify(place: Path) -> Path:
    """A certificate for localhost that vouches for itself."""
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = [
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        place / "privkey.pem",
        "-out",
        place / "fullchain.pem",
    ]
    subprocess.run(["openssl", *request.split(), *files], check=True, capture_output=True, timeout=60)
    return place / "fullchain.pem"


@contextmanager
def nginx(place: Path, serving: Serving) -> Iterator[Shell]:
    """The page's file, with places of this test in it, included where Debian includes it."""
    nginx, port = program("nginx"), free_port()
    (site,) = NGINX
    changes = {"127.0.0.1:8080": serving.url.removeprefix("http://"), "listen 443": f"listen 127.0.0.1:{port}"}
    for old, new in {**changes, "/etc/ssl/cronium": str(place), NAME: "localhost"}.items():
        assert old in site
        site = site.replace(old, new)
    (place / "cronium.conf").write_text(site)
    inside = "".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not write where the test is
    (place / "nginx.conf").write_text(
        f"{user} daemon off; pid {place}/nginx.pid; error_log {place}/error.log; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; {inside} include {place}/cronium.conf; }}\n"
    )
    command = [nginx, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error.log")]
    wrapper = place / "bin" / "nginx"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
    wrapper.chmod(0o755)
    with running(command, place / "error.log"):
        yield Shell(place, path(wrapper.parent), {NAME: f"localhost:{port}"})


@contextmanager
def caddy(place: Path, serving: Serving) -> Iterator[Shell]:
    """The page's file, with a certificate that is there already."""
    caddy, port = program("caddy"), free_port()
    (site,) = CADDY
    own = f"localhost:{port} {{\n\tbind 127.0.0.1\n\ttls {place}/fullchain.pem {place}/privkey.pem"
    for old, new in {f"{NAME} {{": own, "127.0.0.1:8080": serving.url.removeprefix("http://")}.items():
        assert old in site
        site = site.replace(old, new)
    file = place / "Caddyfile"
    file.write_text(f"{{\n\tadmin localhost:{free_port()}\n\tauto_https disable_redirects\n}}\n{site}")
    env = {"XDG_DATA_HOME": str(place), "XDG_CONFIG_HOME": str(place)}
    with running([caddy, "run", "--config", str(file)], place / "caddy.log", env):
        changes = {NAME: f"localhost:{port}", "/etc/caddy/Caddyfile": str(file)}
        yield Shell(place, {**path(Path(caddy).parent), **env}, changes)


def path(first: Path) -> dict[str, str]:
    return {"PATH": f"{first}:{CRONIUM.parent}:{os.environ['PATH']}"}


@contextmanager
def running(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[None]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(20)


def test_the_commands_of_the_page_say_that_it_is_right(behind: Behind, request: pytest.FixtureRequest):
    name = request.node.callspec.params["behind"]
    (check,) = COMMANDS["nginx"] if name == "nginx" else COMMANDS["Caddy"]
    behind.shell.run(check)
    first, upgrade = COMMANDS["Is it right?"]
    said = behind.shell.run(first)
    assert '"status":"ready"' in said
    assert said.count("line 3") == 2
    assert behind.shell.run(upgrade).strip() == "HTTP/1.1 101 Switching Protocols"


async def messages(behind: Behind, job_id: str, seen: Callable[[str], None]) -> tuple[list[str], int | None]:
    """What is sent over the WebSocket, by type, and the code that it is closed with; `seen` is told of each line."""
    kinds = []
    path = f"/ws/jobs/{job_id}/logs"
    async with (
        asyncio.timeout(60),
        behind.session() as session,
        session.ws_connect(path, origin=behind.url) as socket,
    ):
        async for message in socket:
            told = json.loads(message.data)
            kinds.append(told["type"])
            for line in told.get("lines", ()):
                seen(line["text"])
    return kinds, socket.close_code


async def test_live_lines_come_while_the_job_runs_to_a_page_of_the_same_host(behind: Behind, tmp_path: Path):
    """The proxy holds nothing back: the job goes on only when its first line has arrived."""
    job_id = behind.serving.submit(bash=WAITING.format(go=tmp_path / "go"))
    kinds, code = await messages(behind, job_id, lambda text: (tmp_path / "go").touch() if text == "begun" else None)
    assert (kinds[-1], code) == ("end", 1000)
    assert behind.serving.text(job_id) == ["begun", "done"]


async def test_a_server_that_ends_closes_with_1012_and_the_job_is_followed_on_at_the_next_one(
    behind: Behind, tmp_path: Path
):
    port = int(behind.serving.url.rpartition(":")[2])
    job_id = behind.serving.submit(bash=WAITING.format(go=tmp_path / "go"))
    begun = asyncio.Event()
    watching = asyncio.create_task(messages(behind, job_id, lambda text: begun.set()))
    await asyncio.wait_for(begun.wait(), 60)
    stopping = asyncio.create_task(asyncio.to_thread(behind.serving.stop))
    kinds, code = await watching
    assert ("end" in kinds, code) == (False, 1012)

    assert await stopping == 0
    start(behind.serving, port)
    lines: list[str] = []
    (tmp_path / "go").touch()
    kinds, code = await messages(behind, job_id, lines.append)
    assert (lines, code) == (["begun", "done"], 1000)


async def test_another_page_is_refused_and_metrics_are_not_handed_on(behind: Behind):
    job_id = behind.serving.submit(bash="true")
    async with behind.session() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"/ws/jobs/{job_id}/logs", origin="https://elsewhere.example")
        assert refused.value.status == 403
        async with session.get("/metrics") as answer:
            assert answer.status == 404
        async with session.get("/api/v3/jobs", headers={"Authorization": ""}) as answer:
            assert answer.status == 401
        async with session.post("/api/v3/jobs", data=io.BytesIO(b"x" * 3 * 1024 * 1024)) as answer:
            assert answer.status == 413
        async with session.post("/api/v3/jobs", data=io.BytesIO(b"x" * 1800 * 1024)) as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, "invalid_json")  # it came through


async def test_while_the_server_is_away_the_proxy_says_502(behind: Behind):
    assert behind.serving.stop() == 0
    async with behind.session() as session, session.get("/readyz") as answer:
        assert answer.status == 502
