"""Which addresses are nobody's public server, and why. Pure, and not left to `ipaddress`: its answers change by version."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from orchestrator.model.outbound import Address, Network

NAT64 = ip_network("64:ff9b::/96")
COMPATIBLE = ip_network("::/96")
GLOBAL_UNICAST = ip_network("2000::/3")  # all that IANA has given out of IPv6 for public use


@dataclass(frozen=True, slots=True, kw_only=True)
class Special:
    """
    Why an address is refused. `by_name`: an allowed host name that resolves to it opens it; the others are opened by
    nothing but a rule that holds the address itself.
    """

    reason: str
    by_name: bool = False


# Where the machines of clouds learn their credentials. Some of these lie among public addresses.
METADATA: frozenset[Address] = frozenset(
    map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
CLOUD = Special(reason="the metadata service of a cloud")
OWN = Special(reason="an address of this machine", by_name=True)

# After the registries of special-purpose addresses (RFC 6890 and its updates). The first that holds an address is told.
SPECIAL: Mapping[Network, Special] = {
    ip_network(network): Special(reason=f"{reason} ({network})", by_name=by_name)
    for network, reason, by_name in (
        ("127.0.0.0/8", "loopback", True),
        ("10.0.0.0/8", "private", True),
        ("172.16.0.0/12", "private", True),
        ("192.168.0.0/16", "private", True),
        ("100.64.0.0/10", "shared by a carrier's customers", True),
        ("169.254.0.0/16", "link-local", False),
        ("0.0.0.0/8", "unspecified", False),
        ("224.0.0.0/4", "multicast", False),
        ("255.255.255.255/32", "broadcast", False),
        ("240.0.0.0/4", "reserved", False),
        ("192.0.0.0/24", "reserved for protocols", False),
        ("192.0.2.0/24", "for documentation", False),
        ("198.51.100.0/24", "for documentation", False),
        ("203.0.113.0/24", "for documentation", False),
        ("198.18.0.0/15", "for benchmarks", False),
        ("192.88.99.0/24", "a relay of 6to4", False),
        ("::1/128", "loopback", True),
        ("::/128", "unspecified", False),
        ("fc00::/7", "private", True),
        ("fe80::/10", "link-local", False),
        ("fec0::/10", "site-local", False),
        ("ff00::/8", "multicast", False),
        ("::/96", "IPv4-compatible", False),
        ("64:ff9b:1::/48", "a translation of local addresses", False),
        ("2001::/32", "a Teredo tunnel", False),
        ("2001::/23", "reserved for protocols", False),
        ("2001:db8::/32", "for documentation", False),
        ("3fff::/20", "for documentation", False),
        ("2002::/16", "a 6to4 tunnel", False),
    )
}
RESERVED = Special(reason="reserved (outside of 2000::/3)")


def special(address: Address) -> Special | None:
    """Why `address` is no public one; None where it is. One that carries an IPv4 address is judged by that."""
    carried = stands_for(address)
    if carried != address:
        inner = special(carried)
        return None if inner is None else Special(reason=f"{carried}: {inner.reason}", by_name=inner.by_name)
    if address in METADATA:
        return CLOUD
    for network, found in SPECIAL.items():
        if address in network:
            return found
    return RESERVED if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST else None


def stands_for(address: Address) -> Address:
    """Where a packet to `address` ends up: the IPv4 address in an IPv4-mapped or a NAT64 one, else itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return _last_four_bytes(address)
    return address


def forms(address: Address) -> Sequence[Address]:
    """`address`, and every IPv4 address that is written in it: what a rule that denies one of them is about."""
    if not isinstance(address, IPv6Address):
        return (address,)
    carried: list[Address] = [address]
    if stands_for(address) != address:
        carried.append(stands_for(address))
    if address.sixtofour is not None:
        carried.append(address.sixtofour)
    if address.teredo is not None:
        carried.extend(address.teredo)
    if address in COMPATIBLE:
        carried.append(_last_four_bytes(address))
    return carried


def is_own_address(address: Address) -> bool:
    """Whether an interface of this machine has `address`: the system then answers from that address itself. Sends nothing."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0].partition("%")[0]) == address
    except OSError:  # no way there: it is not ours
        return False


def _last_four_bytes(address: IPv6Address) -> IPv4Address:
    return IPv4Address(address.packed[-4:])
