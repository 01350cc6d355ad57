"""An address is read as every other reader would read it, or not at all."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from orchestrator.errors import DeniedError
from orchestrator.tools.destination import parse_destination
from orchestrator.tools.guard import Guard

PIECES = [
    *("http://", "https://", "http:", "//", "/", "\\", "@", ":", "#", "?", "%", "%2e", "%00", ".", "[", "]", "::1"),
    *("127.0.0.1", "localhost", "example.org", "0x7f", "1", "80", "a", "-", "_", "\t", "\n", " ", "é", "。"),
]
INSIDE = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.0.1", "100.64.0.1", "100.127.255.255", "0.0.0.0", "224.0.0.1", "239.255.255.255"),
    *("240.0.0.1", "255.255.255.255", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.19.255.255", "192.0.0.1"),
]
OUTSIDE = ["1.1.1.1", "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0"]
GUARD = Guard(is_own=lambda address: False)


def spellings(text: str) -> list[str]:
    """Ways to write an IPv4 address that some reader understands."""
    address = IPv4Address(text)
    a, b, c, d = address.packed
    high, low = f"{a:02x}{b:02x}", f"{c:02x}{d:02x}"
    return [
        text,
        f"{text}.",
        f"{int(address)}",
        f"0x{int(address):x}",
        f"0{int(address):o}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{b}.{c * 256 + d}",
        f"{a}.{(b << 16) + (c << 8) + d}",
        f"{a:03d}.{b:03d}.{c:03d}.0{d:o}",
        f"[::ffff:{text}]",
        f"[::ffff:{high}:{low}]",
        f"[0:0:0:0:0:ffff:{high}:{low}]",
        f"[::{text}]",
        f"[64:ff9b::{text}]",
        f"[64:ff9b:1::{high}:{low}]",
        f"[2002:{high}:{low}::1]",
        f"[2001:0:{high}:{low}::1]",
        text.replace(".", "%2e"),
        text.replace(".", "。"),
    ]


def allowed(url: str) -> bool:
    try:
        destination = parse_destination(url)
        assert destination.literal is not None, f"{url} is taken for a name"
        GUARD.check(destination, [destination.literal])
    except DeniedError:
        return False
    return True


@pytest.mark.parametrize("address", INSIDE)
def test_no_spelling_of_an_inner_address_gets_through(address: str):
    """S24: 21 addresses in 20 spellings."""
    assert [url for url in (f"http://{host}/" for host in spellings(address)) if allowed(url)] == []


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_public_address_right_beside_gets_through_in_its_usual_spelling(address: str):
    assert allowed(f"http://{address}/")
    assert allowed(f"http://[::ffff:{address}]/")


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@example("http://127.0.0.1\\@example.org/")
@settings(max_examples=400, deadline=None)
def test_what_is_read_is_what_other_readers_read(rest: str):
    """S24"""
    with suppress(DeniedError):
        destination = parse_destination(f"http://{rest}")
        others = {urlsplit(f"http://{rest}").hostname, URL(f"http://{rest}").host}
        assert {_same(host) for host in others} == {destination.host}
        assert destination.url.raw_host == destination.host


def _same(host: str | None) -> str:
    bare = (host or "").removesuffix(".")
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("HTTPS://Example.ORG", "https://example.org/"),
        ("http://example.org.:80/a%2Fb?c=%20#d", "http://example.org/a%2Fb?c=%20"),
        ("http://example.org?q", "http://example.org/?q"),
        ("http://[2606:2800:021f:0::1]:8080/", "http://[2606:2800:21f::1]:8080/"),
        ("http://xn--exmple-cua.org/", "http://xn--exmple-cua.org/"),
        ("http://under_score.example.org:00080/", "http://under_score.example.org/"),
    ],
)
def test_a_plain_address_is_kept_but_for_its_spelling(text: str, url: str):
    assert str(parse_destination(text).url) == url
