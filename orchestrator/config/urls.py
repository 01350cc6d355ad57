"""URLs of backends: which there are, what they name, and how they are shown without their passwords."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

DATABASE_FILE = "cronium.db"
IN_MEMORY = frozenset({":memory:", "sqlite://:memory:", "sqlite:///:memory:"})
POSTGRES_SCHEMES = ("postgresql", "postgres")
DATABASE_SCHEMES = (*POSTGRES_SCHEMES, "sqlite")
VALKEY_SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")
PLACE = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^:@\[\]]*)(?::([0-9]{1,5}))?")  # a host, and where there is one its port
SECRET_OPTION = re.compile(r"pass(?!file)|secret|token", re.IGNORECASE)

StoreDriver: TypeAlias = Literal["sqlite", "postgres"]
CacheDriver: TypeAlias = Literal["memory", "valkey"]


class SecretUrl:
    """A URL that was checked. Whatever prints it prints `***` for its password; only `reveal` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The URL as it was given: for the driver that connects, and for nothing else."""
        return self._text

    def __str__(self) -> str:
        return masked(self._text)

    def __repr__(self) -> str:
        return f"SecretUrl({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteDatabase:
    """A database file, absolute; None is a database in memory that ends with the process."""

    path: Path | None

    def __str__(self) -> str:
        return ":memory:" if self.path is None else f"sqlite://{quote(str(self.path))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresDatabase:
    """A database of a Postgres server."""

    url: SecretUrl

    def __str__(self) -> str:
        return str(self.url)


Database: TypeAlias = SqliteDatabase | PostgresDatabase


def parse_database(url: SecretUrl | None, data_dir: Path) -> Database:
    """What `database_url` names; where it is not set, the usual file in the data directory."""
    if url is None:
        return SqliteDatabase(path=data_dir / DATABASE_FILE)
    text = url.reveal()
    if text in IN_MEMORY:
        return SqliteDatabase(path=None)
    scheme, _, rest = text.partition("://")
    if scheme in POSTGRES_SCHEMES:
        return PostgresDatabase(url=url)
    if rest.startswith("/"):
        return SqliteDatabase(path=Path("/" + unquote(rest).lstrip("/")))
    return SqliteDatabase(path=data_dir / (unquote(rest) or DATABASE_FILE))


def masked(url: str) -> str:
    """`url` with `***` for its password, also for one among its options. Text that is no URL comes back as it is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    # The last @: a password with a / or ? in it must not be taken for a path and shown.
    account, at, place = rest.rpartition("@")
    user, colon, _ = account.partition(":")
    place, mark, options = place.partition("?")
    shown = "&".join(_masked_option(option) for option in options.split("&"))
    return f"{scheme}://{user}{':***' if colon else ''}{at}{place}{mark}{shown}"


def _masked_option(option: str) -> str:
    name, equals, _ = option.partition("=")
    return f"{name}=***" if equals and SECRET_OPTION.search(unquote(name)) else option


def checked_database_url(value: object) -> SecretUrl:
    """Raises `ValueError` that says what is wrong and repeats nothing of the value but its scheme."""
    if isinstance(value, SecretUrl):
        return value
    text = _one_word(value)
    if text in IN_MEMORY:
        return SecretUrl(text)
    scheme = _scheme(text, DATABASE_SCHEMES, "must be postgresql://…, postgres://…, sqlite://… or :memory:")
    if scheme == "sqlite":
        _check_file(text)
    else:
        parts = _split(text)
        if not parts.netloc.rpartition("@")[2] and "host=" not in parts.query:
            raise ValueError("names no host; write postgresql://user:password@host:5432/database")
    return SecretUrl(text)


def checked_valkey_url(value: object) -> SecretUrl:
    """Raises `ValueError` as `checked_database_url` does."""
    if isinstance(value, SecretUrl):
        return value
    text = _one_word(value)
    scheme = _scheme(text, VALKEY_SCHEMES, "must be valkey://…, valkeys://…, redis://…, rediss://… or unix://…")
    parts = _split(text)
    if scheme == "unix" and not parts.path.strip("/"):
        raise ValueError("names no socket; write unix:///path/of/the.sock")
    if scheme != "unix" and not parts.netloc.rpartition("@")[2]:
        raise ValueError(f"names no host; write {scheme}://host:6379/0")
    return SecretUrl(text)


def _one_word(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a URL")
    if not value.isprintable() or " " in value:
        raise ValueError("holds a space, a line break or a control character; write %20 for a space")
    return value


def _scheme(text: str, known: Sequence[str], rule: str) -> str:
    scheme, separator, _ = text.partition("://")
    if separator and scheme in known:
        return scheme
    near = get_close_matches(scheme.lower(), known, n=1) if separator else []
    raise ValueError(f"{rule}{f'; is it {near[0]}:// ?' if near else ''}")


def _split(text: str) -> SplitResult:
    """The parts of a URL in which it is certain where the password ends: where it is not, it could be shown."""
    rule = "cannot be read as a URL; in user and password write / as %2F, ? as %3F, # as %23, @ as %40 and : as %3A"
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(rule) from None
    places = [PLACE.fullmatch(place) for place in parts.netloc.rpartition("@")[2].split(",")]
    ports_are_right = all(place is not None and int(place[1] or 0) <= 65535 for place in places)
    if not ports_are_right or "@" in parts.path + parts.query or "#" in text:
        raise ValueError(rule)
    return parts


def _check_file(text: str) -> None:
    rest = text.partition("://")[2]
    if "?" in rest or "#" in rest or "\0" in unquote(rest):
        raise ValueError("takes no options; write ? as %3F and # as %23 in the name of a file")


DatabaseUrl = Annotated[
    SecretUrl,
    PlainValidator(checked_database_url),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^(postgresql://|postgres://|sqlite://|:memory:$)"}),
]
ValkeyUrl = Annotated[
    SecretUrl,
    PlainValidator(checked_valkey_url),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^(valkeys?|rediss?|unix)://"}),
]
