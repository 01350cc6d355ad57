"""What only Linux offers: prctl(2), for which Python has no name, and going before others, see sched(7)."""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG = 1  # numbers from linux/prctl.h
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send `signal_number` to this process when its parent ends, however that comes."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name_this_process(name: str) -> None:
    """Set what `ps` and `top` show, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _prctl(_PR_SET_NAME, ctypes.addressof(buffer))


def go_first(first: bool) -> None:
    """
    Have the CPU before all ordinary processes, or be one of them again.

    Does nothing without the right to: root has it, and others whose limit of real-time priority (RLIMIT_RTPRIO) is not 0.
    """
    policy = os.SCHED_FIFO if first else os.SCHED_OTHER
    try:
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, os.sched_param(int(first)))
    except OSError:
        pass  # then among a thousand runnable processes we have a thousandth of the time


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
