"""A supervisor: starts one script, records what it prints, ends its whole tree, keeps its exit status.

Forked from the zygote, so it imports only what is there already. It outlives the orchestrator; who comes later finds
the spool directory (`spool.py`).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time

from orchestrator.executors.process import spool
from orchestrator.executors.process.crowd import Crowd
from orchestrator.executors.process.linux import adopt_orphans, name_this_process
from orchestrator.executors.process.orders import Orders
from orchestrator.executors.process.recording import Recording
from orchestrator.executors.process.script import Program, Script, prepare_to_start, start_script
from orchestrator.executors.process.tree import kill_all, signal_all

TIED_GRACE_SECONDS = 2.0
LAST_OUTPUT_SECONDS = 1.0
FULL_RETRY_SECONDS = 0.5
EXIT_BYTES = 4096
REAPED_AT_ONCE = 500


def supervise(connection_fd: int, stdin_fd: int | None, tie_fd: int) -> None:
    """
    Read requests from the connection, one after the other: start the script, answer, see it to its end.

    `stdin_fd` is for the first one. One that is tied, or went wrong in any way, is the last.
    """
    _detach()
    orders = Orders(socket.socket(fileno=connection_fd))
    request = orders.next()
    while request is not None and _serve(request, orders, stdin_fd, tie_fd):
        stdin_fd = None
        os.chdir("/")  # the spool is about to be removed
        orders.idle()
        request = orders.next()


def _serve(request: dict[str, object], orders: Orders, stdin_fd: int | None, tie_fd: int) -> bool:
    """Serve one request; whether this process is as it was before."""
    tied, pids = bool(request["tied"]), request["pids"]
    assert isinstance(pids, int)  # noqa: S101 - the executor wrote it
    try:
        os.chdir(_bytes(str(request["spool"])))  # every name of the spool is short from here on
        if _is_claimed():
            orders.answer({"state": spool.TAKEN})
            return False
        # All is open before the claim: a claim to run without a reader of `control` means that the supervisor is gone.
        supervision = _Supervision(tie_fd if tied else None, pids, _marks(request))
        supervision.claim()
    except (FileExistsError, FileNotFoundError):  # others were quicker, or have removed the spool
        orders.answer({"state": spool.TAKEN})
        return False
    except OSError as error:  # no room for its files: nothing is claimed, so nothing was started
        orders.answer({"state": spool.FAILED, "stage": "spool", "errno": error.errno, "text": error.strerror})
        return False
    failure = supervision.start(request, stdin_fd)
    orders.answer({"state": spool.READY} if failure is None else {"state": spool.FAILED, **failure})
    return failure is None and supervision.run() and not tied


def _detach() -> None:
    os.setsid()
    adopt_orphans()
    name_this_process("cronium-superv")
    prepare_to_start()


def _is_claimed() -> bool:
    return os.path.lexists(spool.CLAIM)


def _marks(request: dict[str, object]) -> dict[str, str]:
    """By which descendants are found when we are gone: all of them, or they might name other attempts."""
    env = request["env"]
    assert isinstance(env, dict)  # noqa: S101 - the executor wrote it
    return {name: env[name] for name in spool.MARKS} if all(name in env for name in spool.MARKS) else {}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _program(request: dict[str, object]) -> Program:
    argv, env, nofile, ignored = request["argv"], request["env"], request["nofile"], request["ignored"]
    assert isinstance(argv, list)  # noqa: S101 - the executor wrote it
    assert isinstance(env, dict)  # noqa: S101
    assert isinstance(ignored, list)  # noqa: S101
    return Program(
        [_bytes(argument) for argument in argv],
        {_bytes(name): _bytes(value) for name, value in env.items()},
        _bytes(str(request["workdir"])),
        (int(nofile[0]), int(nofile[1])) if isinstance(nofile, list) else None,
        frozenset(ignored),
    )


class _Supervision:
    """One script: its streams, its tree, its end."""

    def __init__(self, tie: int | None, pids: int, marks: dict[str, str]) -> None:
        self._tie = tie
        self._pids, self._crowd = pids, Crowd(pids)
        self._crowded = False  # that there were too many is why the script was ended
        self._control = os.open(spool.CONTROL, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._recording = Recording()
        self._exit_name = f"{spool.EXIT}.{os.getpid()}"  # of our own: another supervisor may be after the same claim
        self._exit = os.open(self._exit_name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # The exit status finds room on a disk that is full by then.
        os.write(self._exit, json.dumps({"marks": marks}).encode().ljust(EXIT_BYTES))
        self._children, self._child_ended = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._streams: dict[int, int] = {}
        self._paused = False
        self._commands = b""
        self._kill_at: float | None = None
        self._killed = False
        self._script = 0
        self._started_ns = 0
        self._status: int | None = None
        self._finished_ns = 0
        self._ended_at = 0.0

    def claim(self) -> None:
        """Raises `FileExistsError` when others were quicker."""
        os.link(self._exit_name, spool.CLAIM)

    def start(self, request: dict[str, object], stdin: int | None) -> dict[str, object] | None:
        """Start the script; what went wrong, if it could not be started."""
        signal.set_wakeup_fd(self._child_ended, warn_on_full_buffer=False)
        self._started_ns = time.time_ns()
        started: Script | dict[str, object]
        try:
            stdin = stdin if stdin is not None else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            started = start_script(_program(request), stdin)
        except OSError as error:  # no process or no descriptor left: to end here would look like a lost script
            started = {"stage": "prepare", "errno": error.errno, "text": error.strerror}
        if not isinstance(started, Script):
            self._keep({"failure": started})
            return started
        self._script = started.pid
        self._streams = {started.out: spool.STDOUT, started.err: spool.STDERR}
        return None

    def run(self) -> bool:
        """
        Until the script has ended, everything is written and its tree is gone; whether all of it is.

        Nothing is open afterwards: that hangs up.
        """
        for fd in (*self._streams, self._control, self._children):
            self._poll.register(fd, select.POLLIN)
        if self._tie is not None:
            self._poll.register(self._tie, select.POLLIN)
        while not self._is_over():
            for fd, _ in self._poll.poll(self._timeout_ms()):
                self._handle(fd)
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._kill_at = None
                self._kill()
            if self._crowd.is_too_large():
                self._crowded = (
                    self._crowded or self._status is None
                )  # what is found dying in the next round changes nothing
                self._kill()
            self._recording.retry()
            self._pause(self._recording.full)
        complete = kill_all(self._reap)
        self._recording.take_all()
        for fd in list(self._streams):
            while self._take(fd):
                pass
        self._finish(complete=complete)
        self._close()
        return complete

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        for fd in (*self._streams, self._exit, self._children, self._child_ended):
            os.close(fd)
        self._crowd.close()
        os.close(self._control)
        self._recording.close()  # last: this is what wakes who waits for the end

    def _is_over(self) -> bool:
        """
        Whether the script has ended and its output is complete, or late.

        Children may print on when the script has ended (a `tee` at the end of a pipe): they get a second. Without room
        for the output the end waits for it, until somebody wants it now.
        """
        if self._status is None:
            return False
        if self._recording.full:
            return self._killed
        return not self._streams or time.monotonic() >= self._ended_at + LAST_OUTPUT_SECONDS

    def _timeout_ms(self) -> int:
        ends = [self._crowd.due_at]
        if self._recording.full:
            ends.append(time.monotonic() + FULL_RETRY_SECONDS)
        elif self._status is not None:
            ends.append(self._ended_at + LAST_OUTPUT_SECONDS)
        if self._kill_at is not None:
            ends.append(self._kill_at)
        return max(0, int((min(ends) - time.monotonic()) * 1000)) + 1

    def _handle(self, fd: int) -> None:
        if fd in self._streams:
            self._take(fd)
        elif fd == self._control:
            self._command(_drain(fd))
        elif fd == self._children:
            _drain(fd)
            self._reap()
            self._crowd.hurry()
        elif fd == self._tie and not os.read(fd, 1):  # nobody writes to it: this is the orchestrator's end
            self._poll.unregister(fd)
            _terminate()
            self._kill_at = time.monotonic() + TIED_GRACE_SECONDS

    def _command(self, data: bytes) -> None:
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            if line == spool.TERM:
                _terminate()
            elif line == spool.KILL:
                self._kill()
            elif line == spool.COLLECTED:
                self._recording.bound()

    def _kill(self) -> None:
        self._killed = True
        kill_all(self._reap)

    def _reap(self) -> bool:
        """Collect the dead, not all of those that a fork bomb leaves without end; whether a child is left."""
        for _ in range(REAPED_AT_ONCE):
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._script and self._status is None:
                self._status = status
                self._finished_ns, self._ended_at = time.time_ns(), time.monotonic()
        return True

    def _take(self, fd: int) -> bool:
        """Read once and write a frame; whether there may be more."""
        if self._recording.full:
            return False
        try:
            data = os.read(fd, spool.MAX_FRAME_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._recording.add(self._streams[fd], data)
            return True
        if not self._paused:
            self._poll.unregister(fd)
        del self._streams[fd]
        os.close(fd)
        return False

    def _pause(self, pause: bool) -> None:
        """While there is no room for the output the script's streams are not read, so that the script waits too."""
        if pause == self._paused:
            return
        self._paused = pause
        for fd in self._streams:
            if pause:
                self._poll.unregister(fd)
            else:
                self._poll.register(fd, select.POLLIN)

    def _finish(self, *, complete: bool) -> None:
        assert self._status is not None  # noqa: S101 - the loop of `run` ends with it
        notes = []
        if self._crowded:
            notes.append(
                f"The script had more than {self._pids} processes at once, which is its limit, and was ended: "
                "give it a higher `pids` if it needs them."
            )
        if not complete:
            notes.append("Some processes of the script could not be ended.")
        if self._recording.full:
            notes.append("The disk was full: the end of the output is missing.")
        self._keep({"code": exit_code(self._status), "note": " ".join(notes) or None, "limited": self._crowded})

    def _keep(self, end: dict[str, object]) -> None:
        """Write how it ended, all or nothing, and hang up."""
        end = {**end, "started_ns": self._started_ns, "finished_ns": self._finished_ns or time.time_ns()}
        os.pwrite(self._exit, json.dumps(end).encode().ljust(EXIT_BYTES), 0)
        while True:
            try:
                os.rename(self._exit_name, spool.EXIT)
            except FileNotFoundError:
                return  # the spool was removed: nobody wants to know
            except OSError:  # no room for a change of the directory
                time.sleep(FULL_RETRY_SECONDS)
            else:
                self._recording.wake()
                return


def exit_code(status: int) -> int:
    """The code people know: the script's own, 128 + n when signal n ended it."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _terminate() -> None:
    """Ask all to end. What is stopped hears nothing until it goes on."""
    signal_all(signal.SIGTERM)
    signal_all(signal.SIGCONT)


def _drain(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""
