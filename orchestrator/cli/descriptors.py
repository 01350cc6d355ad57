"""The three standard descriptors as they come: closed, full for now, or with nobody at the other end any more."""

from __future__ import annotations

import os
import select
import sys

STDOUT, STDERR = 1, 2
LOOK_SECONDS = 1.0


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, waiting for room also where the descriptor does not block. Raises `OSError`."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [], LOOK_SECONDS)


def say(text: str) -> None:
    """Say something on stderr. Where that cannot be written any more, this and everything after it is left unsaid."""
    try:
        write_all(STDERR, f"{text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        silence(STDERR)


def silence(*descriptors: int) -> None:
    """Let what is still written to `descriptors` go nowhere: not be complained about, by us or on the way out."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def open_closed() -> None:
    """
    Open /dev/null for each standard descriptor that is closed.

    Otherwise the next file opened, the database for one, takes its number, and is written to as if it were stdout.
    """
    for number, mode in ((0, os.O_RDONLY), (STDOUT, os.O_WRONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # the lowest free number: `number`
    # Python set these to None when it found the descriptors closed.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for as long as we live
    sys.stdout = sys.stdout or open(STDOUT, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(STDERR, "w", closefd=False)  # noqa: SIM115
