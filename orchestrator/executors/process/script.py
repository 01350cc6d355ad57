"""Fork and exec a script: exactly what it was given, and nothing of ours. Imported by the zygote."""

from __future__ import annotations

import json
import os
import resource
import signal

from orchestrator.executors.process.linux import die_with_parent

CANNOT_START = 127
SHRUGGED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)


class Script:
    """A started script: its number, and our ends of its two streams (non-blocking)."""

    def __init__(self, pid: int, out: int, err: int) -> None:
        self.pid, self.out, self.err = pid, out, err


class Program:
    """What becomes the script. `nofile`: its limits of open files (None: ours); `ignored`: signals that it ignores."""

    def __init__(
        self,
        argv: list[bytes],
        env: dict[bytes, bytes],
        workdir: bytes,
        nofile: tuple[int, int] | None,
        ignored: frozenset[int],
    ) -> None:
        self.argv, self.env, self.workdir = argv, env, workdir
        self.nofile, self.ignored = nofile, ignored


def start_script(program: Program, stdin: int) -> Script | dict[str, object]:
    """
    Start a script in a session of its own; return when it runs. `stdin` is closed in this process.

    A dictionary says why it cannot be started: `stage` (workdir, command, prepare), `errno` and `text`.
    """
    supervisor = os.getpid()
    try:
        _limit(program.nofile)
    except (OSError, ValueError) as error:
        os.close(stdin)
        return {"stage": "prepare", "errno": getattr(error, "errno", 0), "text": str(error)}
    out, out_write = os.pipe2(os.O_CLOEXEC)
    err, err_write = os.pipe2(os.O_CLOEXEC)
    trouble, trouble_write = os.pipe2(os.O_CLOEXEC)  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        _become(program, (stdin, out_write, err_write), trouble_write, supervisor)
    for fd in (stdin, out_write, err_write, trouble_write):
        os.close(fd)
    said = b""
    while part := os.read(trouble, 4096):
        said += part
    os.close(trouble)
    if said:
        os.waitpid(pid, 0)
        return dict(json.loads(said))
    os.set_blocking(out, False)
    os.set_blocking(err, False)
    return Script(pid, out, err)


def _become(program: Program, files: tuple[int, int, int], trouble: int, supervisor: int) -> None:
    """
    In the forked child: become the script, or say why not and exit. All other descriptors close on exec.

    As little as can be: each page of memory that is written to here has to be copied, and each object that is looked
    at is written to. What the script inherits is set by `prepare_to_start` and `_limit` in the supervisor.
    """
    stage = "prepare"
    try:
        os.setsid()
        die_with_parent(signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(CANNOT_START)  # it died before the kernel knew that we are to follow
        for number in program.ignored:
            signal.signal(number, signal.SIG_IGN)
        for target, fd in enumerate(files):
            os.dup2(fd, target)
        stage = "workdir"
        os.chdir(program.workdir)
        stage = "command"
        if b"/" in program.argv[0]:
            os.execve(program.argv[0], program.argv, program.env)  # noqa: S606 - which is what we are for
        os.execvpe(program.argv[0], program.argv, program.env)  # noqa: S606 - likewise
    except OSError as error:
        os.write(trouble, json.dumps({"stage": stage, "errno": error.errno, "text": error.strerror}).encode())
    except ValueError as error:
        os.write(trouble, json.dumps({"stage": stage, "errno": 0, "text": str(error)}).encode())
    finally:
        os._exit(CANNOT_START)


def prepare_to_start() -> None:
    """
    In a new supervisor: have its scripts begin with every signal at its default and none blocked.

    What is ignored stays ignored over an exec, whoever began that: Python (SIGPIPE), or who started us. What is handled
    does not, so the supervisor handles, by doing nothing, what it is not to end by.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if number in SHRUGGED or signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _shrug)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _shrug(*_: object) -> None:
    pass


def _limit(nofile: tuple[int, int] | None) -> None:
    """The limits that a script inherits from its supervisor, who can live with them."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if nofile is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
