"""Entries of the package cache are whole or not there, locked while they are made, and within a limit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.executors.docker.package_cache import Lock, PackageCache, size_of
from tests.conftest import ROOT

FACTS = {"language": "python", "image": "x", "requirements": ["a"], "resolved": {"a": "1"}}

HOLDER = """
import sys
from pathlib import Path
from orchestrator.executors.docker.package_cache import PackageCache

cache = PackageCache(Path(sys.argv[1]))
lock = cache.lock("key")
(cache.stage("key").tree / "half.py").write_text("half")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def cache(tmp_path: Path) -> PackageCache:
    return PackageCache(tmp_path / "packages")


def taken(cache: PackageCache, key: str, *, shared: bool = False) -> Lock:
    lock = cache.lock(key, shared=shared)
    assert lock is not None
    return lock


def make(cache: PackageCache, key: str, size: int = 10, used_at: float | None = None) -> None:
    lock = taken(cache, key)
    staged = cache.stage(key)
    (staged.tree / "a.py").write_bytes(os.urandom(size))
    cache.publish(staged, FACTS)
    if used_at is not None:
        os.utime(cache.tree(key).parent / "entry.json", (used_at, used_at))
    lock.release()


def test_an_entry_is_found_when_it_is_whole_and_not_before(cache: PackageCache):
    lock = taken(cache, "key")
    staged = cache.stage("key")
    (staged.tree / "a.py").write_text("a = 1")
    assert cache.find("key") is None
    cache.publish(staged, FACTS)
    lock.release()
    found = cache.find("key")
    assert found is not None
    assert (found.resolved, found.size > 0) == ({"a": "1"}, True)
    assert (cache.tree("key") / "a.py").read_text() == "a = 1"


def test_nobody_but_us_can_enter_the_cache(cache: PackageCache, tmp_path: Path):
    make(cache, "key")
    assert (tmp_path / "packages").stat().st_mode & 0o777 == 0o700


def test_many_may_be_about_to_mount_and_one_may_make(cache: PackageCache):
    first, second = taken(cache, "key", shared=True), taken(cache, "key", shared=True)
    assert cache.lock("key") is None
    first.release()
    second.release()
    alone = taken(cache, "key")
    assert cache.lock("key", shared=True) is None
    assert cache.is_locked("key")
    alone.release()
    assert not cache.is_locked("key")


def test_a_lock_whose_file_was_removed_is_none(cache: PackageCache, tmp_path: Path):
    old = taken(cache, "key")
    (tmp_path / "packages" / "key.lock").unlink()
    new = taken(cache, "key")
    old.release()
    assert cache.is_locked("key")
    new.release()


def test_what_a_killed_process_began_is_swept_and_what_a_living_one_makes_is_not(cache: PackageCache, tmp_path: Path):
    make(cache, "whole")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "packages")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        cache.sweep()
        assert len(list((tmp_path / "packages" / "staging").iterdir())) == 1
        holder.kill()
    cache.sweep()
    assert list((tmp_path / "packages" / "staging").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "packages").iterdir()) == ["staging", "whole", "whole.lock"]


@pytest.mark.parametrize("damage", ["{", "{}", ""])
def test_a_damaged_entry_is_not_used_and_made_again(damage: str, cache: PackageCache):
    make(cache, "key")
    (cache.tree("key").parent / "entry.json").write_text(damage)
    assert cache.find("key") is None
    make(cache, "key")
    assert cache.find("key") is not None


def test_an_entry_whose_files_somebody_removed_is_not_used(cache: PackageCache):
    make(cache, "key")
    (cache.tree("key") / "a.py").unlink()
    cache.tree("key").rmdir()
    assert cache.find("key") is None
    cache.sweep()
    assert not cache.tree("key").parent.exists()


def test_what_was_used_longest_ago_goes_first_and_no_more_than_must(cache: PackageCache):
    for number, key in enumerate(("old", "middle", "new")):
        make(cache, key, 100_000, used_at=1000.0 + number)
    cache.touch("old")
    assert cache.shrink(250_000, frozenset()) == ["middle"]
    assert cache.find("middle") is None
    assert cache.find("old") is not None
    assert cache.shrink(250_000, frozenset()) == []


def test_what_is_mounted_or_about_to_be_stays(cache: PackageCache):
    for key in ("mounted", "locked", "free"):
        make(cache, key, 100_000)
    lock = taken(cache, "locked", shared=True)
    assert cache.shrink(1, frozenset({"mounted"})) == ["free"]
    lock.release()
    assert (cache.find("mounted"), cache.find("locked")) != (None, None)


def test_what_was_mounted_after_it_was_asked_what_is_mounted_stays(cache: PackageCache):
    """A job had the lock while that was asked, has its container by now, and has given the lock back."""
    for key in ("started", "idle"):
        make(cache, key, 100_000, used_at=1000.0)
    lock = taken(cache, "started", shared=True)
    asked_at = time.time()
    cache.leave("started", lock)
    assert cache.shrink(1, frozenset(), as_of=asked_at) == ["idle"]
    assert cache.find("started") is not None
    assert not cache.is_locked("started")


def test_two_that_make_room_at_once_do_not_stumble_over_each_other(cache: PackageCache, monkeypatch):
    """The other one was quicker with each entry, from the list on."""
    for key in ("one", "two"):
        make(cache, key, 100_000, used_at=1000.0)
    known = list(cache._entries())
    assert sorted(cache.shrink(1, frozenset())) == ["one", "two"]
    monkeypatch.setattr(cache, "_entries", lambda: iter(known))
    assert sorted(cache.shrink(1, frozenset())) == ["one", "two"]
    assert cache.shrink(10**9, frozenset()) == []


def test_the_last_use_is_remembered_with_the_entry(cache: PackageCache):
    make(cache, "key", used_at=1.0)
    cache.touch("key")
    assert (cache.tree("key").parent / "entry.json").stat().st_mtime > time.time() - 3600


def test_a_package_with_thousands_of_levels_is_measured_and_removed(cache: PackageCache, tmp_path: Path):
    lock = taken(cache, "key")
    staged = cache.stage("key")
    place = os.open(staged.tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=place)
        inner = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)
    (staged.tree / "a.py").write_bytes(os.urandom(100_000))
    try:
        assert size_of(staged.tree) >= 100_000
        cache.discard(staged)
        lock.release()
        assert list((tmp_path / "packages" / "staging").iterdir()) == []
    finally:
        subprocess.run(["rm", "-rf", staged.directory], check=True)  # pytest could not


def test_links_that_a_package_has_laid_are_neither_followed_nor_counted(cache: PackageCache, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(os.urandom(1_000_000))
    lock = taken(cache, "key")
    staged = cache.stage("key")
    (staged.tree / "link").symlink_to(outside)
    assert size_of(staged.tree) < 100_000
    cache.discard(staged)
    lock.release()
    assert (outside / "large").exists()
