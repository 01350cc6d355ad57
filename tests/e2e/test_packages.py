"""Packages as users have them: a job file on a real server, one that is killed on the way, scripts that say it themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGES
from tests.e2e.serving import Serving
from tests.executors.docker.engine_for_tests import docker
from tests.executors.docker.package_index import Index, open_index

pytestmark = pytest.mark.docker

NEEDY = "# /// script\n# dependencies = ['beta']\n# ///\nimport beta\nbeta.main()\n"
UNFIT = "# /// script\n# requires-python = '>=3.99'\n# ///\nprint(1)\n"


@pytest.fixture
async def index() -> AsyncIterator[Index]:
    async with open_index() as found:
        found.add_wheel("alpha", "1.0", says="alpha")
        found.add_wheel("beta", "2.5", says="beta")
        yield found


@pytest.fixture
async def server(tmp_path: Path, index: Index) -> AsyncIterator[Serving]:
    config = index.pip_config(tmp_path / "pip.conf")
    serving = Serving(tmp_path / "data", env={**IMAGES, "CRONIUM_PACKAGE_PIP_CONFIG": str(config)})
    try:
        await asyncio.to_thread(serving.start)
        yield serving
        assert await asyncio.to_thread(serving.stop) == 0, serving.log()
    finally:
        serving.close()


async def end_of(server: Serving, job: str) -> dict[str, object]:
    return await asyncio.to_thread(server.wait, job)


async def lines_of(server: Serving, job: str, stream: str) -> list[str]:
    lines = await asyncio.to_thread(server.lines, job)
    return [line["text"] for line in lines if line["stream"] == stream]


async def test_a_server_that_is_killed_while_it_installs_goes_on_with_the_job(server: Serving, index: Index):
    index.open.clear()
    job = await asyncio.to_thread(
        server.submit, python="import beta; beta.main()", executor="docker", packages=["beta"]
    )
    await asyncio.wait_for(index.reached.wait(), 60)
    await asyncio.to_thread(server.kill)
    index.open.set()
    await asyncio.to_thread(server.start)
    assert (await end_of(server, job))["status"] == "succeeded"
    assert await lines_of(server, job, "stdout") == ["beta"]
    assert [path.name for path in (server.data_dir / "packages" / "staging").iterdir()] == []
    assert "cronium-packages-" not in docker("ps", "-a", "--format", "{{.Names}}")


async def test_a_job_that_is_cancelled_while_its_packages_are_installed_ends_at_once(server: Serving, index: Index):
    index.open.clear()
    job = await asyncio.to_thread(server.submit, python="1", executor="docker", packages=["beta"])
    await asyncio.wait_for(index.reached.wait(), 60)
    await asyncio.to_thread(server.call, "POST", f"/api/v3/jobs/{job}/cancel")
    assert (await end_of(server, job))["status"] == "cancelled"
    assert [path.name for path in (server.data_dir / "packages" / "staging").iterdir()] == []


async def test_a_script_that_says_itself_what_it_needs_gets_it(server: Serving):
    job = await asyncio.to_thread(server.submit, python=NEEDY, executor="docker")
    assert (await end_of(server, job))["status"] == "succeeded"
    assert await lines_of(server, job, "stdout") == ["beta"]


async def test_the_key_wins_over_the_comment_and_says_so(server: Serving):
    script = f"{NEEDY.partition('import')[0]}import alpha\nalpha.main()\n"
    job = await asyncio.to_thread(server.submit, python=script, executor="docker", packages=["alpha"])
    assert (await end_of(server, job))["status"] == "succeeded"
    assert await lines_of(server, job, "stdout") == ["alpha"]
    assert (await lines_of(server, job, "system"))[0].startswith("The job's `packages` hold")


async def test_a_python_that_the_script_does_not_want_fails_the_job(server: Serving):
    job = await asyncio.to_thread(server.submit, python=UNFIT, executor="docker")
    end = await end_of(server, job)
    assert (end["status"], end["reason"]) == ("failed", "invalid")
    assert "asks for Python >=3.99 (requires-python)" in str(end["message"])


async def test_without_a_container_the_comment_is_a_comment(server: Serving, index: Index):
    job = await asyncio.to_thread(server.submit, python=UNFIT, executor="process")
    assert (await end_of(server, job))["status"] == "succeeded"
    assert (await lines_of(server, job, "system"), index.asked) == ([], [])
