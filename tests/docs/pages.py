"""The pages of `docs/container-migration/`: their commands by heading, and a shell that runs them as somebody who reads along."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT

PAGES = ROOT / "docs" / "container-migration"
# What is built from, and what the pages name: a clone, as far as it matters.
CLONED = (
    "Dockerfile",
    ".dockerignore",
    "supervisord.conf",
    "docker",
    "docker-compose.yml",
    "docker-compose.stack.yml",
    "docker-compose.dev.yml",
    "docs/container-migration/cronium.service",
    "orchestrator",
    "runtime_api",
    "sdk",
    "pyproject.toml",
    "requirements.lock",
    "README.md",
    "LICENSE",
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 180


def text_of(page: str) -> str:
    return (PAGES / page).read_text()


def blocks(page: str, language: str = "sh") -> dict[str, list[str]]:
    """The blocks of a page by the heading that they are under; before the first one, under ''."""
    parts = re.split(r"^## (.*)\n", text_of(page), flags=re.MULTILINE)
    sections = {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}
    return {
        heading: [block for found, block in FENCE.findall(text) if found == language]
        for heading, text in sections.items()
    }


def clone(directory: Path) -> Path:
    """The files of the repository in a directory of a test's own, where commands may write."""
    for name in CLONED:
        source, target = ROOT / name, directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy2(source, target)
    return directory


@dataclass
class Shell:
    """A shell in `directory` that keeps its exported variables from one block to the next."""

    directory: Path
    env: Mapping[str, str]
    replace: Mapping[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def run(self, block: str) -> str:
        """Run a block of a page, with `replace` in it, and return what it said; any command in it that fails fails."""
        for old, new in self.replace.items():
            block = block.replace(old, new)
        kept = self.directory / ".exported"
        before = f". {kept}\n" if kept.exists() else ""
        script = f"{before}trap 'export -p > {kept}' EXIT\n{block}"
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.directory,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
        self.said.append(done.stdout)
        assert done.returncode == 0, f"{block}\n{done.stdout[-4000:]}"
        return done.stdout
