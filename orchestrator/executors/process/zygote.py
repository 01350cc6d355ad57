"""The program that forks supervisors: `python -I -S zygote.py SOCKET TIE`, small, and without threads.

Each packet on SOCKET carries a connection to the orchestrator, on which the new supervisor reads its request and
answers, and perhaps the script's standard input. At end of file the zygote ends; its supervisors go on.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from types import ModuleType

# The packages' own __init__ files import the executor, and with it asyncio: name the packages without running them.
_HERE = os.path.dirname(os.path.abspath(__file__))
for _name, _path in (
    ("orchestrator", os.path.join(_HERE, "..", "..")),
    ("orchestrator.executors", os.path.join(_HERE, "..")),
    ("orchestrator.executors.process", _HERE),
):
    if _name not in sys.modules:
        _package = ModuleType(_name)
        _package.__path__ = [_path]
        sys.modules[_name] = _package

from orchestrator.executors.process.linux import name_this_process  # noqa: E402 - see above
from orchestrator.executors.process.supervisor import supervise  # noqa: E402 - see above

_MAX_FDS = 2
_ANCILLARY_BYTES = socket.CMSG_SPACE(_MAX_FDS * 4)


def main(connection: socket.socket, tie: int) -> None:
    """Fork a supervisor for each packet until the orchestrator hangs up."""
    name_this_process("cronium-zygote")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors leave no zombies, whoever does not wait for them
    gc.collect()
    gc.freeze()  # what is never collected is never written to and stays shared with the supervisors
    while True:
        fds = _receive(connection)
        if fds is None:
            return
        try:
            child = os.fork()
        except OSError as error:
            print(f"cannot fork: {error}", file=sys.stderr, flush=True)  # noqa: T201 - stderr is the spool's log
            child = -1  # closing the connection says that nothing was started
        if child == 0:
            connection.close()  # or the orchestrator would not see the zygote die
            supervise(fds[0], fds[1] if len(fds) > 1 else None, tie)
            os._exit(0)
        for fd in fds:
            os.close(fd)


def _receive(connection: socket.socket) -> list[int] | None:
    """Take the next packet's file descriptors; None at end of file."""
    while True:
        data, ancillary, _, _ = connection.recvmsg(1, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return None
        fds = [
            int.from_bytes(payload[start : start + 4], sys.byteorder)
            for level, kind, payload in ancillary
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            for start in range(0, len(payload) // 4 * 4, 4)
        ]
        if fds:
            return fds


if __name__ == "__main__":
    for _fd in (int(sys.argv[1]), int(sys.argv[2])):
        os.set_inheritable(_fd, False)
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
