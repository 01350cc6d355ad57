"""What a warm container does while it waits, and the text that it is handed: a command for its shell. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from orchestrator.executors.docker.container import FILES

GATE = ".go"
LATCH = ".held"
ASSIGNMENT = ".start"
SHELL = "/bin/sh"
ENV = "env"
MAX_BYTES = 64 * 1024  # more than that is started cold: what the kernel refuses is then refused in the same words

# Opening the gate waits for the server; reading from it ends with a line, or with the server itself. An empty assignment
# is a refusal. One that was read closes the gate, by which the server knows that it can be hidden; when it is, or when
# the server is gone, reading from the latch ends.
_READ = f"if [ -s {FILES}/{ASSIGNMENT} ]; then . {FILES}/{ASSIGNMENT}; fi"
_WAIT = f"exec 4<{FILES}/{LATCH} 3<{FILES}/{GATE}; read -r go <&3; {_READ}"
WAITING = (SHELL, "-c", _WAIT)


def assignment(argv: Sequence[str], env: Mapping[str, str], given: Sequence[str]) -> bytes | None:
    """
    The command that becomes the script; None where that cannot be said here, and the job must be started cold.

    `given` is what the engine says of the container's environment, `NAME=value` each. Everything is named anew for
    env(1), which takes names that a shell does not, and nothing that the shell has added is left. What the engine adds
    by itself the shell knows: the path where the image has none, the host name, and the home of the user.
    """
    pairs = [f"{name}={value}" for name, value in env.items()]
    if "=" in argv[0] or argv[0].startswith(f"{FILES}/") or any("\0" in part for part in chain(argv, pairs)):
        return None
    added = ['PATH="$PATH"', 'HOSTNAME="$HOSTNAME"', '${HOME+"HOME=$HOME"}']
    words = [*added, *(quoted(pair) for pair in chain(given, pairs)), *(quoted(part) for part in argv)]
    try:
        text = f"go() {{ exec {ENV} -i {' '.join(words)} 4<&-; }}\nexec 3<&-\nread -r gone <&4\ngo\n".encode()
    except UnicodeEncodeError:
        return None
    return text if len(text) <= MAX_BYTES else None


def quoted(text: str) -> str:
    """One word for a shell, whatever is in it."""
    return "'" + text.replace("'", "'\\''") + "'"
