"""The spool directory of a process: what its files are called and what they hold. Imported on both sides.

claim     a symbolic link made once, by whoever comes first: to `run` by the supervisor that will run the script, to
          `abandoned` by an orchestrator that found no claim and decides that the script never runs. The supervisor
          holds `control` open before it claims
origin    JSON: the marks by which the script's descendants are found when the supervisor is gone
output    frames: a header (`HEADER`), then the data, appended as the script writes
exit      JSON, there when all is over: `code`, `note`, `started_ns`, `finished_ns`; or `failure`, when the script
          could not be started
control   FIFO: commands to the supervisor, a line each; that it has a reader says that the supervisor lives
wake      FIFO: the supervisor writes a byte when there is more to read, and hangs up when it ends
"""

from __future__ import annotations

import struct

CLAIM = "claim"
ORIGIN = "origin"
OUTPUT = "output"
EXIT = "exit"
CONTROL = "control"
WAKE = "wake"

RUN = "run"
ABANDONED = "abandoned"

HEADER = struct.Struct("<BIQ")  # stream, length of the data, time of reading in nanoseconds since 1970
STDOUT = 1
STDERR = 2
MAX_FRAME_BYTES = 64 * 1024

READY = "ready"  # answers of a supervisor to the request that made it
TAKEN = "taken"
FAILED = "failed"
