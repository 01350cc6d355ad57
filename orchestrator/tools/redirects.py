"""What the next request is when an answer says that something is elsewhere (RFC 9110, 15.4). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from yarl import URL

from orchestrator.errors import DeniedError
from orchestrator.tools.destination import REFUSED, Destination, parse_destination, refused

SEEN = frozenset({301, 302, 303, 307, 308})
# What may follow to another origin. All others could be a login, under whatever name.
HARMLESS = frozenset({"accept", "accept-language", "content-type"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One request on the way."""

    method: str
    destination: Destination
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def next_hop(hop: Hop, status: int, location: str, *, downgrade: bool) -> Hop:
    """
    The request that follows an answer of `SEEN`. To another origin go no headers that could hold a login.

    Raises `DeniedError` for what is no address, and for the way from https to http unless `downgrade`.
    """
    try:
        target = str(hop.destination.url.join(URL(location, encoded=True)))
    except ValueError:
        raise refused("a redirect leads to what cannot be read") from None
    destination = parse_destination(target)
    if hop.destination.scheme == "https" and destination.scheme == "http" and not downgrade:
        raise DeniedError(f"{hop.destination} redirects from https to http ({destination}): refused.", code=REFUSED)
    moved = replace(hop, destination=destination)
    if _becomes_get(hop.method, status):
        kept = {name: value for name, value in hop.headers.items() if not name.lower().startswith("content-")}
        moved = replace(moved, method="GET", body=None, headers=kept)
    if destination.origin != hop.destination.origin:
        kept = {name: value for name, value in moved.headers.items() if name.lower() in HARMLESS}
        moved = replace(moved, headers=kept)
    return moved


def _becomes_get(method: str, status: int) -> bool:
    """303 says so; with 301 and 302 it is what every client does with POST."""
    return method not in ("GET", "HEAD") if status == 303 else method == "POST" and status in (301, 302)
