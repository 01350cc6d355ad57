"""Where the server is: `CRONIUM_URL` and `CRONIUM_TOKEN`, else what a server of the same account left in its data directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from orchestrator.cli.inputs import load_json
from orchestrator.errors import DeniedError, InvalidError, UnavailableError

SERVER_FILE = "server.json"
TOKEN_FILE = "admin.token"  # noqa: S105 - the name of a file
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a server listens on is nothing to connect to


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server: `prefix` is the path before `/api/v3`, without a final slash; `source` says where we know it from."""

    host: str
    port: int
    source: str
    secure: bool = False
    prefix: str = ""
    token: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.prefix}"


def find_server(env: Mapping[str, str]) -> Address:
    """
    Find the server; nothing is asked of it.

    A token from the data directory is given to the server of that directory only, and only while it runs: another
    program could listen on its port afterwards. Raises `UnavailableError` (`server_not_found`), `InvalidError` for
    variables that make no sense, `DeniedError` for files of another account.
    """
    url, token = env.get("CRONIUM_URL"), token_of(env)
    if url and token:
        return parse_url(url, source="CRONIUM_URL", token=token)
    if not url:
        return _server_of_account(env, token)
    named = parse_url(url, source="CRONIUM_URL", token=None)
    try:
        local = _local_server(data_directory(env), None)
    except (UnavailableError, DeniedError):
        return named
    return local if local.url == named.url else named


def _server_of_account(env: Mapping[str, str], token: str | None) -> Address:
    """The server in the usual data directory; where none is there, in the one that a file of settings names."""
    usual = data_directory(env)
    try:
        return _local_server(usual, token)
    except UnavailableError:
        named = None if env.get("CRONIUM_DATA_DIR") else _directory_of_settings(env)
        if named is None or named == usual:
            raise
    # Whoever wrote the file may have written the rest, too: it is told nothing that does not come from there.
    found = _local_server(named, None)
    if not _is_loopback(found.host):
        raise DeniedError(
            f"{named}, which a file of settings names, leads to {found.url}; set CRONIUM_URL and CRONIUM_TOKEN to use it."
        )
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _directory_of_settings(env: Mapping[str, str]) -> Path | None:
    from orchestrator.config import load_settings  # reading them takes longer than the rest of most commands

    try:
        return load_settings({}, env=env).data_dir
    except InvalidError:
        return None  # `serve` and `doctor` say what is wrong with them


def data_directory(env: Mapping[str, str]) -> Path:
    """`CRONIUM_DATA_DIR`, else `$XDG_DATA_HOME/cronium`, else `~/.local/share/cronium`."""
    if env.get("CRONIUM_DATA_DIR"):
        return Path(env["CRONIUM_DATA_DIR"])
    base = env.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "cronium"


def parse_url(url: str, *, source: str, token: str | None) -> Address:
    """An address from `http://host:port` or `https://host/path`. Raises `InvalidError` naming `source`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidError(f"{source} is not a URL; write http://127.0.0.1:8080.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or _has_more(parts):
        raise InvalidError(f"{source} must look like http://127.0.0.1:8080 or https://cronium.example.org.")
    secure = parts.scheme == "https"
    return Address(
        host=ANY_ADDRESS.get(parts.hostname, parts.hostname),
        port=port if port is not None else (443 if secure else 80),
        secure=secure,
        prefix=parts.path.rstrip("/"),
        source=source,
        token=token,
    )


def token_of(env: Mapping[str, str]) -> str | None:
    """`CRONIUM_TOKEN`, or the content of the file that `CRONIUM_TOKEN_FILE` names. Raises `InvalidError`."""
    if env.get("CRONIUM_TOKEN"):
        return _checked(env["CRONIUM_TOKEN"], "CRONIUM_TOKEN")
    name = env.get("CRONIUM_TOKEN_FILE")
    if not name:
        return None
    try:
        return _checked(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"CRONIUM_TOKEN_FILE: {name} cannot be read: {error}.") from error


def _has_more(parts: SplitResult) -> bool:
    """Whether a URL has parts that an address has no place for, or a path that could not stand in a request line."""
    path_is_plain = parts.path.isascii() and parts.path.isprintable() and " " not in parts.path
    return bool(parts.query or parts.fragment or parts.username or parts.password) or not path_is_plain


def _local_server(directory: Path, token: str | None) -> Address:
    path = directory / SERVER_FILE
    try:
        content = load_json(_read(path))
    except FileNotFoundError as error:
        raise UnavailableError(f"No server was found in {directory}.", code="server_not_found") from error
    except ValueError as error:
        raise InvalidError(f"{path} is not what a server writes: {error}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("url"), str):
        raise InvalidError(f"{path} is not what a server writes: it has no url.")
    pid = content.get("pid")
    if isinstance(pid, int) and not _is_running(pid):
        raise UnavailableError(
            f"The server of {directory} does not run any more (process {pid} is gone).", code="server_not_found"
        )
    return parse_url(str(content["url"]), source=str(path), token=token or _local_token(directory))


def _local_token(directory: Path) -> str | None:
    path = directory / TOKEN_FILE
    try:
        return _checked(_read(path), str(path))
    except FileNotFoundError:
        return None


def _read(path: Path) -> str:
    """The text of a file of the data directory. Raises `FileNotFoundError`, `DeniedError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        raise DeniedError(
            f"{path} cannot be read: {error.strerror}. It belongs to the account that runs the server: "
            "use that account, or set CRONIUM_URL and CRONIUM_TOKEN."
        ) from error


def _checked(token: str, source: str) -> str:
    """A token is one printable word: anything else would break the request, or be somebody else's header."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidError(f"{source} does not hold a token (crn_ and at least 40 letters and digits).")
    return token


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
