"""The descendants of a supervisor: find, stop, signal and reap them. Only for the process that adopts orphans.

Signals go through pidfd_open(2) where the kernel has it, so that a process number that was used again in the
meantime is never hit.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

_STUBBORN_SECONDS = 10.0
_PAUSE_SECONDS = 0.002
_ROUNDS = 50


def signal_all(number: int) -> None:
    """Send a signal to every descendant once, also to those forked while this goes on."""
    reached: set[int] = set()
    for _ in range(_ROUNDS):
        fresh = descendants() - reached
        if not fresh:
            return
        for pid in fresh:
            _send(pid, number)
        reached |= fresh


def kill_all(reap: Callable[[], bool]) -> bool:
    """
    Kill every descendant until none is left; `reap` collects the dead and says whether a child is left.

    All are stopped before any is killed: what is stopped cannot fork, so that a fork bomb is caught up with. False
    when some stay (in a system call that does not end, or of another account): ten seconds are enough.
    """
    deadline = time.monotonic() + _STUBBORN_SECONDS
    while reap():
        signal_all(signal.SIGSTOP)
        for pid in descendants():
            _send(pid, signal.SIGKILL)
        if not reap():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def descendants() -> set[int]:
    """The numbers of all descendants of this process, dead ones that were not reaped left out."""
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        children = [pid for pid in _children(waiting.pop()) if pid not in found]
        found.update(children)
        waiting.extend(children)
    return {pid for pid in found if _parent(pid) is not None}


def _children(pid: int) -> list[int]:
    """Children by /proc/PID/task/*/children (each thread has its own), else by looking at every process."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                children += [int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split()]
            except FileNotFoundError:
                if os.access("/proc/thread-self/children", os.F_OK):
                    continue  # that thread has ended
                return _children_by_parent(pid)  # a kernel without CONFIG_PROC_CHILDREN
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended: its children are ours now, and are found there in the next round
    return children


def _children_by_parent(parent: int) -> list[int]:
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in numbers if _parent(pid) == parent]


def _parent(pid: int) -> int | None:
    """The parent of a process that lives; None for one that is dead or unknown. See proc(5), /proc/PID/stat."""
    try:
        after_name = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in (b"Z", b"X") else int(after_name[1])


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        parts = []
        while part := file.read(65536):
            parts.append(part)
    return b"".join(parts)


def _send(pid: int, number: int) -> None:
    """Send to a descendant, and to nothing else."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:  # a kernel before 5.3, or no descriptors left
        _kill(pid, number)
        return
    try:
        if _is_descendant(pid):  # looked at after the handle was taken: the handle is of this very process
            signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or it changed its account: then it is left, and counted as such
    finally:
        os.close(handle)


def _is_descendant(pid: int) -> bool:
    own = os.getpid()
    parent = _parent(pid)
    while parent is not None and parent > 1:
        if parent == own:
            return True
        parent = _parent(parent)
    # A parent that ends while we look breaks the chain, and its children come to us: look at the start again.
    return _parent(pid) == own


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # see _send
