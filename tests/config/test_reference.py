"""What is published about the settings is what they are."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config import ServerSettings
from orchestrator.config.keys import NO_SETTINGS, SETTINGS, VARIABLES
from orchestrator.config.listing import settings_table

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_of_settings_is_current():
    assert settings_table() in PAGE.read_text(), "put the output of `cronium config reference` into docs/settings.md"


def test_every_setting_says_what_it_does():
    assert [key for key, setting in SETTINGS.items() if not setting.description.endswith(".")] == []


def test_the_schema_lists_exactly_two_modes():
    """M1"""
    schema = ServerSettings.model_json_schema()
    assert schema["properties"]["mode"]["enum"] == ["standalone", "distributed"]
    assert schema["additionalProperties"] is False


def test_no_setting_has_the_name_of_something_else():
    names = [*VARIABLES, *(f"{name}_FILE" for name in VARIABLES)]
    assert [name for name in names if NO_SETTINGS.fullmatch(name)] == []
    assert len(set(names)) == len(names)
    assert VARIABLES["DATABASE_URL"] == VARIABLES["CRONIUM_DATABASE_URL"] == "database_url"
    assert VARIABLES["CRONIUM_IMAGES__PYTHON"] == "images.python"
