"""Spool directories as the orchestrator makes, claims and forgets them."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from orchestrator.executors.process import spool
from orchestrator.executors.process.process import read_end

FORGET_SECONDS = 3600.0  # how late somebody may come who was about to start what was given up
_NEW = ".new-"


def make(directory: Path) -> None:
    """Make the spool directory of a process, all of it at once, where it is not there yet."""
    new = directory.with_name(f"{_NEW}{secrets.token_hex(8)}")
    new.mkdir(mode=0o700)
    try:
        os.mkfifo(new / spool.CONTROL, 0o600)
        os.mkfifo(new / spool.WAKE, 0o600)
        new.rename(directory)
    except OSError:
        shutil.rmtree(new)
        if not directory.is_dir():  # rename(2) fails where there is one that is not empty
            raise


def claim(directory: Path) -> str | None:
    """What was decided about a process; None while nothing is, or where there is no directory."""
    try:
        return str((directory / spool.CLAIM).readlink())
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:  # no link: a supervisor's
            raise
        return spool.RUN


def claim_or_abandon(directory: Path) -> str:
    """What was decided about a process; that it never runs, from now on, where nothing was."""
    while (decided := claim(directory)) is None:
        directory.mkdir(mode=0o700, exist_ok=True)
        try:
            (directory / spool.CLAIM).symlink_to(spool.ABANDONED)
        except (FileExistsError, FileNotFoundError):
            continue  # somebody decided, or removed it, just now
    return decided


def failure(directory: Path) -> Mapping[str, object] | None:
    """Why the script could not be started, as a supervisor's answer, if that is how it ended."""
    end = read_end(directory)
    found = end.get("failure") if end is not None else None
    return {"state": spool.FAILED, **found} if isinstance(found, dict) else None


def names(root: Path, prefix: str) -> list[str]:
    """The processes that have a spool directory."""
    return sorted(path.name for path in root.glob(f"{prefix}*"))


def forget_old(root: Path, prefix: str) -> None:
    """Remove, after a while, what was given up and what was never finished making."""
    before = time.time() - FORGET_SECONDS
    given_up = [path for path in root.glob(f"{prefix}*") if claim(path) == spool.ABANDONED]
    for path in (*given_up, *root.glob(f"{_NEW}*")):
        if path.lstat().st_mtime < before:
            shutil.rmtree(path)
