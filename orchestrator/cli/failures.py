"""How a command fails: one line that names the thing, one with the fix, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from orchestrator.cli.render import escape
from orchestrator.errors import CroniumError, Fault, InvalidError

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141  # what a shell says of a program that SIGPIPE ended

FIXES = {
    "server_not_found": "start one with `cronium serve`, or set CRONIUM_URL and CRONIUM_TOKEN",
    "server_unreachable": "start it with `cronium serve`, or set CRONIUM_URL (and CRONIUM_TOKEN) to one that runs",
    "token_missing": "set CRONIUM_TOKEN; the first token is in admin.token in the server's data directory",
    "token_invalid": "set CRONIUM_TOKEN to a token of this server; the first is in admin.token in its data directory",
    "scope_missing": "use a token with a wider scope",
    "too_large": "send less: keep data in a file or a volume, and send its name",
}


def report(error: CroniumError) -> int:
    """Say on stderr what is wrong and what to do; the exit code."""
    say_failure(error.message, FIXES.get(error.code))
    if isinstance(error, InvalidError):
        sys.stderr.write("".join(f"  {line}\n" for line in fault_lines(error.faults, error.source)))
    if error.code in ("server_not_found", "server_unreachable"):
        return EXIT_UNREACHABLE
    return EXIT_USAGE if isinstance(error, InvalidError) else EXIT_FAILURE


def say_failure(message: str, fix: str | None) -> None:
    """One line on stderr, a second one with the fix where there is one."""
    sys.stderr.write(f"cronium: {escape(message)}\n" + (f"  fix: {fix}\n" if fix else ""))


def fault_lines(faults: Sequence[Fault], source: str | None = None) -> list[str]:
    """Each fault as `source:line: path: message`, as editors understand it; without a source `line 3: path: message`."""
    return [escape(_place(fault, source) + fault.message) for fault in faults]


def _place(fault: Fault, source: str | None) -> str:
    path = f"{fault.path}: " if fault.path else ""
    if source is not None:
        return f"{source}:{fault.line}: {path}" if fault.line is not None else f"{source}: {path}"
    return f"line {fault.line}: {path}" if fault.line is not None else path
