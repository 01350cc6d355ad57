"""The master keys: in a file of the data directory, made when the first is asked for, or given by configuration."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.errors import InvalidError, UnavailableError

KEY_BYTES = 32
MAX_KEYS = 100
MAKE_ONE = "openssl rand -base64 32"
HEX = re.compile(r"[0-9a-fA-F]{64}")
SEPARATOR = re.compile(r"[\s,]+")


class KeyRing(Protocol):
    """Master keys, the newest first. `place` says where they are, in words."""

    @property
    def place(self) -> str: ...

    def load(self) -> tuple[bytes, ...]:
        """All of them. Blocking. `UnavailableError` (`secret_key_unusable`) for what is no key."""
        ...

    def add(self) -> bytes:
        """Make another one, as `Sealer.make_key` says."""
        ...

    def keep_only(self, key: bytes) -> None:
        """Forget the others, as `Sealer.drop_keys` says."""
        ...


def parse_keys(text: str, source: str) -> tuple[bytes, ...]:
    """
    Keys of 32 bytes in base64 or hexadecimal, with commas or blanks between them.

    Raises `InvalidError` (`secret_key_unusable`), which repeats nothing of the text.
    """
    words = [word for word in SEPARATOR.split(text) if word]
    if not words or len(words) > MAX_KEYS:
        raise _unusable(source, "holds no key" if not words else f"holds more than {MAX_KEYS} keys")
    return tuple(_parse(word, source) for word in words)


def _parse(word: str, source: str) -> bytes:
    try:
        key = bytes.fromhex(word) if HEX.fullmatch(word) else base64.b64decode(word.translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError):
        raise _unusable(source, "is neither base64 nor hexadecimal") from None
    if len(key) != KEY_BYTES:
        raise _unusable(source, f"is {len(key)} bytes long, not {KEY_BYTES}")
    if len(set(key)) < KEY_BYTES // 4:
        raise _unusable(source, "is no random key: it repeats a few bytes")
    return key


_STANDARD = str.maketrans("-_", "+/")


def _unusable(source: str, why: str) -> InvalidError:
    return InvalidError(f"The key in {source} {why}. Make one with `{MAKE_ONE}`.", code="secret_key_unusable")


def given_keys(text: str) -> GivenKeys:
    """The ring of what CRONIUM_ENCRYPTION_KEY holds. Raises `InvalidError`."""
    return GivenKeys(parse_keys(text, "CRONIUM_ENCRYPTION_KEY"))


@dataclass(frozen=True, slots=True)
class GivenKeys:
    """`KeyRing` of keys that configuration gives; they are never ours to change."""

    given: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"GivenKeys({len(self.given)} keys)"

    @property
    def place(self) -> str:
        return "CRONIUM_ENCRYPTION_KEY"

    def load(self) -> tuple[bytes, ...]:
        return self.given

    def add(self) -> bytes:
        raise InvalidError(
            "The key comes from CRONIUM_ENCRYPTION_KEY: put a new one before the old one there (new,old), on every server of "
            f"this database, start them again, and rotate then. Make one with `{MAKE_ONE}`.",
            code="secret_key_given",
        )

    def keep_only(self, key: bytes) -> None:
        """They stay until somebody takes them out of the configuration."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """
    `KeyRing` in a file (0600), one key a line. Read each time it is needed, so that a key that is put there is found.

    `shared`: other servers with files of their own work on the same database, and would not know a key that is made here.
    """

    path: Path
    shared: bool = False

    @property
    def place(self) -> str:
        return str(self.path)

    def load(self) -> tuple[bytes, ...]:
        """All keys; the first one is made here. Two processes at once agree on it."""
        try:
            text = self.path.read_text(encoding="ascii")
        except FileNotFoundError:
            self._make_first()
            text = self._read()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error
        try:
            return parse_keys(text, str(self.path))
        except (
            InvalidError
        ) as error:  # what the server is given wrong at its start is refused there; this may come later
            raise UnavailableError(error.message, code=error.code) from error

    def add(self) -> bytes:
        if self.shared:
            raise InvalidError(
                f"Other servers may use this database, and would not have a key that is made here: put a new line before "
                f"the old one into {self.path} of every server (`{MAKE_ONE}`), and rotate then.",
                code="secret_key_given",
            )
        fresh = secrets.token_bytes(KEY_BYTES)
        self._write((fresh, *self.load()))
        return fresh

    def keep_only(self, key: bytes) -> None:
        if not self.shared:
            self._write((key,))

    def _read(self) -> str:
        try:
            return self.path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError | UnicodeDecodeError) -> UnavailableError:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        return UnavailableError(
            f"The key of the secrets, {self.path}, cannot be read: {why}. It must belong to the account of the server, "
            "with mode 0600.",
            code="secret_key_unreadable",
        )

    def _make_first(self) -> None:
        fresh = self._lay_beside((secrets.token_bytes(KEY_BYTES),))
        try:
            os.link(fresh, self.path)  # fails where another process was first: then its key holds
        except FileExistsError:
            pass
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            fresh.unlink(missing_ok=True)
        self._settle()

    def _write(self, keys: tuple[bytes, ...]) -> None:
        """Replace the file: whoever reads finds the old one or the new one, also after a loss of power."""
        fresh = self._lay_beside(keys)
        try:
            fresh.replace(self.path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise self._unwritable(error) from error
        self._settle()

    def _lay_beside(self, keys: tuple[bytes, ...]) -> Path:
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"".join(base64.b64encode(key) + b"\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise self._unwritable(error) from error
        return fresh

    def _settle(self) -> None:
        """Make the directory's entry durable: a value must never be stored before the key that opens it."""
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _unwritable(self, error: OSError) -> UnavailableError:
        return UnavailableError(
            f"{self.path} cannot be written: {error.strerror}. Make room or rights.", code="secret_key_unreadable"
        )
