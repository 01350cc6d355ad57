"""What `docs/isolation.md` says: its commands are run as they stand, its job file is read, its defaults are true."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from orchestrator.executors.docker.container import OPEN_FILES
from orchestrator.jobs.quantities import parse_size
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.model.specs import JobSpec, Limits, Script, Volume, Workspace
from orchestrator.workflows.document import load_document
from tests.cli.conftest import Cli
from tests.cli.test_events_page import run
from tests.conftest import ROOT
from tests.e2e.serving import Serving

PAGE = (ROOT / "docs" / "isolation.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def ended(lonely: Cli) -> Iterator[Cli]:
    """A machine on which a server ran."""
    data_dir = lonely.home / ".local" / "share" / "cronium"
    data_dir.mkdir(parents=True, mode=0o700)
    server = Serving(data_dir, env=lonely.env)
    try:
        server.start()
        assert server.stop() == 0
        yield lonely
    finally:
        server.close()


@pytest.mark.docker
async def test_the_commands_of_the_page_do_what_it_says(ended: Cli):
    look, clean = COMMANDS
    assert re.search(r"^no +bridge +.*169\.254\.169\.254", await run(look, ended), re.MULTILINE)
    assert (await run(clean, ended)).count("nothing is left over") == 2


def test_the_job_file_of_the_page_is_read_as_it_stands():
    (snippet,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    spec = parse_job_spec(load_document(snippet, source="page").data)
    assert spec.limits == Limits(memory_bytes=parse_size("2G"), cpus=2, pids=100)
    assert (spec.network, spec.workspace) == ("bridge", Workspace.VOLUME)
    assert spec.volumes == (Volume(source="/srv/data", target="/data"),)


def test_the_defaults_of_the_page_are_those_there_are():
    told = dict(re.findall(r"^\| ([\w ]+) \| `?([\w.]+)", PAGE, re.MULTILINE))
    usual = Limits()
    assert parse_size(told["memory"]) == usual.memory_bytes
    assert (float(told["processors"]), int(told["processes"])) == (usual.cpus, usual.pids)
    assert int(told["open files"]) == OPEN_FILES
    spec = parse_job_spec({"bash": "true"})
    assert isinstance(spec, JobSpec)
    assert isinstance(spec.script, Script)
    assert (spec.network, told["network"], spec.volumes, spec.workspace) == ("none", "none", (), Workspace.TMPFS)
