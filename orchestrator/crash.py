"""
Named points at which the process kills itself, to show that nothing is lost there: `CRONIUM_CRASH_AT=claim.committed`.

With `:3` behind the name it dies when it comes there the third time. It is SIGKILL: no handler runs, no file is closed
in an orderly way. Without the variable a point is a call that returns.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from difflib import get_close_matches

from orchestrator.errors import InvalidError

VARIABLE = "CRONIUM_CRASH_AT"

# `before` is the last moment before something, another word the first moment after it. What `committed` names is stored.
POINTS = {
    "submit.before": "a submission is understood and not stored",
    "submit.committed": "a job is stored, and nobody was told of it",
    "fire.before": "the time of an event has come, and it has no job",
    "fire.committed": "the job of an event whose time has come is stored, and nobody was told of it",
    "claim.before": "due jobs are about to be claimed",
    "claim.committed": "jobs are claimed, and nobody supervises them",
    "attempt.before": "a claimed job has no name for its process",
    "attempt.committed": "the name of the process is stored",
    "files.before": "the attempt has no directory",
    "files.prepared": "the attempt's directory is full, and the process is about to be started",
    "start.done": "the process runs, and only its executor knows",
    "started.before": "it is about to be stored that the process runs",
    "started.committed": "it is stored that the process runs",
    "output.before": "a script's output value is not stored",
    "output.committed": "a script's output value is stored, and the script does not know",
    "variable.before": "a variable that a script sets is not stored",
    "variable.committed": "a variable that a script sets is stored, and the script does not know",
    "lines.read": "output was read from the process",
    "lines.before": "lines are about to be stored",
    "lines.committed": "lines are stored, with the cursor behind them",
    "lines.published": "watchers were told of stored lines",
    "cancel.before": "the wish to cancel is not stored",
    "cancel.committed": "the wish to cancel is stored, and the supervisor does not know",
    "signal.before": "the process is about to be signalled",
    "signal.sent": "the process was signalled",
    "exit.seen": "the process has ended, and its result is not stored",
    "artifacts.before": "what a script left is about to be copied",
    "artifacts.copied": "what a script left is copied, and not recorded",
    "finish.before": "the result is about to be stored",
    "finish.committed": "the result is stored, and the process is not removed",
    "retry.before": "a failed attempt is about to go back to the queue",
    "retry.committed": "a failed attempt has gone back to the queue, and its process is not removed",
    "remove.before": "the process is about to be removed",
    "remove.done": "the process is removed, and its directory is not",
    "clean.done": "the attempt's directory is removed",
    "follow.before": "what follows from a finished job is about to be done",
    "follow.handled": "what follows is done, and not noted as done",
    "follow.committed": "what follows is noted as done",
    "admit.before": "a job of a concurrency key has ended, and those that wait for its place are not admitted",
    "admit.committed": "a job that waited for a place is admitted, and nobody was told of it",
    "adopt.before": "jobs without a supervisor are about to be adopted",
    "adopt.committed": "jobs are adopted, and nobody supervises them",
    "attach.before": "the process of an adopted job is about to be looked for",
    "attach.done": "the process of an adopted job was found, or found to be none",
    "release.before": "a job that was never started is about to go back to the queue",
    "release.committed": "a job that was never started has gone back to the queue",
    "sweep.before": "what nobody needs is about to be removed",
    "sweep.done": "what nobody needs is removed",
    "renew.before": "leases are about to be renewed",
    "renew.committed": "leases are renewed",
}


def _pass(name: str) -> None:
    """No point was chosen."""


def crash_at(wanted: str, kill: Callable[[], None]) -> Callable[[str], None]:
    """
    What to call at each point with its name, for the value of the variable; `kill` is called at most once.

    Raises `InvalidError` (`crash_point_unknown`) for a name that no point has, and for a number below one.
    """
    name, _, number = wanted.partition(":")
    if name not in POINTS:
        near = get_close_matches(name, POINTS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"the points are {', '.join(POINTS)}."
        raise InvalidError(f"{VARIABLE} names no crash point: {hint}", code="crash_point_unknown")
    if not (number or "1").isdecimal() or int(number or 1) < 1:
        raise InvalidError(f"{VARIABLE} needs a number from 1 on behind the colon.", code="crash_point_unknown")
    left = int(number or 1)

    def passing(passed: str) -> None:
        nonlocal left
        left -= passed == name
        if left == 0 and passed == name:
            kill()

    return passing


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# Taken out of the environment: only this process is to die of it, not what it starts.
_wanted = os.environ.pop(VARIABLE, "")
crash_point: Callable[[str], None] = crash_at(_wanted, _kill_this_process) if _wanted else _pass
