"""The spool directory of a process: what its files are called and what they hold. Imported on both sides.

claim     made once, by whoever comes first: by the supervisor that will run the script, or by an orchestrator that
          found no claim and decides that the script never runs, as a symbolic link to `abandoned`. The supervisor
          holds `control` open before it claims. Its claim is JSON: the marks by which the script's descendants are
          found when the supervisor is gone; and a second name of what becomes `exit`, so that both, and room for
          either on a disk that is full by then, are one file: making files is most of what a spool costs
output    frames: a header (`HEADER`), then the data, appended as the script writes. A long output goes on in
          `output.1`, `output.2`, ..., each begun when the one before is complete, with a frame of `START` that says how
          much of each stream came before. A reader that stores it says `COLLECTED`, at first and whenever it has
          removed files that are stored, from the first on; then no further one is begun while `MAX_SEGMENTS` are
          there, and the script waits
exit      JSON, there when all is over: `code`, `note`, `limited` (whether a limit ended it), `started_ns`,
          `finished_ns`; or `failure`, when the script could not be started
control   FIFO: commands to the supervisor, a line each; that it has a reader says that the supervisor is at it
wake      FIFO: the supervisor writes a byte when there is more to read, and hangs up when it has done or is gone
"""

from __future__ import annotations

import os
import struct

CLAIM = "claim"
OUTPUT = "output"
_FURTHER = f"{OUTPUT}."
EXIT = "exit"
CONTROL = "control"
WAKE = "wake"

RUN = "run"
ABANDONED = "abandoned"
MARKS = ("CRONIUM_EXECUTION_ID", "CRONIUM_ATTEMPT")

HEADER = struct.Struct("<BIQ")  # stream, length of the data, time of reading in nanoseconds since 1970
START = 0
STDOUT = 1
STDERR = 2
MAX_FRAME_BYTES = 64 * 1024
TOTALS = struct.Struct("<QQ")  # the data of START: bytes of stdout and of stderr before
SEGMENT_BYTES = 8 * 1024 * 1024
MAX_SEGMENTS = 8

TERM = b"TERM"  # commands on `control`
KILL = b"KILL"
COLLECTED = b"COLLECTED"

READY = "ready"  # answers of a supervisor to the request that made it
TAKEN = "taken"
FAILED = "failed"
IDLE = "idle"  # not an answer: its script is over, and it may be asked again


def segment(number: int) -> str:
    """The name of a part of the output."""
    return f"{_FURTHER}{number}" if number else OUTPUT


def segments(directory: str) -> list[int]:
    """The parts of the output that are there, in order."""
    found = os.listdir(directory)  # noqa: PTH208 - imported by the zygote: no pathlib
    return sorted(int(name[len(_FURTHER) :] or 0) for name in found if name == OUTPUT or name.startswith(_FURTHER))
