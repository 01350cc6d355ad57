"""Read an address that somebody gave as exactly one thing: a scheme, a host in its usual spelling, a port. Else refuse it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from yarl import URL

from orchestrator.errors import DeniedError
from orchestrator.model.outbound import Address, is_name

REFUSED = "outbound_refused"
DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST_URL = 8000
URL_PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>[^/?#]*)(?P<rest>[^#]*)(?:#.*)?")
PLACE = re.compile(r"(?P<host>\[[^\[\]@]*\]|[^:@\[\]]*)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a request goes. `url` is built from what was checked and names the same host; `literal` is an address in it."""

    url: URL
    scheme: str
    host: str
    port: int
    literal: Address | None

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        """The host, and the port where it is not the usual one. Never path or query: they hold secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_destination(text: str) -> Destination:
    """
    The destination that every reader of a URL would find in `text`.

    Raises `DeniedError` (`outbound_refused`) for all that two readers could take for two hosts.
    """
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text or len(text) > LONGEST_URL:
        raise refused(
            "it holds a space, a backslash, a control character or one that is not ASCII, or is too long; write a name "
            "in other letters in its xn-- form"
        )
    parts = URL_PARTS.fullmatch(text)
    scheme = parts["scheme"].lower() if parts is not None else ""
    if parts is None or scheme not in DEFAULT_PORTS:
        raise refused("it must begin with http:// or https://")
    if "@" in parts["place"]:
        raise refused("it has a user or an @ before its host; a login belongs in a header")
    place = PLACE.fullmatch(parts["place"])
    port = int(place["port"]) if place is not None and place["port"] is not None else DEFAULT_PORTS[scheme]
    if place is None or not 0 < port <= 65535:
        raise refused("its host cannot be read, or its port is not one from 1 to 65535")
    literal, host = _host(place["host"])
    shown = f"[{host}]" if ":" in host else host
    rest = parts["rest"] if parts["rest"].startswith("/") else f"/{parts['rest']}"
    url = URL(f"{scheme}://{shown}:{port}{rest}", encoded=True)
    if url.raw_host != host or url.port != port:
        raise refused("its host can be read in two ways")
    return Destination(url=url, scheme=scheme, host=host, port=port, literal=literal)


def refused(why: str) -> DeniedError:
    """For an address that cannot even be named: nothing of it is repeated."""
    return DeniedError(f"The address is refused: {why}.", code=REFUSED)


def _host(text: str) -> tuple[Address | None, str]:
    host = text.lower()
    bare = host[1:-1] if host.startswith("[") else host.removesuffix(".")
    literal = _literal(bare)
    if literal is not None and (literal.version == 6) == host.startswith("["):
        return literal, str(literal)
    if not host.startswith("[") and is_name(bare):
        return None, bare
    raise refused("its host is neither a name nor an address in its usual spelling (four decimal numbers, or [IPv6])")


def _literal(text: str) -> Address | None:
    if "%" in text:  # a zone: one machine's name for a network of its own
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None
