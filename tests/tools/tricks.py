"""Ways to make a server talk to what only it can reach, and why each is refused. `docs/outbound.md` lists them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SPELLING = "its host is neither a name nor an address in its usual spelling"
SIGNS = "it holds a space, a backslash, a control character or one that is not ASCII"
SCHEME = "it must begin with http:// or https://"
USER = "it has a user or an @ before its host"
PORT = "its host cannot be read, or its port is not one from 1 to 65535"


@dataclass(frozen=True, slots=True)
class Trick:
    """`reason` is in the message; `resolves` is what its host resolves to, where it is a name."""

    url: str
    what: str
    reason: str
    resolves: tuple[str, ...] = ()


TRICKS = [
    Trick("http://127.0.0.1/", "loopback", "loopback (127.0.0.0/8)"),
    Trick("http://127.8.9.10/", "loopback has 16 million addresses", "loopback (127.0.0.0/8)"),
    Trick("http://[::1]/", "loopback", "loopback (::1/128)"),
    Trick("http://localhost/", "resolves to loopback", "loopback", ("127.0.0.1", "::1")),
    Trick("http://localhost./", "the same name with a dot", "loopback", ("127.0.0.1",)),
    Trick("http://LOCALHOST/", "the same name in capitals", "loopback", ("127.0.0.1",)),
    Trick("http://127.0.0.1./", "an address with a dot at its end", "loopback"),
    Trick("http://10.1.2.3/", "private", "private (10.0.0.0/8)"),
    Trick("http://172.31.255.254/", "private", "private (172.16.0.0/12)"),
    Trick("http://192.168.0.1/", "private", "private (192.168.0.0/16)"),
    Trick("http://[fd12:3456::1]/", "private", "private (fc00::/7)"),
    Trick("http://[fec0::1]/", "once private", "site-local"),
    Trick("http://100.64.0.1/", "the network of a carrier, or of an overlay", "shared by a carrier's customers"),
    Trick("http://169.254.169.254/latest/meta-data/", "a cloud's metadata", "the metadata service of a cloud"),
    Trick("http://[fd00:ec2::254]/", "a cloud's metadata", "the metadata service of a cloud"),
    Trick("http://100.100.100.200/", "a cloud's metadata", "the metadata service of a cloud"),
    Trick("http://168.63.129.16/", "a cloud's metadata, on a public address", "the metadata service of a cloud"),
    Trick(
        "http://metadata.google.internal/",
        "a cloud's metadata by its name",
        "the metadata service of a cloud",
        ("169.254.169.254",),
    ),
    Trick("http://169.254.1.1/", "link-local", "link-local (169.254.0.0/16)"),
    Trick("http://[fe80::1]/", "link-local", "link-local (fe80::/10)"),
    Trick("http://[fe80::1%25eth0]/", "link-local with a zone", SPELLING),
    Trick("http://0.0.0.0/", "unspecified: the system takes it for itself", "unspecified"),
    Trick("http://0.1.2.3/", "unspecified", "unspecified"),
    Trick("http://[::]/", "unspecified", "unspecified"),
    Trick("http://224.0.0.1/", "multicast", "multicast"),
    Trick("http://[ff02::1]/", "multicast", "multicast"),
    Trick("http://255.255.255.255/", "broadcast", "broadcast"),
    Trick("http://240.0.0.1/", "reserved", "reserved"),
    Trick("http://192.0.0.8/", "reserved", "reserved for protocols"),
    Trick("http://192.0.2.1/", "documentation", "for documentation"),
    Trick("http://198.18.0.1/", "benchmarks", "for benchmarks"),
    Trick("http://[2001:db8::1]/", "documentation", "for documentation"),
    Trick("http://[4000::1]/", "given to nobody", "outside of 2000::/3"),
    Trick("http://[::ffff:127.0.0.1]/", "IPv4 in IPv6", "127.0.0.1: loopback"),
    Trick("http://[::ffff:a9fe:a9fe]/", "IPv4 in IPv6, in hexadecimal", "169.254.169.254: the metadata service"),
    Trick("http://[::127.0.0.1]/", "IPv4-compatible", "IPv4-compatible"),
    Trick("http://[64:ff9b::10.0.0.1]/", "NAT64", "10.0.0.1: private"),
    Trick("http://[64:ff9b:1::10.0.0.1]/", "NAT64 of a local network", "a translation of local addresses"),
    Trick("http://[2002:7f00:1::]/", "6to4", "a 6to4 tunnel"),
    Trick("http://[2001:0:7f00:1::]/", "Teredo", "a Teredo tunnel"),
    Trick("http://0x7f.1/", "hexadecimal", SPELLING),
    Trick("http://0x7f000001/", "hexadecimal", SPELLING),
    Trick("http://017700000001/", "octal", SPELLING),
    Trick("http://0177.0.0.1/", "octal", SPELLING),
    Trick("http://127.1/", "parts left out", SPELLING),
    Trick("http://2130706433/", "one number", SPELLING),
    Trick("http://127.0.0.1.0x0/", "a name that ends in a number", SPELLING),
    Trick("http://example.org../", "two dots", SPELLING),
    Trick("http://.example.org/", "an empty label", SPELLING),
    Trick("http://127%2e0%2e0%2e1/", "an escaped host", SPELLING),
    Trick("http:///etc/passwd", "no host", SPELLING),
    Trick("http://127.0.0.1%00.example.org/", "an escaped NUL", SPELLING),
    Trick("http://①②⑦.0.0.1/", "digits that become ASCII", SIGNS),
    Trick("http://127。0。0。1/", "dots that become ASCII", SIGNS),
    Trick("http://ｌocalhost/", "letters that become ASCII", SIGNS),
    Trick("http://exаmple.org/", "a Cyrillic letter that looks like another", SIGNS),
    Trick("http://example.org@127.0.0.1/", "a host in the place of a user", USER),
    Trick("http://user:password@example.org/", "a login", USER),
    Trick("http://127.0.0.1:80@example.org/", "a port in the place of a password", USER),
    Trick("http://example.org\\@127.0.0.1/", "a backslash", SIGNS),
    Trick("http:\\\\127.0.0.1/", "backslashes", SIGNS),
    Trick(" http://127.0.0.1/", "a space before it", SIGNS),
    Trick("http://127.0.0.1/\r\nHost: example.org", "a line break", SIGNS),
    Trick("http://127.0.0.1\t/", "a tab", SIGNS),
    Trick("http://example.org:0/", "port 0", PORT),
    Trick("http://example.org:65536/", "a port out of range", PORT),
    Trick("http://example.org:-1/", "a port that is no number", PORT),
    Trick("http://example.org:80:80/", "two ports", PORT),
    Trick("http://[::1/", "half a bracket", PORT),
    Trick("http:/127.0.0.1/", "one slash", SCHEME),
    Trick("//127.0.0.1/", "no scheme", SCHEME),
    Trick("file:///etc/passwd", "a file", SCHEME),
    Trick("gopher://127.0.0.1:6379/_FLUSHALL", "another protocol", SCHEME),
    Trick("ftp://127.0.0.1/", "another protocol", SCHEME),
    Trick("unix:///var/run/docker.sock", "a socket", SCHEME),
    Trick("http+unix://%2Fvar%2Frun%2Fdocker.sock/", "a socket", SCHEME),
    Trick("data:text/plain,hello", "no server at all", SCHEME),
    Trick("http://127.0.0.1.nip.example/", "a public name for loopback", "loopback", ("127.0.0.1",)),
    Trick("http://both.example/", "a name with a good and a bad address", "private", ("93.184.215.14", "10.0.0.1")),
    Trick("http://six.example/", "a name with a bad IPv6 address", "private", ("93.184.215.14", "fd00::1")),
    Trick("http://postgres:5432/", "a neighbour in a network of containers", "private", ("172.18.0.2",)),
]

SHOWN = {"\r": "\\r", "\n": "\\n", "\t": "\\t"}


def table(tricks: list[Trick] = TRICKS, shown: Mapping[str, str] = SHOWN) -> str:
    """As `docs/outbound.md` has it: `python -m tests.tools.tricks` prints it."""
    rows = ["| address | what it is | refused because |", "| --- | --- | --- |"]
    for trick in tricks:
        url = "".join(shown.get(sign, sign) for sign in trick.url)
        resolves = f", resolves to {' and '.join(trick.resolves)}" if trick.resolves else ""
        rows.append(f"| `{url}` | {trick.what}{resolves} | {trick.reason} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
