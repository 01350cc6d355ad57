"""Flag, environment, project file, user file, default: who wins, and how one finds out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.config import load_settings
from orchestrator.config.files import read_project_file
from orchestrator.config.listing import effective
from orchestrator.errors import InvalidError
from tests.config.conftest import Place

# One setting of each kind: key, then its value from flag, environment, project file, user file, and its default.
LEVELS = [
    ("port", (1, "2", "3", "4", 8080), [1, 2, 3, 4, 8080]),
    ("log_level", ("error", "warning", "debug", "error", "info"), ["error", "warning", "debug", "error", "info"]),
    ("metrics_public", (True, "false", "true", "true", False), [True, False, True, True, False]),
    ("grace_seconds", (1.5, "2.5", "3", "4", 10), [1.5, 2.5, 3, 4, 10]),
    ("images.node", ("a", "b", "c", "d", "node:22-slim"), ["a", "b", "c", "d", "node:22-slim"]),
    (
        "database_url",
        ("sqlite:///a", "sqlite:///b", "sqlite:///c", "sqlite:///d", None),
        ["sqlite:///a", "sqlite:///b", "sqlite:///c", "sqlite:///d", "sqlite://{home}/.local/share/cronium/cronium.db"],
    ),
]


@pytest.mark.parametrize(("key", "given", "expected"), LEVELS, ids=[level[0] for level in LEVELS])
def test_the_strongest_level_wins_and_says_that_it_did(place: Place, key, given, expected):
    """M8: one key at all five levels, which are taken away one by one."""
    outer, _, inner = key.rpartition(".")
    variable = f"CRONIUM_{key.upper().replace('.', '__')}"
    line = "# settings\n" + (f"{outer}:\n  {inner}: {{}}\n" if outer else f"{inner}: {{}}\n")
    project = place.write_project(line.format(given[2]))
    user = place.write_user(line.format(given[3]))
    place.env[variable] = given[1]
    flags: dict[str, object] = {key: given[0]}
    at = 3 if outer else 2
    follows = "mode standalone" if key == "database_url" else "default"
    origins = [f"flag --{key.replace('_', '-')}", f"environment {variable}", f"{project}:{at}", f"{user}:{at}", follows]
    take_away = [flags.clear, place.env.clear, project.unlink, user.unlink, lambda: None]

    for value, origin, drop in zip(expected, origins, take_away, strict=True):
        found = {row.key: (row.value, row.origin) for row in effective(place.load(flags))}[key]
        wanted = value.format(home=place.home) if isinstance(value, str) else value
        assert found == (wanted, origin)
        drop()


def test_without_anything_every_value_says_that_it_is_a_default_or_what_it_follows_from(place: Place):
    origins = {row.key: row.origin for row in effective(place.load())}

    follows = {key: origin for key, origin in origins.items() if origin != "default"}

    assert follows == {
        "database_url": "mode standalone",
        "store_driver": "mode standalone",
        "cache_driver": "mode standalone",
        "default_executor": "host 127.0.0.1",
    }


def test_a_driver_other_than_that_of_the_mode_comes_from_its_url(place: Place):
    """An override of one component is seen as one."""
    place.env["DATABASE_URL"] = "postgresql://db/x"
    settings = place.load()

    assert (settings.store_driver, settings.cache_driver) == ("postgres", "memory")
    assert settings.origin("store_driver") == "environment DATABASE_URL"
    assert settings.origin("cache_driver") == "mode standalone"

    place.env.update(CRONIUM_MODE="distributed", VALKEY_URL="valkey://cache", DATABASE_URL="sqlite:///srv/one.db")
    settings = place.load()
    assert (settings.store_driver, settings.cache_driver) == ("sqlite", "valkey")
    assert settings.origin("store_driver") == "environment DATABASE_URL"
    assert settings.origin("cache_driver") == "mode distributed"


def test_the_name_of_our_own_wins_over_the_well_known_one(place: Place):
    place.env.update(DATABASE_URL="sqlite:///theirs", CRONIUM_DATABASE_URL="sqlite:///ours")
    assert str(place.load().database) == "sqlite:///ours"
    assert place.load().origin("database_url") == "environment CRONIUM_DATABASE_URL"


def test_an_empty_variable_is_not_set(place: Place):
    place.env.update(CRONIUM_PORT="", DATABASE_URL="", CRONIUM_DATA_DIR="", CRONIUM_PORT_FILE="")
    settings = place.load()

    assert (settings.port, settings.store_driver) == (8080, "sqlite")
    assert settings.data_dir == place.home / ".local/share/cronium"


def test_the_nearest_project_file_counts_alone(place: Place):
    above = place.write_project("port: 1\nhost: '::1'\n")
    place.project = place.project / "a" / "b"
    place.project.mkdir(parents=True)
    assert place.load().origin("port") == f"{above}:1"

    place.write_project("port: 2\n")
    settings = place.load()
    assert (settings.port, settings.host) == (2, "127.0.0.1")


@pytest.mark.parametrize("border", [".git", "home"])
def test_a_file_beyond_the_repository_or_the_home_is_not_ours(place: Place, border):
    place.write_project("port: 1\n")
    place.project = place.project / "inner"
    place.project.mkdir()
    if border == ".git":
        (place.project / ".git").write_text("gitdir: elsewhere\n")  # a worktree has a file there
    else:
        place.home = place.project
    place.project = place.project / "deep"
    place.project.mkdir()

    assert place.load().port == 8080
    (place.project.parent / "cronium.yaml").write_text("port: 3\n")
    assert place.load().port == 3, "the border itself is looked at"


def test_the_user_file_may_lie_elsewhere(place: Place, tmp_path: Path):
    place.write_user("port: 1\n")
    place.env["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert place.load().port == 8080

    (tmp_path / "xdg" / "cronium").mkdir(parents=True)
    (tmp_path / "xdg" / "cronium" / "config.yaml").write_text("port: 2\n")
    assert place.load().port == 2


def test_a_file_that_is_named_takes_the_place_of_the_projects(place: Place):
    place.write_project("port: 1\nhost: '::1'\n")
    place.write_user("log_level: debug\n")
    (place.project / "other.yaml").write_text("port: 2\n")

    settings = place.load(config=Path("other.yaml"))

    assert (settings.port, settings.host, settings.log_level) == (2, "127.0.0.1", "debug")
    assert settings.origin("port") == f"{place.project / 'other.yaml'}:1"


def test_a_file_that_is_named_must_be_there(place: Place):
    missing = place.project / "none.yaml"
    assert place.faults(config=missing) == {str(missing): "cannot be read: No such file or directory"}
    assert place.faults(config=place.project) == {str(place.project): "cannot be read: Is a directory"}


def test_a_relative_directory_is_relative_to_where_it_is_written(place: Place):
    place.write_project("data_dir: ./data\n")
    above = place.project
    place.project = place.project / "deep"
    place.project.mkdir()
    assert place.load().data_dir == above / "data"

    place.env["CRONIUM_DATA_DIR"] = "mine"
    assert place.load().data_dir == place.project / "mine"
    assert place.load({"data_dir": Path("/abs")}).data_dir == Path("/abs")
    assert place.load({"data_dir": "~/x"}).data_dir == place.home / "x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_that_somebody_laid_into_a_directory_of_ours_is_refused_unless_it_is_named(place: Place):
    planted = place.write_project("docker_endpoint: tcp://evil\n")
    os.chown(planted, 65534, 65534)
    place.project.chmod(0o1777)

    assert place.faults() == {
        str(planted): f"belongs to another account; to use it all the same, name it: --config {planted}"
    }
    assert place.load(config=planted).docker_endpoint == "tcp://evil"

    os.chown(place.project, 65534, 65534)  # who owns the directory could replace the file anyway
    assert read_project_file(place.project, {}).faults == []


def test_an_account_without_a_home_must_say_where_to_keep_everything(place: Place, monkeypatch):
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(InvalidError) as refused:
        load_settings({"port": "x"}, env={}, cwd=place.project)
    assert [fault.path for fault in refused.value.faults] == ["data_dir", "port"]
    assert "CRONIUM_DATA_DIR" in refused.value.faults[0].message

    assert load_settings({"data_dir": "d"}, env={}, cwd=place.project).data_dir == place.project / "d"


def test_a_directory_that_was_removed_is_named(tmp_path: Path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InvalidError, match="current directory has been removed"):
        load_settings({})


def test_a_value_may_lie_in_a_file_that_a_variable_names(place: Place):
    secret = place.home / "secret"
    secret.write_text("postgresql://u:hunter2@db/x\n")
    place.env["DATABASE_URL_FILE"] = str(secret)
    settings = place.load()

    assert settings.database_url is not None
    assert settings.database_url.reveal() == "postgresql://u:hunter2@db/x"
    assert settings.origin("database_url") == f"environment DATABASE_URL_FILE ({secret})"

    (place.project / "port").write_bytes(b"9000\r\n")
    place.env.update(CRONIUM_PORT_FILE="port")
    assert place.load().port == 9000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"x" * 70_000, "is larger than 64 KiB"),
    ],
)
def test_a_file_that_gives_no_value_is_named_and_not_shown(place: Place, content, said):
    secret = place.home / "secret"
    if content is not None:
        secret.write_bytes(content)
    place.env["CRONIUM_VALKEY_URL_FILE"] = str(secret)

    faults = place.faults()

    assert list(faults) == ["valkey_url"]
    assert faults["valkey_url"].startswith(f"the file {said}")
    assert faults["valkey_url"].endswith(f"(environment CRONIUM_VALKEY_URL_FILE ({secret}))")


def test_a_value_and_a_file_for_it_are_one_too_many(place: Place):
    place.env.update(DATABASE_URL="postgresql://u:hunter2@db/x", DATABASE_URL_FILE="/run/secrets/x")
    assert place.faults() == {
        "database_url": "DATABASE_URL and DATABASE_URL_FILE are both set; remove one (environment)"
    }
