"""Fork and exec a script: exactly what it was given, and nothing of ours. Imported by the zygote."""

from __future__ import annotations

import json
import os
import resource
import signal

from orchestrator.executors.process.linux import die_with_parent

CANNOT_START = 127


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
    """In the forked child: become the script, or say why not and exit. All other descriptors close on exec."""
    stage = "prepare"
    try:
        os.setsid()
        die_with_parent(signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(CANNOT_START)  # it died before the kernel knew that we are to follow
        _restore_signals(program.ignored)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if program.nofile is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, program.nofile)
        for target, fd in enumerate(files):
            os.dup2(fd, target)
        stage = "workdir"
        os.chdir(program.workdir)
        stage = "command"
        os.execvpe(program.argv[0], program.argv, program.env)  # noqa: S606 - which is what we are for
    except OSError as error:
        os.write(trouble, json.dumps({"stage": stage, "errno": error.errno, "text": error.strerror}).encode())
    except ValueError as error:
        os.write(trouble, json.dumps({"stage": stage, "errno": 0, "text": str(error)}).encode())
    finally:
        os._exit(CANNOT_START)


def _restore_signals(ignored: frozenset[int]) -> None:
    """What is ignored stays ignored over an exec: by us, by Python (SIGPIPE), by whoever started us; undo all that."""
    signal.set_wakeup_fd(-1)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP} - ignored:
        if signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
