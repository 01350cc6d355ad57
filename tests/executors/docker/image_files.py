"""Images of the tests' own, packed from programs of this machine with the libraries that they need and nothing else."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.executors.docker.engine_for_tests import docker

LIBRARY = re.compile(r"(/\S+) \(0x")


class ImageFiles:
    """The files of an image, as a tar."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w")
        self._there: set[str] = set()

    def add(self, name: str, content: bytes, mode: int = 0o644) -> None:
        if name in self._there:
            return
        self._there.add(name)
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), mode
        self._tar.addfile(info, io.BytesIO(content))

    def add_program(self, source: str | Path, name: str) -> None:
        """A program of this machine, under a name in the image, with its libraries where they are here."""
        path = Path(source).resolve()
        self.add(name, path.read_bytes(), 0o755)
        self.add_libraries(path)

    def add_libraries(self, path: Path) -> None:
        done = subprocess.run(["ldd", str(path)], capture_output=True, text=True, timeout=60)
        for library in LIBRARY.findall(done.stdout):
            self.add(os.path.normpath(library).lstrip("/"), Path(library).read_bytes(), 0o755)

    def add_tree(self, source: Path, name: str, leave_out: tuple[str, ...] = ()) -> None:
        """A directory, with the libraries that the shared objects in it need."""

        def taken(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
            return None if Path(info.name).name in leave_out else info

        self._tar.add(source, name, filter=taken)
        for path in source.rglob("*.so"):
            if not set(path.relative_to(source).parts) & set(leave_out):
                self.add_libraries(path)

    def tar(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def import_image(files: ImageFiles, name: str, *changes: str) -> None:
    """Make the image on the engine; `changes` are lines of a Dockerfile such as `USER 1000`."""
    options = [part for change in changes for part in ("-c", change)]
    command = ["docker", "import", *options, "-", name]
    subprocess.run(command, input=files.tar(), check=True, capture_output=True, timeout=120)


@contextmanager
def image_of(files: ImageFiles, name: str, *changes: str) -> Iterator[str]:
    """The image, for as long as the block lasts."""
    import_image(files, name, *changes)
    try:
        yield name
    finally:
        docker("rmi", "-f", name)
