"""TLS is checked against the name in the URL, whatever address the connection goes to."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from orchestrator.errors import DeniedError, UnavailableError
from orchestrator.tools.outbound import Request
from tests.tools.site import FakeLookup, open_site, way_out

NAME = "hooks.example"
HERE = [ip_address("127.0.0.1")]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `NAME` with its key, that is its own authority."""
    program = shutil.which("openssl")
    assert program is not None, "openssl is needed to make a certificate"
    place = tmp_path_factory.mktemp("tls") / "site.pem"
    subprocess.run(
        [
            *(program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", place, "-out", f"{place}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    place.write_text(place.read_text() + Path(f"{place}.crt").read_text())
    return place


@pytest.fixture
async def site(certificate: Path):
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate)
    async with open_site(tls=serving) as site:
        yield site


async def get(name: str, port: int, trusted: Path | None) -> int:
    lookup = FakeLookup({name: [HERE]})
    tls = None if trusted is None else ssl.create_default_context(cafile=str(trusted))
    async with way_out("127.0.0.1", lookup=lookup, tls=tls).call(
        Request(method="GET", url=f"https://{name}:{port}/")
    ) as answer:
        return answer.status


async def test_the_certificate_must_be_for_the_name_in_the_url(site, certificate: Path):
    assert await get(NAME, site.port, certificate) == 200
    with pytest.raises(UnavailableError, match="Certificate"):
        await get("other.example", site.port, certificate)
    assert len(site.visits) == 1


async def test_a_certificate_of_an_unknown_authority_is_refused(site):
    with pytest.raises(UnavailableError, match="Certificate"):
        await get(NAME, site.port, None)
    assert site.visits == []


async def test_no_redirect_leads_from_https_to_http_unless_it_may(site, certificate: Path):
    tls = ssl.create_default_context(cafile=str(certificate))
    outbound = way_out("127.0.0.1", lookup=FakeLookup({NAME: [HERE]}), tls=tls)
    async with open_site() as plain:
        site.redirects(302, plain.url)
        url = f"https://{NAME}:{site.port}/"
        with pytest.raises(DeniedError, match="from https to http"):
            async with outbound.call(Request(method="GET", url=url)):
                pass
        assert plain.visits == []
        async with outbound.call(Request(method="GET", url=url, downgrade=True)) as answer:
            assert await answer.read() == b"hello"
