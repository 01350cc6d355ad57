"""An index of packages for Python and Node of a test's own, that containers on the usual bridge can reach."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.executors.docker.engine_for_tests import docker


@dataclass
class Index:
    """
    `asked` are the names that were asked for, in order. While `open` is not set nothing is answered, and `reached` is
    set when somebody waits. With a `password` only who gives it, as any user, is answered.
    """

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    packuments: dict[str, dict[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    password: str | None = None

    def add_wheel(self, name: str, version: str, **more: Any) -> None:
        file, data = wheel(name, version, **more)
        self.files.setdefault(name, {})[file] = data

    def add_sdist(self, name: str, version: str) -> None:
        self.files.setdefault(name, {})[f"{name}-{version}.tar.gz"] = sdist(name, version)

    def add_npm(self, name: str, version: str, files: dict[str, str]) -> None:
        self.packuments.setdefault(name, {})[version] = tarball({f"package/{file}": files[file] for file in files})

    def pip_config(self, place: Path, user: str = "") -> Path:
        host = self.address.partition(":")[0]
        place.write_text(
            f"[global]\nindex-url = http://{user}{self.address}/simple/\ntrusted-host = {host}\nretries = 0\ntimeout = 5\n"
        )
        place.chmod(0o600)
        return place

    def npm_config(self, place: Path) -> Path:
        place.write_text(f"registry=http://{self.address}/npm/\n")
        place.chmod(0o600)
        return place

    async def answer(self, request: web.Request) -> web.Response:
        kind, *rest = request.path.strip("/").split("/")
        name = "/".join(rest).replace("%2f", "/")
        self.asked.append(name)
        self.reached.set()
        await self.open.wait()
        if self.password is not None and not self._knows(request):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="index"'})
        if kind == "simple" and name in self.files:
            links = "".join(f'<a href="/files/{name}/{file}">{file}</a>' for file in self.files[name])
            return web.Response(text=links, content_type="text/html")
        if kind == "files":
            return web.Response(body=self.files[rest[0]][rest[1]])
        if kind == "npm" and name in self.packuments:
            return web.json_response(self._packument(name))
        if kind == "tarballs":
            return web.Response(body=self.packuments["/".join(rest[:-1])][rest[-1]])
        return web.Response(status=404, text="not here")

    def _knows(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(given).decode().partition(":")[2] == self.password

    def _packument(self, name: str) -> dict[str, object]:
        versions = {
            version: {
                "name": name,
                "version": version,
                "bin": {f"{name}-hello": "bin.js"},
                "dist": {
                    "tarball": f"http://{self.address}/tarballs/{name}/{version}",
                    "shasum": hashlib.sha1(data).hexdigest(),
                },
                "hasInstallScript": True,
                "scripts": {"postinstall": "touch ran-a-script"},
            }
            for version, data in self.packuments[name].items()
        }
        return {"name": name, "dist-tags": {"latest": list(versions)[-1]}, "versions": versions}


@asynccontextmanager
async def open_index() -> AsyncIterator[Index]:
    """Listens where the engine's bridge has its gateway."""
    gateway = docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    index = Index()
    index.open.set()
    runner = web.ServerRunner(web.Server(index.answer), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, gateway, 0)
    await site.start()
    index.address = f"{gateway}:{runner.addresses[0][1]}"
    try:
        yield index
    finally:
        index.open.set()
        await runner.cleanup()


def wheel(
    name: str, version: str, *, says: str = "hello", requires: str = "", size: int = 0, module: str = ""
) -> tuple[str, bytes]:
    """A wheel with a module and a program `<name>-hello`; `size` bytes of it are a file that cannot be compressed away."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    contents = {
        f"{name}.py": module or f"def main():\n    print({says!r})\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-hello = {name}:main\n",
    }
    if size:
        contents[f"{name}.bin"] = "x" * size
    contents[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in contents) + f"{info}/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in contents.items():
            archive.writestr(file, text)
    return f"{name}-{version}-py3-none-any.whl", out.getvalue()


def sdist(name: str, version: str) -> bytes:
    """The source of a package that builds itself, which is code of its own that runs."""
    file, data = wheel(name, version, says="built")
    backend = (
        "import base64\n"
        f"FILE = {file!r}\n"
        f"DATA = {base64.b64encode(data).decode()!r}\n"
        "def build_wheel(directory, config=None, metadata=None):\n"
        "    with open(f'{directory}/{FILE}', 'wb') as out:\n"
        "        out.write(base64.b64decode(DATA))\n"
        "    return FILE\n"
    )
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    info = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {"pyproject.toml": project, "backend.py": backend, "PKG-INFO": info}
    return tarball({f"{name}-{version}/{file}": text for file, text in files.items()})


def tarball(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            data = text.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()
