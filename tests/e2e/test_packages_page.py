"""What `docs/packages.md` says: its commands are run as they stand, its settings are settings."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from orchestrator.config.keys import SETTINGS
from orchestrator.jobs.inline_packages import read_inline
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.model.jobs import Reason
from tests.conftest import CRONIUM, ROOT
from tests.e2e.conftest import IMAGES
from tests.e2e.serving import Serving
from tests.executors.docker.package_index import Index, open_index

PAGE = (ROOT / "docs" / "packages.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
FILES = dict(re.findall(r"```(?:yaml|python)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
async def index() -> AsyncIterator[Index]:
    async with open_index() as found:
        found.add_wheel("requests", "2.32.3", module="__version__ = '2.32.3'\n")
        yield found


async def run(script: str, home: Path) -> str:
    """Run commands as they stand; what they say, on stderr too."""
    env = {"HOME": str(home), "PATH": f"{CRONIUM.parent}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", script, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(100):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


@pytest.mark.docker
async def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path, index: Index):
    for name in ("report.yaml", "fetch.py"):
        (tmp_path / name).write_text(FILES[name])
    data_dir = tmp_path / ".local" / "share" / "cronium"
    data_dir.mkdir(parents=True, mode=0o700)
    config = index.pip_config(tmp_path / "pip.conf")
    server = Serving(data_dir, env={**IMAGES, "CRONIUM_PACKAGE_PIP_CONFIG": str(config)})
    try:
        await asyncio.to_thread(server.start)
        [commands] = COMMANDS
        said = await run(commands, tmp_path)
        assert await asyncio.to_thread(server.stop) == 0, server.log()
    finally:
        server.close()
    assert "Installing requests>=2.31,<3 in the image" in said
    assert " with the package requests 2.32.3; setting it up took " in said
    assert said.count("\n2.32.3\n") == 2
    assert "Installing requests<3 in the image" in said


def test_the_files_of_the_page_are_files_of_their_kind():
    assert parse_job_spec(yaml.safe_load(FILES["report.yaml"])).packages == ("requests>=2.31,<3",)
    assert read_inline(FILES["fetch.py"]).packages == ("requests<3",)
    assert set(yaml.safe_load(FILES["cronium.yaml"])) <= set(SETTINGS)


def test_every_setting_and_reason_that_the_page_names_is_one():
    assert set(re.findall(r"\bpackage_[a-z_]+", PAGE)) == {key for key in SETTINGS if key.startswith("package_")}
    reasons = set(re.findall(r"^\| `(\w+)` \| (?!as for)", PAGE, re.MULTILINE))
    assert reasons == {"invalid", "host_unreachable", "limit", "image_unavailable"}
    assert reasons <= set(Reason)
