"""What the settings `outbound_allow` and `outbound_deny` say: the addresses and names that one entry is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label like this makes the host an address, however it is spelled
ENTRY = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
LONGEST_NAME = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundRule:
    """
    One entry: a network (an address is the smallest one) or else a name; `port` None is every port.

    With `below` it is the names that end in `.name` and not `name` itself.
    """

    network: Network | None = None
    name: str = ""
    below: bool = False
    port: int | None = None

    def names(self, host: str, port: int) -> bool:
        """Whether this entry is about the name `host`, in lower case and without a dot at its end."""
        if self.network is not None or self.port not in (None, port):
            return False
        return host.endswith(f".{self.name}") if self.below else host == self.name

    def holds(self, address: Address, port: int) -> bool:
        """Whether this entry is about `address`, whatever name has led there."""
        return self.network is not None and self.port in (None, port) and address in self.network


def parse_outbound_rules(text: str) -> tuple[OutboundRule, ...]:
    """
    `10.1.0.0/16, 10.2.3.4:8080, [fd00::1]:8080, intranet.example, *.corp.example` as rules.

    Raises `ValueError` that says what is wrong and repeats nothing of the text but the place in the list.
    """
    return tuple(_rule(number, entry.strip()) for number, entry in enumerate(text.split(","), 1))


def is_name(host: str) -> bool:
    """Whether `host`, in lower case, is a name as DNS has them, and no address in some spelling."""
    labels = host.split(".")
    return (
        len(host) <= LONGEST_NAME
        and all(LABEL.fullmatch(label) for label in labels)
        and not NUMBER.fullmatch(labels[-1])
    )


def _rule(number: int, entry: str) -> OutboundRule:
    network = _network(entry)  # before the port: an IPv6 address is all colons
    if network is not None:
        return OutboundRule(network=network)
    parts = ENTRY.fullmatch(entry)
    port = int(parts["port"]) if parts is not None and parts["port"] else None
    if parts is None or port == 0 or (port or 0) > 65535:
        raise _wrong(number)
    host = parts["host"].lower().removesuffix(".")
    network = None if "/" in host else _network(host.strip("[]"))
    if network is not None:
        return OutboundRule(network=network, port=port)
    name = host.removeprefix("*.")
    if not is_name(name):
        raise _wrong(number)
    return OutboundRule(name=name, below=name != host, port=port)


def _network(text: str) -> Network | None:
    """A network without bits behind its prefix, or an address, in its usual spelling."""
    if "%" in text:
        return None
    try:
        return ip_network(text)
    except ValueError:
        return None


def _wrong(number: int) -> ValueError:
    return ValueError(
        f"entry {number} must be a network (10.1.0.0/16), an address (10.1.2.3, fd00::1), a host name, `*.domain`, or "
        "one of the last three with a port ([fd00::1]:8080, intranet.example:8080), with commas between entries"
    )
