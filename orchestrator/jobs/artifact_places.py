"""The directories of an attempt: where its script leaves files, and where it finds those of earlier steps. Blocking."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ARTIFACTS_ENDING = ".artifacts"
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OURS = 0o700
GIVEN = "artifacts"  # in the attempt's directory
# Of POSIX access control lists as Linux keeps them (acl(5), linux/posix_acl_xattr.h): version 2, then tag, rights, id.
DEFAULT_ACL = "system.posix_acl_default"
OPEN_TO_ALL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, 7, 0xFFFFFFFF) for tag in (0x01, 0x04, 0x20))


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFile:
    """A file of an earlier step: where it lies, and under which path the script finds it."""

    source: Path
    name: str


def make_artifacts(path: Path, *, others: bool) -> None:
    """
    Make the empty directory that a script leaves files in.

    It lies in the directory of the attempts, which is closed to other accounts: so it can be open to all where the
    script runs as another one (`others`) in a container. What that account makes in it must then be ours to read and to
    remove, which root may anyway; another server relies on the inherited access list, by which the script's umask does
    not count.
    """
    try:
        path.mkdir(0o700)
    except FileExistsError:  # of a start that was broken off
        remove(path)
        path.mkdir(0o700)
    if not others:
        return
    path.chmod(0o777)
    if os.geteuid() != 0:
        try:
            os.setxattr(path, DEFAULT_ACL, OPEN_TO_ALL)
        except OSError:  # a file system without: then what the script makes is open to us as far as it says itself
            return


def lay_out(given: Sequence[GivenFile], target: Path) -> None:
    """Copy what earlier steps left into the new directory `target`, to be read only."""
    target.mkdir()
    for file in given:
        path = target / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.source, path)
        path.chmod(0o444)
    for place, _, _ in os.walk(target):
        Path(place).chmod(0o555)


def remove(path: Path) -> None:
    """
    Remove a directory with all that is in it, or what a script has put in the place of that of its artifacts; does
    nothing where nothing is.

    What scripts are given is read-only, and what they leave may be closed even to us: then it is opened first. It may
    also be thousands of levels deep.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(mode) and path.name.endswith(ARTIFACTS_ENDING):
        path.unlink()
        return
    with _opened(str(path), None) as top:
        waiting = _emptied(top, None)
        while waiting:
            name = waiting.pop()
            with _opened(name, top) as inner:
                waiting += _emptied(inner, top)
            os.rmdir(name, dir_fd=top)
    path.rmdir()


def _emptied(directory: int, top: int | None) -> list[str]:
    """
    Remove what is in an open directory but the directories, and move those to the `top` one (None: this is it); their
    names there.

    So no tree is too deep: neither the stack nor the number of descriptors grows with it.
    """
    names = []
    with os.scandir(directory) as entries:
        for entry in [*entries]:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=directory)
            elif top is None:
                names.append(entry.name)
            else:
                names.append(_moved(entry.name, directory, top))
    return names


def _moved(name: str, directory: int, top: int) -> str:
    fresh = f".{secrets.token_hex(16)}"  # a name that nobody has chosen
    try:
        os.rename(name, fresh, src_dir_fd=directory, dst_dir_fd=top)
    except PermissionError:  # to move a directory is to change its `..`
        os.chmod(name, OURS, dir_fd=directory)
        os.rename(name, fresh, src_dir_fd=directory, dst_dir_fd=top)
    return fresh


@contextmanager
def _opened(name: str, directory: int | None) -> Iterator[int]:
    """A directory that is to be emptied, with the rights to do so where it is ours to give them."""
    try:
        descriptor = os.open(name, DIRECTORY, dir_fd=directory)
    except PermissionError:
        os.chmod(name, OURS, dir_fd=directory)
        descriptor = os.open(name, DIRECTORY, dir_fd=directory)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, OURS)
        yield descriptor
    finally:
        os.close(descriptor)
