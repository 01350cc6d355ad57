"""What `docs/warm.md` says: its commands are run as they stand on a server started as it says, its job file is read."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from orchestrator.executors.docker.warm_demand import WINDOW_SECONDS
from orchestrator.executors.docker.warm_text import MAX_BYTES
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.workflows.document import load_document
from tests.cli.conftest import Cli
from tests.cli.test_events_page import run
from tests.conftest import ROOT
from tests.e2e.serving import Serving, eventually

PAGE = (ROOT / "docs" / "warm.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
ADDRESS = "http://127.0.0.1:8080"


@pytest.fixture
def server(lonely: Cli) -> Iterator[Serving]:
    """A server as the page starts it, where the commands find it by themselves."""
    data_dir = lonely.home / ".local" / "share" / "cronium"
    data_dir.mkdir(parents=True, mode=0o700)
    (lonely.home / "hello.sh").write_text("echo hello\n")
    setting, _, command = COMMANDS[0].strip().partition(" ")
    assert command == "cronium serve"
    name, _, value = setting.partition("=")
    server = Serving(data_dir, env={**lonely.env, name: value, "CRONIUM_IMAGES__BASH": "cronium-job-bash:local"})
    try:
        server.start()
        yield server
        assert server.stop() == 0, server.log()
    finally:
        server.close()


@pytest.mark.docker
async def test_the_commands_of_the_page_do_what_it_says(lonely: Cli, server: Serving):
    """The second job of a kind finds a container waiting, and says so."""
    first, second = COMMANDS[1].splitlines()
    assert "hello" in await run(first, lonely)
    eventually(lambda: server.metrics()["cronium_warm_containers"] == 1, "a container to wait")
    assert "hello" in await run(second, lonely)
    look, scrape = COMMANDS[2].splitlines()
    assert "in a container that waited for a job" in " ".join((await run(look, lonely)).split())
    counted = await run(scrape.replace(ADDRESS, server.url), lonely)
    assert 'cronium_warm_starts_total{result="hit"} 1.0' in counted
    assert 'cronium_warm_starts_total{result="miss"} 1.0' in counted
    job = server.call("GET", "/api/v3/jobs?limit=1")[1]["items"][0]
    entries = server.call("GET", f"/api/v3/jobs/{job['id']}/journal")[1]["entries"]
    (started,) = [entry for entry in entries if entry["kind"] == "started"]
    assert started["data"]["warm"] is True


def test_the_job_file_of_the_page_is_read_as_it_stands():
    (snippet,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert parse_job_spec(load_document(snippet, source="page").data).warm is False


def test_the_limits_of_the_page_are_those_there_are():
    assert WINDOW_SECONDS == 600
    assert "in the last ten minutes" in PAGE
    assert f"more than {MAX_BYTES // 1024} KiB of arguments" in PAGE
