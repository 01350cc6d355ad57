"""The file with what logs in at registries: where it is looked for."""

from __future__ import annotations

import pytest

from tests.config.conftest import Place


def test_without_the_setting_there_is_no_such_file(place: Place):
    assert place.load().registry_auth_file is None


@pytest.mark.parametrize("path", ["secrets/config.json", "/etc/cronium/config.json"])
def test_in_a_file_it_is_relative_to_that_file(place: Place, path: str):
    place.write_project(f"registry_auth_file: {path}\n")
    assert place.load().registry_auth_file == place.project / path


def test_in_the_environment_it_is_relative_to_the_current_directory_or_to_home(place: Place):
    place.env["CRONIUM_REGISTRY_AUTH_FILE"] = "config.json"
    assert place.load().registry_auth_file == place.project / "config.json"
    place.env["CRONIUM_REGISTRY_AUTH_FILE"] = "~/.docker/config.json"
    assert place.load().registry_auth_file == place.home / ".docker" / "config.json"


def test_a_value_that_is_no_path_is_refused(place: Place):
    place.write_project("registry_auth_file: ''\n")
    assert "must be a path" in place.faults()["registry_auth_file"]
