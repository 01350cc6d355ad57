"""S24: each trick by which a server is made to talk to its own network is refused before anything is sent."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from orchestrator.errors import DeniedError, UnavailableError
from orchestrator.tools.outbound import Outbound, Request
from tests.tools.site import FakeLookup, open_site, way_out
from tests.tools.tricks import TRICKS, Trick, table

PAGE = Path(__file__).parents[2] / "docs" / "outbound.md"
SECRET = "s3cr3t"


async def refusal(outbound: Outbound, url: str) -> str:
    with pytest.raises(DeniedError) as denied:
        async with outbound.call(Request(method="POST", url=url, body=b"{}")):
            pass
    assert denied.value.code == "outbound_refused"
    return denied.value.message


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: ascii(trick.url))
async def test_a_trick_is_refused_for_its_reason(trick: Trick):
    """S24"""
    host = trick.url.split("/")[2].split(":")[0].lower().rstrip(".") if trick.resolves else ""
    lookup = FakeLookup({host: [[ip_address(text) for text in trick.resolves]]})
    assert trick.reason in await refusal(way_out(lookup=lookup), trick.url)


@pytest.mark.parametrize(
    "trick", [trick for trick in TRICKS if trick.url.startswith("http")], ids=lambda t: ascii(t.url)
)
async def test_a_refusal_never_shows_path_or_query(trick: Trick):
    lookup = FakeLookup({})
    with pytest.raises((DeniedError, UnavailableError)) as failed:
        async with way_out(lookup=lookup).call(Request(method="GET", url=f"{trick.url}{SECRET}?key={SECRET}")):
            pass
    assert SECRET not in str(failed.value) + repr(failed.value)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "localhost.", "[::ffff:127.0.0.1]", "0.0.0.0", "0x7f.1", "2130706433", "good@127.0.0.1"],
)
async def test_a_server_on_this_machine_is_not_reached_by(host: str):
    lookup = FakeLookup({"localhost": [[ip_address("127.0.0.1")]]})
    async with open_site() as site:
        await refusal(way_out(lookup=lookup), f"http://{host}:{site.port}/")
    assert site.visits == []


def test_the_page_lists_every_trick():
    assert table() in PAGE.read_text(encoding="utf-8"), (
        "put the output of `python -m tests.tools.tricks` into docs/outbound.md"
    )
