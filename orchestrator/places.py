"""Where things are on this machine: private directories, the short directory of sockets, the key, the SDKs, interpreters."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import DeniedError, InvalidError

KEY_FILE = "attempts.key"
KEY_BYTES = 32
RUNTIME_DIR_BYTES = 30
SOCKET_PATH_BYTES = 107  # unix(7): sun_path is 108 bytes with its final NUL
CLEAN_ENV = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


def make_private(directory: Path) -> Path:
    """
    Make `directory` (0700) where it does not exist.

    Refuses one that belongs to somebody else, or that others may enter and that holds something: it may be anything,
    and is not ours to close. An empty one is closed.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
        is_open = bool(stat.S_IMODE(found.st_mode) & 0o077)
        is_used = is_open and any(directory.iterdir())
    except OSError as error:
        raise InvalidError(f"{directory} cannot be used as a directory: {error.strerror}.") from error
    if found.st_uid != os.geteuid():
        raise DeniedError(f"{directory} belongs to another account: name another directory.")
    if is_used:
        raise DeniedError(
            f"{directory} is open to others and not empty: name another directory, or close it (chmod 700 {directory})."
        )
    if is_open:
        directory.chmod(0o700)
    return directory


def make_open(root: Path, name: str) -> Path:
    """Make a directory that everybody who gets past the private `root` may enter: the user inside a container."""
    while True:
        try:
            (root / name).mkdir(mode=0o755, exist_ok=True)
        except FileNotFoundError:
            make_private(root)  # another command ended just now and removed it
        else:
            (root / name).chmod(0o755)
            return root / name


def remove_if_empty(directory: Path) -> None:
    """Remove a directory unless somebody uses it."""
    try:
        directory.rmdir()
    except OSError:
        return


def socket_root(state: Path, env: Mapping[str, str]) -> Path:
    """The private directory for sockets: short, because the path of a socket is (`SOCKET_PATH_BYTES`)."""
    digest = hashlib.sha256(os.fsencode(state.absolute())).hexdigest()[:10]
    runtime = env.get("XDG_RUNTIME_DIR")
    if (
        runtime
        and len(os.fsencode(runtime)) <= RUNTIME_DIR_BYTES
        and Path(runtime).is_dir()
        and os.access(runtime, os.W_OK)
    ):
        return make_private(make_private(Path(runtime) / "cronium") / digest)
    shared = Path(f"/tmp/cronium-{os.geteuid()}-{digest}")  # noqa: S108 - private: owner and mode are checked
    if shared.is_symlink():
        raise DeniedError(f"{shared} is a link that somebody has laid: remove it.")
    return make_private(shared)


def load_key(path: Path) -> bytes:
    """The installation's key for attempt tokens, made at the first call; two processes at once agree on one."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)  # fails where another process was first: then its key holds
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return path.read_bytes()


def instance_of(key: bytes) -> str:
    """The name of the installation that has this key: unlike the path of its directory, nobody else's."""
    return hashlib.sha256(b"instance" + key).hexdigest()[:16]


def sdk_directory() -> Path:
    """Where the SDKs lie: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).parent
    installed = here / "sdk"
    return installed if installed.is_dir() else here.parent / "sdk"


def find_interpreter(name: str, search: str) -> str | None:
    """Look an interpreter up on a PATH, passing over Cronium's own virtual environment."""
    if Path(name).is_absolute():
        return name if os.access(name, os.X_OK) else None
    own = Path(sys.prefix) / "bin"
    in_venv = sys.prefix != sys.base_prefix
    kept = [part for part in search.split(os.pathsep) if part and not (in_venv and Path(part) == own)]
    return shutil.which(name, path=os.pathsep.join(kept))


def queue_of_command() -> str:
    """A name of its own for the queue of this command. It says which process works on it: host, boot, pid, its start."""
    started = _started(os.getpid())
    return f"run-{_host()}-{_boot()}-{os.getpid()}-{started}-{secrets.token_hex(2)}"


def is_queue_of_dead_command(queue: str) -> bool:
    """Whether `queue` is such a name, of this host, and its process is gone. Of other hosts nobody here can say."""
    parts = queue.split("-")
    if len(parts) != 6 or parts[0] != "run" or parts[1] != _host():
        return False
    _, _, boot, pid, started, _ = parts
    return boot != _boot() or (pid.isdigit() and _started(int(pid)) != started)


def _host() -> str:
    """A short name of this host; two containers that share a directory and nothing else have different ones."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _boot() -> str:
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return "0"
    return text.strip()[:6]


def _started(pid: int) -> str | None:
    """When a process began, in clock ticks since boot (proc(5), field 22 of stat); None for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return None


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """What a process of the server inherits: who and where it is, none of the server's settings or secrets."""
    kept = {name: env[name] for name in CLEAN_ENV if name in env}
    kept.setdefault("PATH", os.defpath)
    return kept
