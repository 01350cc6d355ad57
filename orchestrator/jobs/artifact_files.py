"""
Copy what a script left behind to where we keep it. Blocking; the directory is the script's, and so not to be trusted.

Everything is opened relative to the directory that was looked at, and no link is followed (openat(2) with O_NOFOLLOW): a
descendant of the script that changes names while they are read leads us nowhere else. A file is what its descriptor says.
"""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path, PurePosixPath

from orchestrator.model.artifacts import name_problem

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
READ_FILE = READ | os.O_NONBLOCK | os.O_NOCTTY  # of a FIFO nothing is waited for, and a terminal does not become ours
BLOCK_BYTES = 1024 * 1024
RESERVE_BYTES = 1024 * 1024  # for the database, which is to record the end of the job
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
MOST_NOTES = 20
DRAFT = re.compile(r"\.[0-9a-f-]{16,}\.tmp")  # what an SDK calls an artifact until it is whole
UNKNOWN_TYPE = "application/octet-stream"
KINDS = (
    (stat.S_ISLNK, "is a symbolic link"),
    (stat.S_ISFIFO, "is a FIFO"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactLimits:
    """How much one job may leave; sparse files count with their holes."""

    max_bytes: int = 256 * 1024 * 1024
    max_files: int = 1000

    @property
    def max_entries(self) -> int:
        """How many names are looked at: those of directories and of what is left out are not files that are kept."""
        return 2 * self.max_files + 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A file that was copied: under which name, how long it is, its SHA-256 in hex, and its media type."""

    name: str
    size: int
    sha256: str
    media_type: str


@dataclass(slots=True)
class Haul:
    """What was copied, and a sentence for each thing that was not."""

    files: list[Copied] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    size: int = 0
    unsaid: int = 0
    is_full: bool = False  # nothing more can be taken

    def leave(self, name: str, why: str) -> None:
        """Note that something stays behind; of too many only how many."""
        if len(self.notes) < MOST_NOTES:
            self.notes.append(f"The artifact {shown(name)} {why}: it is not kept.")
        else:
            self.unsaid += 1

    def sentences(self) -> list[str]:
        return [*self.notes, f"{self.unsaid} more artifacts are not kept."] if self.unsaid else self.notes


class StoppedError(Exception):
    """The copying was told to stop between two files."""


def shown(name: str) -> str:
    """A name as it can be said in a line, whatever is in it."""
    text = ascii(name) if name_problem(name) else repr(name)
    return text if len(text) <= 200 else f"{text[:200]}..."


def copy_all(source: Path, target: Path, limits: ArtifactLimits, stopped: Callable[[], bool]) -> Haul:
    """
    Copy the regular files below `source` into the new directory `target`, and onto the disk, in the order of their names.

    What is no regular file, has more names than one or a name that cannot be kept, and what is beyond the limits stays
    behind with a note. Raises `StoppedError`; `OSError` where `source` or `target` as a whole cannot be used.
    """
    haul = Haul()
    try:
        directory = os.open(source, READ | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            haul.notes.append("The directory of artifacts is no directory any more: nothing is kept.")
            return haul
        raise
    try:
        target.mkdir(parents=True)
        _copy_directory(directory, "", _Journey(target=target, limits=limits, stopped=stopped, haul=haul))
    finally:
        os.close(directory)
    for place in {parent for file in haul.files for parent in (target / file.name).parents if parent >= target}:
        _sync_directory(place)
    for place in (target.parent, target.parent.parent):
        _sync_directory(place)
    return haul


@dataclass(slots=True, kw_only=True)
class _Journey:
    target: Path
    limits: ArtifactLimits
    stopped: Callable[[], bool]
    haul: Haul
    seen: int = 0


def _copy_directory(directory: int, prefix: str, journey: _Journey) -> None:
    """Copy what is in an open directory."""
    for entry in _entries(directory, prefix, journey):
        name, haul = f"{prefix}{entry.name}", journey.haul
        if journey.stopped():
            raise StoppedError
        if haul.is_full:
            haul.leave(name, "found no room on the disk")
        elif (problem := name_problem(name)) is not None:
            haul.leave(name, problem)
        elif DRAFT.fullmatch(entry.name):
            haul.leave(name, "was not finished when the script ended")
        else:
            _copy_entry(directory, entry, name, journey)


def _entries(directory: int, prefix: str, journey: _Journey) -> list[os.DirEntry[str]]:
    """The entries of a directory by name, as far as they are looked at."""
    left = journey.limits.max_entries - journey.seen
    with os.scandir(directory) as entries:
        found = list(islice(entries, left + 1))
    if len(found) > left:
        journey.haul.leave(f"{prefix}...", "lies in a directory with too many names")
        found = found[:left]
    journey.seen += len(found)
    return sorted(found, key=lambda entry: entry.name)


def _copy_entry(directory: int, entry: os.DirEntry[str], name: str, journey: _Journey) -> None:
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            with _opened(entry.name, READ | os.O_DIRECTORY, directory) as inner:
                _copy_directory(inner, f"{name}/", journey)
        elif stat.S_ISREG(mode):
            with _opened(entry.name, READ_FILE, directory) as source:
                _copy_file(source, name, journey)
        else:
            journey.haul.leave(name, next((words for is_one, words in KINDS if is_one(mode)), "is no file"))
    except OSError as error:
        journey.haul.is_full = error.errno in NO_ROOM
        why = "found no room on the disk" if journey.haul.is_full else f"cannot be read ({error.strerror})"
        journey.haul.leave(name, why)


@contextmanager
def _opened(name: str, flags: int, directory: int) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _copy_file(source: int, name: str, journey: _Journey) -> None:
    """Copy an open file, unless it is not what its name has promised: it may be a directory by now."""
    haul, limits = journey.haul, journey.limits
    found = os.fstat(source)
    if not stat.S_ISREG(found.st_mode):
        haul.leave(name, "is no file")
    elif found.st_nlink != 1:
        haul.leave(name, "has other names too (a hard link)")
    elif len(haul.files) >= limits.max_files:
        haul.leave(name, f"is one more than the {limits.max_files} files that a job may leave")
    elif haul.size + found.st_size > limits.max_bytes:
        haul.leave(name, f"({found.st_size} bytes) is more than the {limits.max_bytes} bytes that a job may leave")
    elif _free_bytes(journey.target) < found.st_size + RESERVE_BYTES:
        haul.leave(name, f"({found.st_size} bytes) finds no room on the disk")
    else:
        copied = _written(iter(lambda: os.read(source, BLOCK_BYTES), b""), found.st_size, name, journey)
        haul.files.append(copied)
        haul.size += copied.size


def _written(blocks: Iterator[bytes], size: int, name: str, journey: _Journey) -> Copied:
    """Write at most `size` bytes: what somebody adds to the file meanwhile is not in it."""
    path = journey.target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), size
    with path.open("xb") as file:
        try:
            for block in blocks:
                part = block[:left]
                digest.update(part)
                file.write(part)
                left -= len(part)
                if not left:
                    break
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return Copied(name=name, size=size - left, sha256=digest.hexdigest(), media_type=media_type_of(name))


def _free_bytes(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _sync_directory(path: Path) -> None:
    """What is in a directory is on the disk when the directory is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def media_type_of(name: str) -> str:
    """By the ending, and what nobody can do harm with where it says nothing."""
    ending = PurePosixPath(name).suffix.lower()
    return _types().get(ending, UNKNOWN_TYPE)


@cache
def _types() -> Mapping[str, str]:
    """The table that comes with Python, the same everywhere: not what files of this machine add to it."""
    return mimetypes.MimeTypes().types_map[True]
