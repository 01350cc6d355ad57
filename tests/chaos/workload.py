"""The script of every job of a chaos run: says numbered lines, calls the runtime API, and tells a witness what it did."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WIDE_EVERY = 25
AGAIN = 75  # EX_TEMPFAIL: try again


def text_of(name: str, stream: str, number: int, wide: int) -> str:
    """The line that the job `name` says as its `number`th on a stream; every 25th is `wide` characters wider."""
    filling = "." * wide if number % WIDE_EVERY == 0 else ""
    return f"{name} {stream} {number}{filling}"


def main(plan: dict) -> int:
    if plan["family"]:
        # It holds the streams open and has a session of its own: nobody must wait for it, and it must not stay.
        subprocess.Popen(["sleep", "3000"], start_new_session=True)
    bear_witness(plan, f"begin {os.getpid()}")
    say(plan)
    if int(os.environ["CRONIUM_ATTEMPT"]) < plan["attempts"]:
        bear_witness(plan, "end")
        return AGAIN
    save(plan)
    bear_witness(plan, "end")
    if plan["signal"]:
        os.kill(os.getpid(), plan["signal"])
    return plan["exit_code"]


def say(plan: dict) -> None:
    """Write the lines, `batch` of them at a time; what the witness knows of has been written."""
    number = 0
    while plan["lines"] is None or number < plan["lines"]:
        first, number = number + 1, number + plan["batch"]
        for stream, file in (("stdout", sys.stdout), ("stderr", sys.stderr)):
            lines = [text_of(plan["name"], stream, n, plan["wide"]) for n in range(first, number + 1)]
            end = "" if number == plan["lines"] and plan["bare_end"] else "\n"
            file.write("\n".join(lines) + end)
            file.flush()
        bear_witness(plan, f"said {number}")
        time.sleep(plan["pause"])


def save(plan: dict) -> None:
    """Count in a variable, each time reading what was stored before, and hand the count in as output."""
    if not plan["saves"]:
        return
    os.environ["CRONIUM_SDK_DEADLINE_SECONDS"] = "120"  # longer than anything is away
    import cronium

    key = "chaos_" + plan["name"].replace("-", "_")
    for _ in range(plan["saves"]):
        cronium.set_variable(key, (cronium.get_variable(key) or 0) + 1)
    cronium.output({"name": plan["name"], "count": cronium.get_variable(key)})
    if "CRONIUM_ARTIFACTS" in os.environ:
        Path(os.environ["CRONIUM_ARTIFACTS"], "count.txt").write_text(str(cronium.get_variable(key)))


def bear_witness(plan: dict, what: str) -> None:
    """Append a record to a file that the product knows nothing of; a container has none."""
    path = os.environ.get("CHAOS_WITNESS")
    if not path:
        return
    record = (
        f"{plan['name']} {os.environ['CRONIUM_JOB_ID']} {os.environ['CRONIUM_ATTEMPT']} {time.monotonic_ns()} {what}\n"
    )
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, record.encode())
        os.fsync(file)
    finally:
        os.close(file)


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    if plan["stubborn"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(plan))
    sys.exit(99)  # nobody reads what we say
