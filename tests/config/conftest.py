"""A home, a project beside it, and nothing else that could hold settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.config import ServerSettings, load_settings
from orchestrator.errors import InvalidError


@dataclass(slots=True)
class Place:
    """Where settings are looked for: `home`, and `project` as the current directory."""

    home: Path
    project: Path
    env: dict[str, str] = field(default_factory=dict)

    def load(self, flags: dict[str, object] | None = None, config: Path | None = None) -> ServerSettings:
        return load_settings(flags or {}, env={"HOME": str(self.home), **self.env}, cwd=self.project, config=config)

    def write_project(self, text: str) -> Path:
        return _write(self.project / "cronium.yaml", text)

    def write_user(self, text: str) -> Path:
        return _write(self.home / ".config" / "cronium" / "config.yaml", text)

    def faults(self, flags: dict[str, object] | None = None, config: Path | None = None) -> dict[str, str]:
        """What is wrong, by key."""
        with pytest.raises(InvalidError) as refused:
            self.load(flags, config)
        assert refused.value.__cause__ is refused.value.__context__ is None, "a chained error would be printed, too"
        return {fault.path: fault.message for fault in refused.value.faults}


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    (tmp_path / ".git").mkdir()  # nothing above is looked at
    return Place(home, project)


@pytest.fixture
def refusal(place: Place) -> Callable[[str], dict[str, str]]:
    """What is wrong with a project file of this text."""

    def refuse(text: str) -> dict[str, str]:
        place.write_project(text)
        return place.faults()

    return refuse
