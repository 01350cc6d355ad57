"""The way out: what was checked is what is connected to, at every redirect; all of it bounded, and nothing is kept."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import web

from orchestrator.errors import CroniumError, DeniedError, InvalidError, LimitExceededError, UnavailableError
from orchestrator.model.outbound import parse_outbound_rules
from orchestrator.tools.addresses import is_own_address
from orchestrator.tools.outbound import Outbound, Request, open_outbound
from orchestrator.tools.pinned import Pinned, open_session
from tests.tools.site import FakeLookup, Site, open_site, way_out

HERE, THERE = "127.0.0.1", "127.0.0.2"
SECRET = "s3cr3t"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with open_site() as site:
        yield site


@pytest.fixture
async def other() -> AsyncIterator[Site]:
    async with open_site(THERE) as site:
        yield site


async def fetch(outbound: Outbound, url: str, method: str = "GET", **more) -> tuple[int, bytes]:
    async with outbound.call(Request(method=method, url=url, **more)) as answer:
        return answer.status, await answer.read()


async def failure(outbound: Outbound, url: str, kind: type[CroniumError], **more) -> CroniumError:
    with pytest.raises(kind) as failed:
        await fetch(outbound, url, **more)
    assert SECRET not in failed.value.message
    assert failed.value.__cause__ is None
    return failed.value


def known(**names: list[str]) -> FakeLookup:
    """Each answer is text: addresses with spaces between them."""
    return FakeLookup(
        {
            name.replace("_", "."): [[ip_address(text) for text in turn.split()] for turn in turns]
            for name, turns in names.items()
        }
    )


async def test_an_allowed_address_is_answered(site: Site):
    assert await fetch(way_out(HERE), f"{site.url}/a?b=%20c", "POST", body=b"{}") == (200, b"hello")
    (visit,) = site.visits
    assert (visit.method, visit.path, visit.body) == ("POST", "/a?b=%20c", b"{}")
    assert visit.headers["host"] == f"{HERE}:{site.port}"
    assert visit.headers["user-agent"].startswith("cronium/")


async def test_a_name_is_looked_up_once_and_a_second_answer_never_used():
    """S24: DNS rebinding. Both servers have the same port, and the second answer is the one that must not be reached."""
    async with open_site(THERE) as meant, open_site(HERE, meant.port) as victim:
        lookup = known(hooks_example=[THERE, HERE])
        await fetch(way_out(THERE, lookup=lookup), f"http://hooks.example:{meant.port}/")
        assert (len(meant.visits), len(victim.visits), lookup.asked) == (1, 0, ["hooks.example"])
        assert meant.visits[0].headers["host"] == f"hooks.example:{meant.port}"


async def test_the_systems_own_look_up_is_asked_once(monkeypatch):
    """S24: whatever else asks the system for the name again gets the address that must not be reached."""
    answers = [THERE]

    def getaddrinfo(host, port, *args, **more):
        address = answers.pop() if answers else HERE
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))]

    async with (
        open_site(THERE) as meant,
        open_site(HERE, meant.port) as victim,
        open_outbound(parse_outbound_rules(THERE)) as outbound,
    ):
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        await fetch(outbound, f"http://hooks.example:{meant.port}/")
    assert (len(meant.visits), len(victim.visits)) == (1, 0)


async def test_a_name_that_changes_its_mind_is_checked_at_the_next_request(site: Site):
    outbound = way_out(HERE, lookup=known(hooks_example=[HERE, "10.0.0.1"]))
    await fetch(outbound, f"http://hooks.example:{site.port}/")
    refused = await failure(outbound, f"http://hooks.example:{site.port}/", DeniedError)
    assert "10.0.0.1" in refused.message


async def test_the_socket_itself_refuses_an_address_that_was_not_checked(site: Site):
    """S24: the second line. The pinned address is another one than the one in the URL."""
    pinned = Pinned(host="hooks.example", port=site.port, addresses=[ip_address(THERE)])
    async with open_session(pinned, None) as session:
        with pytest.raises(DeniedError, match="not checked"):
            await session.get(site.url)
        with pytest.raises(DeniedError, match="another host"):
            await session.get("http://elsewhere.example/")
    assert site.visits == []


async def test_by_default_this_machine_is_refused_by_every_name_it_has(site: Site):
    """S24: with the system's own look-up."""
    async with open_outbound() as outbound:
        for host in ("localhost", "127.0.0.1", "[::1]", "0.0.0.0"):
            await failure(outbound, f"http://{host}:{site.port}/{SECRET}", DeniedError)
    assert site.visits == []


def test_the_system_says_which_addresses_are_its_own():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((THERE, 9))
        mine = probe.getsockname()[0]
    assert is_own_address(ip_address(mine))
    assert not is_own_address(ip_address("198.51.100.7"))
    assert not is_own_address(ip_address("2001:db8::7"))


async def test_an_address_of_this_machine_is_refused_though_it_is_public(site: Site):
    guard = way_out().guard
    mine = Outbound(guard=type(guard)(is_own=lambda address: str(address) == "93.184.215.14"), lookup=FakeLookup())
    refused = await failure(mine, "http://93.184.215.14/", DeniedError)
    assert "it is an address of this machine" in refused.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_refused_address_is_refused(site: Site, other: Site, status: int):
    """S24"""
    other.redirects(status, f"{site.url}/{SECRET}")
    refused = await failure(way_out(THERE), f"{other.url}/{SECRET}", DeniedError, method="POST", body=b"{}")
    assert HERE in refused.message
    assert (len(other.visits), site.visits) == (1, [])


@pytest.mark.parametrize(
    "location",
    ["//0x7f.1/", "http://[::ffff:127.0.0.1]/", "gopher://127.0.0.1/", "http://a@127.0.0.1/", "http:\\\\127.0.0.1"],
)
async def test_a_redirect_is_read_as_strictly_as_an_address(other: Site, location: str):
    """S24"""
    other.redirects(302, location)
    await failure(way_out(THERE), other.url, DeniedError)
    assert len(other.visits) == 1


async def test_a_redirect_of_a_name_is_looked_up_anew(site: Site, other: Site):
    """S24: the name was good for the first request, and its next answer is not."""
    other.redirects(302, f"http://hooks.example:{site.port}/")
    lookup = known(hooks_example=[THERE, HERE])
    refused = await failure(way_out(THERE, lookup=lookup), f"http://hooks.example:{other.port}/", DeniedError)
    assert f"hooks.example:{site.port} ({HERE})" in refused.message
    assert site.visits == []


async def test_five_redirects_are_followed_and_no_more(site: Site):
    async def answer(request: web.Request) -> web.Response:
        number = int(request.path[1:])
        return web.Response(status=302, headers={"Location": f"/{number - 1}"}) if number else web.Response(text="end")

    site.answer = answer
    assert await fetch(way_out(HERE), f"{site.url}/5") == (200, b"end")
    assert "more than 5 redirects" in (await failure(way_out(HERE), f"{site.url}/6", UnavailableError)).message
    assert await fetch(way_out(HERE), f"{site.url}/2", redirects=0) == (302, b"")


LOGIN = {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET, "Cookie": SECRET, "Accept": "text/plain"}


async def test_to_another_origin_go_no_logins(site: Site, other: Site):
    other.redirects(307, f"{site.url}/next")
    await fetch(way_out("127.0.0.0/8"), other.url, "POST", headers=LOGIN, body=b"{}")
    assert (site.visits[0].method, site.visits[0].body) == ("POST", b"{}")
    assert site.visits[0].headers["accept"] == "text/plain"
    assert SECRET in other.visits[0].headers.values()
    assert SECRET not in str(site.visits[0].headers)


async def test_on_the_same_origin_they_stay_and_a_303_becomes_a_get(site: Site):
    async def answer(request: web.Request) -> web.Response:
        return (
            web.Response(text="end")
            if request.path == "/end"
            else web.Response(status=303, headers={"Location": "end"})
        )

    site.answer = answer
    await fetch(way_out(HERE), f"{site.url}/start", "POST", headers={**LOGIN, "Content-Type": "a/b"}, body=b"{}")
    last = site.visits[-1]
    assert (last.method, last.path, last.body, last.headers["x-api-key"]) == ("GET", "/end", b"", SECRET)
    assert "content-type" not in last.headers


async def test_no_cookie_is_kept(site: Site):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(headers={"Set-Cookie": "a=b"})

    site.answer = answer
    outbound = way_out(HERE)
    for _ in range(2):
        await fetch(outbound, site.url)
    assert ["cookie" in visit.headers for visit in site.visits] == [False, False]


async def test_what_the_netrc_has_for_a_host_is_not_sent(site: Site, tmp_path: Path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login me password {SECRET}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    await fetch(way_out(HERE), site.url)
    assert "authorization" not in site.visits[0].headers


async def test_of_a_body_only_so_much_is_read(site: Site):
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    site.answer = endless
    with pytest.raises(LimitExceededError, match="more than 100000 bytes"):
        await fetch(way_out(HERE), site.url, max_bytes=100_000)


async def test_a_body_that_unpacks_to_more_is_not_unpacked(site: Site):
    bomb = gzip.compress(b"0" * 50_000_000)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    site.answer = answer
    assert "compressed" in (await failure(way_out(HERE), site.url, UnavailableError)).message
    assert site.visits[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("headers", [{"X": "y" * 20_000}, {f"X-{number}": "y" for number in range(300)}])
async def test_headers_without_end_are_not_read(site: Site, headers: dict[str, str]):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(headers=headers)

    site.answer = answer
    await failure(way_out(HERE), site.url, UnavailableError)


async def test_a_server_that_drips_is_left_when_the_time_is_over(site: Site):
    gone = asyncio.Event()

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    site.answer = drip
    failed = await failure(way_out(HERE), f"{site.url}/{SECRET}", UnavailableError, timeout_seconds=0.2)
    assert f"{HERE}:{site.port} cannot be reached: no answer within 0.2 s" in failed.message
    async with asyncio.timeout(20):
        await gone.wait()


async def test_a_look_up_that_hangs_is_left_too():
    async def hang(host: str) -> list:
        await asyncio.Event().wait()
        return []

    outbound = Outbound(guard=way_out().guard, lookup=hang)
    await failure(outbound, "http://slow.example/", UnavailableError, timeout_seconds=0.05)


async def test_the_callers_own_timeout_is_no_failure_of_the_server(site: Site):
    with pytest.raises(TimeoutError):
        async with way_out(HERE).call(Request(method="GET", url=site.url)):
            raise TimeoutError


@pytest.mark.parametrize(
    "headers",
    [{"Host": "other"}, {"content-length": "1"}, {"Transfer-Encoding": "chunked"}, {"A": "b\r\nC: d"}, {"A\n": "b"}],
)
async def test_headers_that_would_change_the_message_are_refused(site: Site, headers: dict[str, str]):
    await failure(way_out(HERE), site.url, InvalidError, headers=headers)
    assert site.visits == []


async def test_a_name_without_an_address_may_have_one_later():
    failed = await failure(way_out(), "http://nobody.example/", UnavailableError)
    assert failed.code == "outbound_unresolved"
    async with open_outbound() as outbound:
        failed = await failure(outbound, "http://nobody.invalid/", UnavailableError)
        assert failed.code == "outbound_unresolved"
