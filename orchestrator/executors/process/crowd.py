"""Whether a script has more processes at once than it may have. Imported by the zygote.

The kernel's own limits do not serve: RLIMIT_NPROC counts every process of the account, those of other jobs too, and
does not hold for root (setrlimit(2)); a pids control group is for who may make one, which is seldom so in a container.
So the supervisor counts. It need not often: a script has grown by no more than the whole machine has started.
"""

from __future__ import annotations

import os
import time

from orchestrator.executors.process.linux import go_first
from orchestrator.executors.process.tree import tree

SHORTEST_SECONDS = 0.02  # between two looks
LONGEST_SECONDS = 2.0
_OVERHEAD = 20  # looking takes at most one part in so many of the time
_LOADAVG = "/proc/loadavg"


class Crowd:
    """
    The processes below this one, of which there may be `most`; made before the first of them is.

    Dead ones count as long as nobody collects them; threads do not.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._loadavg = _open(_LOADAVG)
        self._newest = self._newest_process()
        self._room = most  # how many more may be started before it is time for another count
        self._looked_at = time.monotonic()
        self.due_at = self._looked_at + SHORTEST_SECONDS
        self._first = False

    def close(self) -> None:
        if self._loadavg is not None:
            os.close(self._loadavg)
            self._loadavg = None

    def hurry(self) -> None:
        """Look soon: a process ended, so that others may have begun."""
        self.due_at = min(self.due_at, self._looked_at + SHORTEST_SECONDS)

    def is_too_large(self) -> bool:
        """Look, if it is time to; whether there are too many."""
        now = time.monotonic()
        if now < self.due_at:
            return False
        newest = self._newest_process()
        started = newest - self._newest
        self._room = self._room - started if newest and started >= 0 else -1  # the numbers begin anew at the last one
        if self._room < 0:
            self._room = self._most - len(tree(self._most + 1))
        seconds = now - self._looked_at
        safe = self._room / started * seconds if started > 0 else LONGEST_SECONDS  # if the machine goes on like this
        self._go_first(safe <= 2 * SHORTEST_SECONDS)  # or a fork bomb would keep us waiting until it is too late
        pause = max(SHORTEST_SECONDS, min(LONGEST_SECONDS, safe, 2 * seconds), (time.monotonic() - now) * _OVERHEAD)
        self._newest, self._looked_at, self.due_at = newest, now, time.monotonic() + pause
        return self._room < 0

    def _go_first(self, first: bool) -> None:
        if first != self._first:
            go_first(first)
            self._first = first

    def _newest_process(self) -> int:
        """The number given to the machine's newest process, see proc(5); numbers are given in turn. 0: unknown."""
        if self._loadavg is None:
            return 0
        return int(os.pread(self._loadavg, 128, 0).split()[-1])


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):  # a /proc that shows less
        return None
