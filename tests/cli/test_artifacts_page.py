"""What `docs/artifacts.md` says: its commands are run as they stand, its files are read, its tables are true."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest

from orchestrator.api.routes import all_routes
from orchestrator.config import ServerSettings
from orchestrator.jobs.artifact_watch import ArtifactWatch
from orchestrator.model.artifacts import MAX_DEPTH, MAX_NAME_BYTES
from orchestrator.workflows.definition import parse_workflow
from orchestrator.workflows.document import load_document
from tests.cli.conftest import Cli
from tests.cli.test_events_page import run
from tests.conftest import ROOT
from tests.e2e.serving import Serving

PAGE = (ROOT / "docs" / "artifacts.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
[SCRIPT] = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
[WORKFLOW] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def cronium(lonely: Cli) -> Iterator[Cli]:
    """A server where the commands find it by themselves, and the files that the page speaks of."""
    data_dir = lonely.home / ".local" / "share" / "cronium"
    data_dir.mkdir(parents=True, mode=0o700)
    shutil.copytree(ROOT / "examples", lonely.home / "examples")
    (lonely.home / "report.sh").write_text(SCRIPT)
    server = Serving(data_dir, env=lonely.env)
    try:
        server.start()
        yield lonely
        assert server.stop() == 0, server.log()
    finally:
        server.close()


async def test_the_commands_of_the_page_do_what_it_says(cronium: Cli):
    """Every command of the page, in its order."""
    here, there, example = COMMANDS
    assert "out/plots/orders.png\nout/report.csv" in await run(here, cronium)
    said = await run(there, cronium)
    assert re.search(r"^plots/orders.png +7 B +image/png +1 ", said, re.MULTILINE)
    assert "day,orders\nreports/plots/orders.png\nreports/report.csv\n" in said
    assert (cronium.home / "report.csv").read_text() == "day,orders\n"
    assert (cronium.home / "reports" / "plots" / "orders.png").read_text() == "pixels\n"
    assert '"total": 42' in await run(example, cronium)


async def test_the_workflow_of_the_page_runs(lonely: Cli):
    parse_workflow(load_document(WORKFLOW, source="page.yaml"))
    (lonely.home / "page.yaml").write_text(WORKFLOW)
    answer = await lonely("run", "page.yaml", "--artifacts", "out")
    assert answer.code == 0, answer.err
    assert (lonely.home / "out" / "extract" / "report.csv").exists()


def test_the_figures_of_the_page_are_those_of_the_code():
    settings = ServerSettings()
    assert f"`artifact_max_bytes` | {settings.artifact_max_bytes // 1024 // 1024} MiB" in PAGE
    assert f"`artifact_max_files` | {settings.artifact_max_files} " in PAGE
    assert f"`artifact_retention_days` | {settings.artifact_retention_days} " in PAGE
    assert f"longer than {MAX_NAME_BYTES} bytes or lie deeper than {MAX_DEPTH} levels" in PAGE
    assert ArtifactWatch.__dataclass_fields__["every"].default.total_seconds() == 2
    assert "every two seconds" in PAGE


def test_the_routes_of_the_page_are_served():
    told = [path.partition("?")[0] for path in re.findall(r"`GET (/[^`]+)`", PAGE)]
    there = {
        route.path.removeprefix("/api/v3").replace("{name:.*}", "NAME") for route in all_routes(metrics_public=False)
    }
    assert told == ["/jobs/{id}/artifacts", "/jobs/{id}/artifacts/NAME"]
    assert set(told) <= there
