"""The Python SDK as a package: installed into an environment of its own, without a network."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

from tests.sdk.languages import SDK

PRINTS = "import cronium; print(cronium.__file__, cronium.__version__, cronium.input())"


@pytest.fixture(scope="module")
def backend() -> str:
    """Where the build backend lies; a user's pip fetches it by itself."""
    found = importlib.util.find_spec("hatchling")
    if found is None or found.origin is None:
        pytest.skip("hatchling is not installed; run: make install")
    return str(Path(found.origin).parents[1])


async def test_pip_installs_it_without_a_network(backend, run, tmp_path):
    place = tmp_path / "environment"
    made = await run(sys.executable, "-m", "venv", str(place))
    assert made.exit_code == 0, made.stderr
    python = str(place / "bin" / "python")
    quiet = ("--no-index", "--no-build-isolation", "--disable-pip-version-check", "--no-cache-dir", "--quiet")
    installed = await run(
        python, "-m", "pip", "install", *quiet, str(SDK / "python"), env={"PYTHONPATH": backend, "HOME": str(tmp_path)}
    )
    assert installed.exit_code == 0, installed.stderr
    finished = await run(python, "-W", "error", "-c", PRINTS)
    assert finished.stderr == ""
    file, version, given = finished.stdout.split()
    assert Path(file).is_relative_to(place)
    assert (version, given) == ("0.1.0", "None")


async def test_the_wheel_holds_one_module_and_needs_nothing(backend, run, tmp_path):
    build = f"""
import os
os.chdir({str(SDK / "python")!r})
from hatchling.build import build_wheel
print(build_wheel({str(tmp_path)!r}))
"""
    finished = await run(sys.executable, "-c", build, env={"PYTHONPATH": backend})
    assert finished.exit_code == 0, finished.stderr
    with zipfile.ZipFile(tmp_path / finished.stdout.strip()) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        described = next(name for name in wheel.namelist() if name.endswith("METADATA"))
        metadata = wheel.read(described).decode()
    assert names == {"cronium.py"}
    assert "Requires-Dist" not in metadata
    assert "Requires-Python: >=3.8" in metadata
