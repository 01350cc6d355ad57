"""The descendants of a supervisor: find, signal and reap them. Only for the process that adopts orphans.

Children are signalled by number: nobody else collects them, so that their numbers are not used again meanwhile. For
deeper ones signals go through pidfd_open(2) where the kernel has it, so that a number that was is never hit.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from orchestrator.executors.process.linux import go_first

_STUBBORN_SECONDS = 10.0
_PAUSE_SECONDS = 0.002
_ROUNDS = 50
_ROUNDS_SECONDS = 1.0


def signal_all(number: int) -> None:
    """Send a signal to every descendant once, also to those forked while this goes on, if that is not without end."""
    reached: set[int] = set()
    known = {os.getpid()}
    deadline = time.monotonic() + _ROUNDS_SECONDS
    for _ in range(_ROUNDS):
        fresh = [pid for pid in tree() if pid not in reached]
        for pid in fresh:
            _send(pid, number, known)
        if not fresh or time.monotonic() > deadline:
            return
        reached.update(fresh)


def kill_all(reap: Callable[[], bool]) -> bool:
    """
    Kill every descendant until none is left; `reap` collects some of the dead and says whether a child is left.

    A fork bomb has nearly all of the CPU. So children are killed first, which costs microseconds each, and what they
    leave behind comes to us; only when no new one comes the rest of the tree is looked at. What is killed cannot fork
    any more, even before it gets the CPU that it needs to die. False when some stay (in a system call that does not
    end, or of another account): ten seconds are enough.
    """
    done: set[int] = set()
    deadline = time.monotonic() + _STUBBORN_SECONDS
    go_first(True)
    try:
        while reap():
            if _kill_children(done) or _kill_deeper(done):
                continue
            if time.monotonic() > deadline:
                return False
            done.clear()  # numbers are used again
            time.sleep(_PAUSE_SECONDS)
        return True
    finally:
        go_first(False)


def _kill_children(done: set[int]) -> bool:
    """Kill the children that are not `done`, and add them; whether there were any."""
    found = [pid for pid in _children(os.getpid()) if pid not in done]
    for pid in found:
        _kill(pid, signal.SIGKILL)
    done.update(found)
    return bool(found)


def _kill_deeper(done: set[int]) -> bool:
    """Kill the descendants that are not `done`, and add them; whether there were any that lived."""
    known = {os.getpid(), *done}
    found = [pid for pid in tree() if pid not in done]
    done.update(found)
    lived = [pid for pid in found if _send(pid, signal.SIGKILL, known)]
    return bool(lived)


def tree(most: int | None = None) -> list[int]:
    """The numbers of all descendants of this process, dead ones too, each after its parent; no more than `most`."""
    found = [os.getpid()]
    seen = set(found)
    for pid in found:  # which grows meanwhile
        if most is not None and len(found) > most:
            break
        fresh = [child for child in _children(pid) if child not in seen]
        seen.update(fresh)
        found += fresh
    return found[1:] if most is None else found[1 : most + 1]


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


def _send(pid: int, number: int, known: set[int]) -> bool:
    """Send to a descendant, and to nothing else; whether one lived. `known`: we, and who was found to be one."""
    if _parent(pid) is None:
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:  # a kernel before 5.3, or no descriptors left
        _kill(pid, number)
        return True
    try:
        if _is_descendant(pid, known):  # looked at after the handle was taken: the handle is of this very process
            signal.pidfd_send_signal(handle, number)
            known.add(pid)
            return True
    except (ProcessLookupError, PermissionError):
        pass  # see _kill
    finally:
        os.close(handle)
    return False


def _is_descendant(pid: int, known: set[int]) -> bool:
    parent = _parent(pid)
    while parent is not None and parent > 1:
        if parent in known:
            return True
        parent = _parent(parent)
    # A parent that ends while we look breaks the chain, and its children come to us: look at the start again.
    return _parent(pid) in known


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or it changed its account: then it is left, and counted as such
