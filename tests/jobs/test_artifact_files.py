"""Copying what a script left: what of it is kept, under which names, and what is said of the rest."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.jobs import artifact_files
from orchestrator.jobs.artifact_files import ArtifactLimits, Haul, StoppedError, copy_all, media_type_of
from orchestrator.jobs.artifact_places import make_artifacts, remove
from orchestrator.model.artifacts import name_problem

LIMITS = ArtifactLimits(max_bytes=1000, max_files=10)
NOBODY = 65534


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


def put(place: Path, name: str, data: bytes = b"x") -> Path:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def copied(source: Path, limits: ArtifactLimits = LIMITS) -> Haul:
    return copy_all(source, source.parent / "target" / "job" / "1-1", limits, lambda: False)


def open_descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def names(haul: Haul) -> list[str]:
    return [file.name for file in haul.files]


def test_files_are_copied_with_their_directories_sizes_digests_and_types(source: Path):
    put(source, "report.csv", b"1,2\n")
    put(source, "plots/a/b.png", b"\x89PNG")
    put(source, "empty", b"")

    haul = copied(source)

    assert [(file.name, file.size, file.media_type) for file in haul.files] == [
        ("empty", 0, "application/octet-stream"),
        ("plots/a/b.png", 4, "image/png"),
        ("report.csv", 4, "text/csv"),
    ]
    assert haul.files[2].sha256 == hashlib.sha256(b"1,2\n").hexdigest()
    target = source.parent / "target" / "job" / "1-1"
    assert (target / "plots/a/b.png").read_bytes() == b"\x89PNG"
    assert haul.sentences() == []


def test_what_is_no_regular_file_is_left_out_each_with_a_sentence(source: Path, tmp_path: Path):
    outside = put(tmp_path, "secret", b"of the server")
    put(source, "good")
    (source / "link").symlink_to(outside)
    (source / "dirlink").symlink_to(tmp_path)
    (source / "hard").hardlink_to(outside)
    os.mkfifo(source / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "socket"))
    haul = copied(source)

    assert names(haul) == ["good"]
    said = "\n".join(haul.sentences())
    for name, why in (("link", "symbolic link"), ("dirlink", "symbolic"), ("fifo", "FIFO"), ("socket", "socket")):
        assert any(f"'{name}' is a {why}" in sentence for sentence in haul.sentences()), said
    assert "'hard' has other names too" in said
    assert all(b"of the server" not in file.read_bytes() for file in tmp_path.rglob("target/**/*") if file.is_file())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_left_out(source: Path):
    os.mknod(source / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    assert copied(source).sentences() == ["The artifact 'zero' is a device: it is not kept."]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"new\nline", "control characters"),
        (b"esc\x1b[2J", "control characters"),
        (b"\xff\xfe", "not UTF-8"),
        ("separator\u2028".encode(), "control characters"),
        (b"/".join([b"d"] * 16 + [b"file"]), "deeper than 16"),
        (b"/".join([b"l" * 200] * 6), "more than 1024 bytes"),
    ],
)
def test_a_name_that_cannot_be_kept_is_left_out_and_can_be_said(source: Path, name: bytes, why: str):
    path = Path(os.fsdecode(bytes(os.fsencode(source)) + b"/" + name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")

    haul = copied(source)

    assert names(haul) == []
    [sentence] = haul.sentences()
    assert why in sentence
    assert sentence.isprintable()
    sentence.encode()


@pytest.mark.parametrize("name", ["", ".", "..", "/etc/passwd", "a/../b", "a//b", "a/", "./a", "a/.."])
def test_no_name_leads_out_of_its_directory(name: str):
    assert name_problem(name) is not None


@pytest.mark.parametrize("name", ["a", ".hidden", "...", "a b", "ä/日本.csv", 'quote".txt', "-rf", "a\\b"])
def test_odd_but_harmless_names_are_kept(source: Path, name: str):
    put(source, name)
    assert names(copied(source)) == [name]


def test_what_is_beyond_the_limits_is_left_out_and_what_still_fits_is_kept(source: Path):
    put(source, "a", b"x" * 900)
    put(source, "b", b"x" * 200)
    put(source, "c", b"x" * 100)

    haul = copied(source)

    assert names(haul) == ["a", "c"]
    assert haul.sentences() == [
        "The artifact 'b' (200 bytes) is more than the 1000 bytes that a job may leave: it is not kept."
    ]


def test_what_a_killed_script_had_not_finished_is_left_out(source: Path):
    put(source, "plots/.0123456789abcdef.tmp")
    put(source, ".mine.tmp")

    haul = copied(source)

    assert names(haul) == [".mine.tmp"]
    assert haul.sentences() == [
        "The artifact 'plots/.0123456789abcdef.tmp' was not finished when the script ended: it is not kept."
    ]


def test_a_sparse_file_counts_with_its_holes(source: Path):
    with (source / "sparse").open("wb") as file:
        file.truncate(2000)
    assert names(copied(source)) == []


def test_too_many_files_are_left_out_with_few_words(source: Path):
    for number in range(100):
        put(source, f"{number:03}")

    haul = copied(source)

    assert names(haul) == [f"{number:03}" for number in range(10)]
    assert len(haul.sentences()) == artifact_files.MOST_NOTES + 1
    assert haul.sentences()[-1] == "70 more artifacts are not kept."


def test_of_a_directory_with_too_many_names_only_some_are_looked_at(source: Path):
    for number in range(LIMITS.max_entries + 50):
        (source / f"{number:04}").symlink_to("nowhere")

    haul = copied(source)

    assert any("too many names" in sentence for sentence in haul.sentences())
    assert len(haul.notes) + haul.unsaid == LIMITS.max_entries + 1


@pytest.mark.parametrize("swap", ["link", "fifo", "hard", "directory"])
def test_a_file_that_is_swapped_while_we_look_leads_nowhere_else(source: Path, monkeypatch, swap: str):
    """Between the look at the name and the opening a descendant of the script puts something else there."""
    secret = put(source.parent, "secret", b"of the server")
    wanted = put(source, "file", b"mine")
    real = os.open

    def late(path, flags, *more, **named):
        if path == "file":
            wanted.unlink()
            if swap == "link":
                wanted.symlink_to(secret)
            elif swap == "fifo":
                os.mkfifo(wanted)
            elif swap == "directory":
                wanted.mkdir()
            else:
                wanted.hardlink_to(secret)
        return real(path, flags, *more, **named)

    monkeypatch.setattr(artifact_files.os, "open", late)
    before = open_descriptors()
    haul = copied(source)

    assert names(haul) == []
    assert len(haul.sentences()) == 1
    assert open_descriptors() == before


def test_a_directory_that_is_swapped_for_a_link_is_not_followed(source: Path, monkeypatch):
    put(source.parent, "elsewhere/secret", b"of the server")
    put(source, "dir/file")
    real = os.open

    def late(path, flags, *more, **named):
        if path == "dir":
            (source / "dir").rename(source.parent / "moved")
            (source / "dir").symlink_to(source.parent / "elsewhere")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(artifact_files.os, "open", late)
    assert names(copied(source)) == []


def test_a_directory_of_artifacts_that_is_a_link_itself_is_not_followed(source: Path, tmp_path: Path):
    put(tmp_path, "elsewhere/secret")
    source.rmdir()
    source.symlink_to(tmp_path / "elsewhere")

    haul = copied(source)

    assert (names(haul), len(haul.sentences())) == ([], 1)
    target = source.with_name("x.artifacts")
    source.rename(target)
    remove(target)
    assert not target.is_symlink()
    assert (tmp_path / "elsewhere" / "secret").exists()


def test_what_is_added_to_a_file_while_it_is_copied_is_not_in_it(source: Path, monkeypatch):
    path = put(source, "log", b"x" * 10)
    real = os.fstat

    def growing(descriptor):
        found = real(descriptor)
        with path.open("ab") as file:
            file.write(b"y" * 5000)
        return found

    monkeypatch.setattr(artifact_files.os, "fstat", growing)
    [file] = copied(source).files
    assert (file.size, file.sha256) == (10, hashlib.sha256(b"x" * 10).hexdigest())


def test_a_full_disk_keeps_what_was_copied_and_says_so(source: Path, monkeypatch):
    for name in "abc":
        put(source, name)
    real = os.fsync
    synced: list[int] = []

    def full(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(artifact_files.errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(artifact_files.os, "fsync", full)
    haul = copied(source)

    assert names(haul) == ["a"]
    assert haul.sentences() == [f"The artifact '{name}' found no room on the disk: it is not kept." for name in "bc"]
    assert not (source.parent / "target/job/1-1/b").exists()


def test_room_is_left_for_the_database(source: Path, monkeypatch):
    put(source, "a", b"x" * 500)
    put(source, "b", b"x" * 100)
    monkeypatch.setattr(artifact_files, "_free_bytes", lambda _: artifact_files.RESERVE_BYTES + 200)

    haul = copied(source)

    assert names(haul) == ["b"]
    assert haul.sentences() == ["The artifact 'a' (500 bytes) finds no room on the disk: it is not kept."]


def test_no_descriptor_is_left_where_the_place_cannot_be_used(source: Path):
    put(source, "a")
    put(source.parent, "target")
    before = open_descriptors()
    with pytest.raises(OSError, match="target"):
        copied(source)
    assert open_descriptors() == before


def test_a_name_that_a_directory_tells_twice_is_copied_once(source: Path, monkeypatch):
    """Some do, where names change while they are read."""
    put(source, "a", b"1")
    real = artifact_files._entries
    monkeypatch.setattr(artifact_files, "_entries", lambda *args: real(*args) * 2)
    haul = copied(source)

    assert names(haul) == ["a"]
    assert (source.parent / "target/job/1-1/a").read_bytes() == b"1"


def test_what_lies_thousands_of_levels_deep_is_removed(source: Path):
    """Neither the stack nor the descriptors are enough for a step down at each level."""
    place = os.open(source, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=place)
        inner = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)
    before = open_descriptors()
    try:
        remove(source)
        assert not source.exists()
        assert open_descriptors() == before
    finally:
        subprocess.run(["rm", "-rf", source], check=True)  # pytest cannot either


def test_copying_stops_between_two_files(source: Path):
    for name in "abc":
        put(source, name)
    asked = iter([False, False, True])
    with pytest.raises(StoppedError):
        copy_all(source, source.parent / "t" / "j" / "1", LIMITS, lambda: next(asked))
    assert sorted(path.name for path in (source.parent / "t/j/1").iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.json", "application/json"),
        ("a.TXT", "text/plain"),
        ("a.csv.gz", "application/octet-stream"),
        ("Makefile", "application/octet-stream"),
        (".csv", "application/octet-stream"),
        ("html", "application/octet-stream"),
    ],
)
def test_the_media_type_follows_from_the_ending(name: str, kind: str):
    assert media_type_of(name) == kind


@contextmanager
def another_account(uid: int) -> Iterator[None]:
    me = os.geteuid()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several accounts")
def test_a_server_without_rights_reads_and_removes_what_another_account_left_in_directories_of_its_own():
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(place, 10001, 10001)
    path = place / "x.artifacts"
    try:
        with another_account(10001):
            make_artifacts(path, others=True)
        place.chmod(0o711)  # as the mount leads there
        with another_account(NOBODY):
            mask = os.umask(0o077)
            put(path, "dir/inner/file", b"theirs")
            os.umask(mask)
        with another_account(10001):
            haul = copy_all(path, place / "kept" / "job" / "1-1", LIMITS, lambda: False)
            remove(path)
        assert names(haul) == ["dir/inner/file"]
        assert not path.exists()
    finally:
        remove(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several accounts")
@pytest.mark.parametrize("mode", [0, 0o555])
def test_a_server_without_rights_removes_what_is_closed_to_it_and_follows_no_link(mode: int):
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(place, 10001, 10001)
    path = place / "attempt"
    try:
        with another_account(10001):
            kept = put(place, "elsewhere/file")
            kept.parent.chmod(0o500)
            put(path, "a/b/c/file")
            (path / "a/b/link").symlink_to(kept.parent)
            for name in ("a/b/c", "a/b", "a", "."):
                (path / name).chmod(mode)
            remove(path)
            assert not path.exists()
            assert (kept.exists(), stat.S_IMODE(kept.parent.stat().st_mode)) == (True, 0o500)
    finally:
        remove(place)
