"""URLs of backends: what they name, and that their passwords stay where they are."""

from __future__ import annotations

import copy
import traceback
from pathlib import Path

import pytest

from orchestrator.config import PostgresDatabase, SqliteDatabase
from orchestrator.config.listing import effective, shown
from orchestrator.config.urls import SecretUrl, masked
from orchestrator.errors import InvalidError
from tests.config.conftest import Place

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///srv/data.db", "/srv/data.db"),
        ("sqlite:////srv/data.db", "/srv/data.db"),
        ("sqlite:///srv/my%20data%3F.db", "/srv/my data?.db"),
        ("sqlite://other.db", "{data}/other.db"),
        ("sqlite://sub/other.db", "{data}/sub/other.db"),
        ("sqlite://", "{data}/cronium.db"),
        (":memory:", None),
        ("sqlite://:memory:", None),
        ("sqlite:///:memory:", None),
        (None, "{data}/cronium.db"),
    ],
)
def test_a_sqlite_url_names_a_file_or_memory(place: Place, url, path):
    settings = place.load({"database_url": url, "data_dir": "/d"})

    assert settings.database == SqliteDatabase(path=Path(path.format(data="/d")) if path else None)
    assert settings.store_driver == "sqlite"
    again = place.load({"database_url": str(settings.database), "data_dir": "/elsewhere"})
    assert again.database == settings.database, "what is shown can be given"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_postgres_url_is_handed_on_as_it_is(place: Place, scheme):
    url = f"{scheme}://u:p%40w@a:5432,[::1]:5433/db?sslmode=require"
    settings = place.load({"database_url": url})

    assert isinstance(settings.database, PostgresDatabase)
    assert settings.database.url.reveal() == url
    assert str(settings.database) == f"{scheme}://u:***@a:5432,[::1]:5433/db?sslmode=require"
    assert settings.store_driver == "postgres"


@pytest.mark.parametrize("url", ["postgresql:///db?host=/run/postgresql", "postgresql://db", "postgresql://u@db/x"])
def test_a_postgres_url_may_be_short(place: Place, url):
    assert place.load({"database_url": url}).store_driver == "postgres"


@pytest.mark.parametrize(
    "url",
    ["valkey://h:6379/0", "valkeys://h", "redis://:pw@h", "rediss://u:pw@h:1/2?x=y", "unix:///run/valkey.sock?db=1"],
)
def test_a_url_of_a_cache_is_handed_on_as_it_is(place: Place, url):
    settings = place.load({"valkey_url": url})
    assert settings.valkey_url is not None
    assert settings.valkey_url.reveal() == url
    assert settings.cache_driver == "valkey"


@pytest.mark.parametrize(
    ("key", "url", "said"),
    [
        ("database_url", "postgress://u:{}@h/d", "; is it postgres:// ?"),
        ("database_url", "postgresql+asyncpg://u:{}@h/d", "; is it postgresql:// ?"),
        ("database_url", "POSTGRES://u:{}@h/d", "; is it postgres:// ?"),
        ("database_url", "{}", "must be postgresql://"),
        ("database_url", "{}.db", "must be postgresql://"),
        ("database_url", "u:{}@h/d", "must be postgresql://"),
        ("database_url", "postgresql://", "names no host"),
        ("database_url", "postgresql://u:{}@/d", "names no host"),
        ("database_url", "postgresql://u:{}", "cannot be read as a URL"),
        ("database_url", "postgresql://u:{}/x@h/d", "cannot be read as a URL"),
        ("database_url", "postgresql://u:1/{}@h/d", "cannot be read as a URL"),
        ("database_url", "postgresql://u:1?{}@h/d", "cannot be read as a URL"),
        ("database_url", "postgresql://u:{}#x@h/d", "cannot be read as a URL"),
        ("database_url", "postgresql://u:p@{}/w@h/d", "cannot be read as a URL"),
        ("database_url", "postgresql://u:[{}@h/d", "cannot be read as a URL"),
        ("database_url", "postgresql://u:{}@h:99999/d", "cannot be read as a URL"),
        ("database_url", "postgresql://u:{} x@h/d", "holds a space"),
        ("database_url", "postgresql://u:{}\n@h/d", "holds a space"),
        ("database_url", "sqlite:///x?key={}", "takes no options"),
        ("database_url", "sqlite:///x%00{}", "takes no options"),
        ("database_url", "", "must be a URL"),
        ("valkey_url", "vlakey://:{}@h", "; is it valkey:// ?"),
        ("valkey_url", "{}", "must be valkey://"),
        ("valkey_url", "redis://:{}@", "names no host"),
        ("valkey_url", "unix://:{}@", "names no socket"),
        ("valkey_url", "redis://:{}:6379", "cannot be read as a URL"),
    ],
)
def test_a_bad_url_is_refused_without_its_password(place: Place, key, url, said):
    """M9: neither message nor traceback holds what was given."""
    with pytest.raises(InvalidError) as refused:
        place.load({key: url.format(SECRET)})

    (fault,) = refused.value.faults
    assert fault.path == key
    assert said in fault.message
    everything = "".join(traceback.format_exception(refused.value)) + repr(refused.value) + repr(fault)
    assert SECRET not in everything


def test_a_secret_in_the_wrong_place_is_not_repeated_either(place: Place):
    place.write_project(f"port: {SECRET}\nmode: {SECRET}\ngrace_seconds: {SECRET}\n")
    place.env.update(CRONIUM_LOG_LEVEL=SECRET, CRONIUM_METRICS_PUBLIC=SECRET, CRONIUM_PROT=SECRET)
    assert SECRET not in str(place.faults({"docker_jobs": SECRET}))


def test_settings_show_no_password_however_they_are_printed(place: Place):
    flags: dict[str, object] = {
        "database_url": f"postgresql://u:{SECRET}@h/d?password={SECRET}",
        "valkey_url": f"rediss://:{SECRET}@h",
    }
    settings = place.load(flags)

    printed = [repr(settings), str(settings), str(settings.model_dump()), repr(settings.model_dump())]
    printed += [settings.model_dump_json(), repr(copy.deepcopy(settings)), f"{settings.database} {settings.database!r}"]
    printed += [str(list(effective(settings))), f"{settings.valkey_url} {settings.valkey_url!r}", str(vars(settings))]

    assert [text for text in printed if SECRET in text] == []
    assert "postgresql://u:***@h/d?password=***" in settings.model_dump_json()


@pytest.mark.parametrize(
    ("url", "as_shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("redis://:p@h", "redis://:***@h"),
        ("tcp://u:a/b@c:1", "tcp://u:***@c:1"),
        ("unix:///s?db=1&password=p", "unix:///s?db=1&password=***"),
        ("x://h?p%61ssword=p&sslpassword=q&passfile=f&token", "x://h?p%61ssword=***&sslpassword=***&passfile=f&token"),
        ("no url: at@all", "no url: at@all"),
    ],
)
def test_only_the_password_is_masked(url, as_shown):
    assert masked(url) == as_shown


def test_what_is_a_secret_as_a_whole_is_hidden_as_a_whole():
    from pydantic import SecretStr

    assert shown(SecretStr(SECRET)) == "********"
    assert shown("unix:///var/run/docker.sock") == "unix:///var/run/docker.sock"
    assert (shown(None), shown(True), shown(2.5)) == (None, True, 2.5)


def test_urls_are_equal_by_what_they_say():
    assert SecretUrl("valkey://h") == SecretUrl("valkey://h")
    assert len({SecretUrl("valkey://h"), SecretUrl("valkey://h"), SecretUrl("valkey://i")}) == 2
