"""One script in each language, for what is to be tested in all of them in the same words."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.sdk.conftest import Finished, Runner

SDK = Path(__file__).parents[2] / "sdk"
LANGUAGES = ("python", "async-python", "node", "bash")
FILES = {"python": "script.py", "async-python": "script.py", "node": "script.cjs", "bash": "script.sh"}
FOUND_BY = {
    "PYTHONPATH": str(SDK / "python"),
    "NODE_PATH": str(SDK / "js" / "lib"),
    "BASH_ENV": str(SDK / "bash" / "env.sh"),
}
ASYNC = """
import asyncio, cronium
async def main(client):
    {body}
asyncio.run(main(cronium.AsyncCronium()))
"""
ASYNC_NODE = """
const cronium = require("cronium");
(async () => {{
    {body}
}})();
"""


def whole(language: str, lines: list[str]) -> str:
    """The lines as a script that knows the SDK: as `cronium`, in asynchronous Python as `client`."""
    if language == "python":
        return "\n".join(["import cronium", *lines])
    if language == "bash":
        return "\n".join(lines)
    frame = ASYNC if language == "async-python" else ASYNC_NODE
    return frame.format(body="\n    ".join(lines))


async def run_in(run: Runner, language: str, lines: list[str], env: Mapping[str, str]) -> Finished:
    """Run a script to its end as a job would."""
    programs = {"python": sys.executable, "async-python": sys.executable, "node": "node", "bash": "bash"}
    program = shutil.which(programs[language])
    if program is None:
        pytest.skip(f"no {programs[language]} on PATH")
    (run.directory / FILES[language]).write_text(whole(language, lines))
    return await run(program, FILES[language], env={**FOUND_BY, **env})
