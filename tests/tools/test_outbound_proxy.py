"""Behind a proxy: names are looked up and checked here too, before the proxy is told of them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from orchestrator.errors import DeniedError
from orchestrator.tools.outbound import Request
from tests.tools.site import FakeLookup, Site, open_site, way_out

PUBLIC = "93.184.215.14"


@pytest.fixture
async def proxy(monkeypatch):
    async with open_site() as site:
        monkeypatch.setenv("http_proxy", site.url)
        yield site


def known(**names: str) -> FakeLookup:
    return FakeLookup({name.replace("_", "."): [[ip_address(address)]] for name, address in names.items()})


async def get(url: str, allow: str = "", deny: str = "", lookup: FakeLookup | None = None) -> int:
    async with way_out(allow, deny, lookup=lookup).call(Request(method="GET", url=url)) as answer:
        return answer.status


async def test_a_public_name_goes_to_the_proxy_which_needs_no_rule(proxy: Site):
    assert await get("http://hooks.example/a", lookup=known(hooks_example=PUBLIC)) == 200
    (visit,) = proxy.visits
    assert visit.headers["host"] == "hooks.example"


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://inside.example/", "http://169.254.169.254/"])
async def test_what_is_refused_is_not_even_told_to_the_proxy(proxy: Site, url: str):
    """S24"""
    with pytest.raises(DeniedError):
        await get(url, lookup=known(inside_example="10.0.0.1"))
    assert proxy.visits == []


async def test_a_name_that_only_the_proxy_knows_needs_somebody_to_vouch_for_it(proxy: Site):
    with pytest.raises(DeniedError, match=r"`outbound_allow: hooks\.example`"):
        await get("http://hooks.example/")
    assert await get("http://hooks.example/", allow="hooks.example") == 200
    with pytest.raises(DeniedError, match="outbound_deny"):
        await get("http://hooks.example/", allow="hooks.example", deny="*.example")
    assert len(proxy.visits) == 1


async def test_no_proxy_goes_the_straight_way(proxy: Site, monkeypatch):
    monkeypatch.setenv("no_proxy", "hooks.example")
    async with open_site("127.0.0.2") as site:
        url = f"http://hooks.example:{site.port}/"
        assert await get(url, allow="hooks.example", lookup=known(hooks_example="127.0.0.2")) == 200
        assert (len(site.visits), proxy.visits) == (1, [])


async def test_a_proxy_may_have_a_name_and_be_written_without_a_scheme(proxy: Site, monkeypatch):
    monkeypatch.setenv("http_proxy", f"proxy.internal:{proxy.port}")
    lookup = known(hooks_example=PUBLIC, proxy_internal="127.0.0.1")
    assert await get("http://hooks.example/", lookup=lookup) == 200
    assert len(proxy.visits) == 1
