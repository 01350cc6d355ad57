"""`outbound_allow` opens exactly what it names, and `outbound_deny` is stronger."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from orchestrator.config import load_settings
from orchestrator.errors import DeniedError, InvalidError
from orchestrator.model.outbound import parse_outbound_rules
from orchestrator.tools.destination import parse_destination
from orchestrator.tools.guard import Guard

PUBLIC, PUBLIC6 = "93.184.215.14", "2606:2800:21f:cb07::1"
MIXED = f"{PUBLIC} 10.0.0.1"


def is_allowed(url: str, resolves: str = "", *, allow: str = "", deny: str = "") -> bool:
    guard = Guard(
        allow=parse_outbound_rules(allow) if allow else (),
        deny=parse_outbound_rules(deny) if deny else (),
        is_own=lambda address: False,
    )
    destination = parse_destination(url)
    addresses = [ip_address(text) for text in resolves.split()] or [destination.literal]
    try:
        guard.check(destination, [address for address in addresses if address is not None])
    except DeniedError:
        return False
    return True


@pytest.mark.parametrize(
    ("allow", "url", "resolves", "allowed"),
    [
        ("", f"http://{PUBLIC}/", "", True),
        ("", f"https://[{PUBLIC6}]:8443/", "", True),
        ("", "https://example.org./", f"{PUBLIC} {PUBLIC6}", True),
        ("", "http://[64:ff9b::5db8:d70e]/", "", True),  # a public address by way of NAT64
        ("", "http://x.example/", MIXED, False),
        ("10.0.0.1", "http://x.example/", MIXED, True),
        ("10.0.0.0/8", "http://10.9.8.7/", "", True),
        ("10.0.0.0/8", "http://11.0.0.1/", "", True),
        ("10.0.0.0/8", "http://192.168.0.1/", "", False),
        ("10.0.0.0/8", "http://[::ffff:10.0.0.1]/", "", True),
        ("10.0.0.0/8", "http://[2002:a00:1::]/", "", False),
        ("10.0.0.1", "http://10.0.0.2/", "", False),
        ("10.0.0.1:8080", "http://10.0.0.1:8080/", "", True),
        ("10.0.0.1:8080", "http://10.0.0.1/", "", False),
        ("10.0.0.1:8080", "http://x.example:8080/", "10.0.0.1", True),
        ("[fd00::1]:8080", "http://[fd00::1]:8080/", "", True),
        ("[fd00::1]:8080", "http://[fd00::1]:8081/", "", False),
        ("fd00::1", "http://[fd00:0::1]/", "", True),
        ("localhost", "http://localhost:9000/", "127.0.0.1 ::1", True),
        ("localhost", "http://LocalHost./", "127.0.0.1", True),
        ("localhost", "http://127.0.0.1/", "", False),
        ("127.0.0.1", "http://localhost/", "127.0.0.1 ::1", False),
        ("localhost:9000", "http://localhost:9001/", "127.0.0.1", False),
        ("hooks.corp.example", "http://hooks.corp.example/", "10.0.0.1", True),
        ("hooks.corp.example", "http://x.hooks.corp.example/", "10.0.0.1", False),
        ("Corp.Example.", "http://corp.example/", "10.0.0.1", True),
        ("*.corp.example", "http://a.b.corp.example/", "10.0.0.1", True),
        ("*.corp.example", "http://corp.example/", "10.0.0.1", False),
        ("*.corp.example", "http://evilcorp.example/", "10.0.0.1", False),
        ("*.corp.example:8080", "http://a.corp.example:8080/", "10.0.0.1", True),
        ("*.corp.example:8080", "http://a.corp.example/", "10.0.0.1", False),
        # What is not even a network's own is opened by no name, whoever may write into its zone.
        ("*.corp.example", "http://a.corp.example/", "169.254.169.254", False),
        ("*.corp.example", "http://a.corp.example/", "0.0.0.0", False),
        ("*.corp.example", "http://a.corp.example/", "100.100.100.200", False),
        ("169.254.169.254", "http://a.corp.example/", "169.254.169.254", True),
        ("a.example, 10.0.0.0/8 ,b.example", "http://10.0.0.1/", "", True),
    ],
)
def test_the_allow_list_opens_what_it_names(allow: str, url: str, resolves: str, allowed: bool):
    """S24"""
    assert is_allowed(url, resolves, allow=allow) is allowed


@pytest.mark.parametrize(
    ("deny", "url", "resolves"),
    [
        (PUBLIC, f"http://{PUBLIC}/", ""),
        ("93.184.0.0/16", "http://example.org/", f"{PUBLIC6} {PUBLIC}"),
        ("93.184.0.0/16", f"http://[::ffff:{PUBLIC}]/", ""),
        ("93.184.0.0/16", "http://[64:ff9b::5db8:d70e]/", ""),
        ("example.org", "http://EXAMPLE.org./", PUBLIC),
        ("*.example.org", "http://a.example.org/", PUBLIC),
        ("example.org:80", "http://example.org/", PUBLIC),
        ("10.0.0.1", "http://10.0.0.1/", ""),
    ],
)
def test_what_is_denied_is_refused_though_it_is_allowed_too(deny: str, url: str, resolves: str):
    host = parse_destination(url).host
    everything = f"0.0.0.0/0, ::/0{'' if ':' in host else f', {host}'}"
    assert is_allowed(url, resolves, allow=everything)
    assert not is_allowed(url, resolves, allow=everything, deny=deny)


def test_what_is_not_denied_stays_open():
    assert is_allowed("http://example.org:8080/", PUBLIC, deny="example.org:80, *.example.org, 10.0.0.0/8")


@pytest.mark.parametrize(
    ("url", "resolves", "words"),
    [
        (
            "http://hooks.corp.example:8080/s3cr3t?s3cr3t",
            "10.0.0.1",
            (
                "hooks.corp.example:8080 (10.0.0.1) is refused: it is private (10.0.0.0/8). "
                "`outbound_allow: hooks.corp.example` (CRONIUM_OUTBOUND_ALLOW) would allow it."
            ),
        ),
        ("http://10.0.0.1/s3cr3t", "", "`outbound_allow: 10.0.0.1`"),
        ("http://a.example/s3cr3t", "169.254.169.254", "`outbound_allow: 169.254.169.254`"),
    ],
)
def test_a_refusal_names_host_address_reason_and_what_would_allow_it(url: str, resolves: str, words: str):
    destination = parse_destination(url)
    addresses = [ip_address(resolves or destination.host)]
    with pytest.raises(DeniedError) as denied:
        Guard(is_own=lambda address: False).check(destination, addresses)
    assert words in denied.value.message
    assert "s3cr3t" not in denied.value.message


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "10.0.0.1,", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8:80", "10.0.0.1:0", "10.0.0.1:65536", "10.1",
        "0x7f.1", "2130706433", "http://example.org", "example.org/path", "*", "*.", "a.*.example", "**.example",
        "[fd00::1", "fe80::1%eth0", "user@example.org", "exämple.org", "a b",
    ],
)  # fmt: skip
def test_an_entry_that_names_nothing_is_refused(text: str):
    with pytest.raises(ValueError, match=r"^entry [12] must be a network"):
        parse_outbound_rules(text)


def test_the_settings_hold_rules_and_refuse_what_is_none(tmp_path):
    place = {"CRONIUM_DATA_DIR": str(tmp_path), "HOME": str(tmp_path)}
    settings = load_settings({}, env={**place, "CRONIUM_OUTBOUND_ALLOW": "10.0.0.0/8, *.corp.example:80"}, cwd=tmp_path)
    assert settings.allowed_outbound == parse_outbound_rules("10.0.0.0/8,*.corp.example:80")
    assert settings.denied_outbound == ()
    wrong = {"CRONIUM_OUTBOUND_DENY": "10.0.0.1, http://s3cr3t/", "CRONIUM_OUTBOUND_ALLOW": "10.1"}
    with pytest.raises(InvalidError) as refused:
        load_settings({}, env={**place, **wrong}, cwd=tmp_path)
    faults = {fault.path: fault.message for fault in refused.value.faults}
    assert set(faults) == {"outbound_allow", "outbound_deny"}
    assert "entry 2 must be" in faults["outbound_deny"]
    assert "s3cr3t" not in str(faults)
