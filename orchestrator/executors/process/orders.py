"""The connection by which a supervisor is told what to start, one script after another. Imported by the zygote.

A request is a line of JSON, and so is an answer. Forking costs most of what a short script costs, so a supervisor whose
script is over, with all that was of it, says `IDLE` and waits a while for another one.
"""

from __future__ import annotations

import json
import socket

from orchestrator.executors.process import spool

IDLE_SECONDS = 2.0


class Orders:
    """The supervisor's end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def next(self) -> dict[str, object] | None:
        """The next request; None when the orchestrator has hung up, or has had no other one for a while."""
        try:
            while b"\n" not in self._rest:
                part = self._connection.recv(65536)
                if not part:
                    return None
                self._rest += part
        except OSError:  # TimeoutError among them
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return dict(json.loads(line))

    def answer(self, answer: dict[str, object]) -> None:
        """Answer a request."""
        try:
            self._connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            pass  # the orchestrator is gone; the next one finds the spool

    def idle(self) -> None:
        """Say that another request may come."""
        self._connection.settimeout(IDLE_SECONDS)
        self.answer({"state": spool.IDLE})
