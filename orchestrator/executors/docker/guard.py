"""A process beside the orchestrator that removes tied containers when the orchestrator ends, however that came.

Started as a script, with the engine's address, by an interpreter that finds nothing but the standard library. Reads
`+id` and `-id` lines from a pipe whose other end the orchestrator alone holds: the kernel closes it even after KILL.
"""

from __future__ import annotations

import http.client
import signal
import socket
import sys
import time
from collections.abc import Iterable

SECONDS = 30.0
TRIES = 10


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket; `host` is its path."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self.host)


def main(kind: str, address: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what ends it is the end of the pipe
    for container in _still_tied(sys.stdin):
        _remove(kind, address, container)


def _still_tied(lines: Iterable[str]) -> list[str]:
    tied: dict[str, None] = {}
    for line in lines:
        container = line[1:].strip()
        if line.startswith("+"):
            tied[container] = None
        else:
            tied.pop(container, None)
    return list(tied)


def _remove(kind: str, address: str, container: str) -> None:
    for _ in range(TRIES):
        connection = (
            _UnixConnection(address) if kind == "unix" else http.client.HTTPConnection(address, timeout=SECONDS)
        )
        try:
            connection.request("DELETE", f"/containers/{container}?force=1&v=1", headers={"Host": "docker"})
            if connection.getresponse().status in (204, 404):
                return
        except (OSError, http.client.HTTPException) as error:
            sys.stderr.write(f"The container {container} cannot be removed yet: {error}\n")
        finally:
            connection.close()
        time.sleep(1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
