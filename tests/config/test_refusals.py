"""What is refused, that all of it is named at once, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.config.keys import VARIABLES
from tests.config.conftest import Place

Refusal = Callable[[str], dict[str, str]]


def test_a_mode_that_does_not_exist_is_refused_with_both_that_do_and_the_nearest(refusal: Refusal):
    """M1"""
    said = refusal("mode: standalon\n")["mode"]
    assert said.startswith("must be `standalone` or `distributed`; did you mean `standalone`? (")


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("databse_url: x", "databse_url", "did you mean `database_url`?"),
        ("databse: x", "databse", "did you mean `database_url`?"),
        ("images:\n  pyhton: x", "images.pyhton", "did you mean `images.python`?"),
        ("xyzzy: 1", "xyzzy", "`cronium config show` lists all settings"),
        ("images: x", "images", "beneath it write one of python, node, bash, shell"),
        ("port:\n  number: 1", "port.number", "`port` takes one value and has no settings beneath it"),
        ("a:\n  b:\n    c: 1", "a.b.c", "there is no such setting"),
        ("store_driver: postgres", "store_driver", "there is no such setting"),
    ],
)
def test_an_unknown_key_is_refused_with_its_line_and_a_hint(place: Place, refusal: Refusal, text, key, hint):
    """M9"""
    said = refusal(f"\n{text}\n")
    assert list(said) == [key]
    assert hint in said[key]
    assert said[key].endswith(f"({place.project}/cronium.yaml:{1 + len(text.splitlines())})")


@pytest.mark.parametrize(
    ("name", "key", "hint"),
    [
        ("CRONIUM_PROT", "prot", "did you mean CRONIUM_PORT?"),
        ("CRONIUM_PROT_FILE", "prot_file", "did you mean CRONIUM_PORT_FILE?"),
        ("CRONIUM_IMAGES__PYHTON", "images.pyhton", "did you mean CRONIUM_IMAGES__PYTHON?"),
        ("CRONIUM_IMAGES_PYTHON", "images_python", "did you mean CRONIUM_IMAGES__PYTHON?"),
        ("CRONIUM_DATABSE_URL", "databse_url", "did you mean CRONIUM_DATABASE_URL?"),
        ("CRONIUM_XYZZY", "xyzzy", "`cronium config show` lists all settings"),
        ("cronium_port", "port", "did you mean CRONIUM_PORT?"),
    ],
)
def test_a_misspelt_variable_is_refused_with_a_hint(place: Place, name, key, hint):
    """M9"""
    place.env[name] = "9000"
    assert place.faults() == {key: f"there is no such setting; {hint} (environment {name})"}


@pytest.mark.parametrize(
    "name",
    [
        *("CRONIUM_URL", "CRONIUM_TOKEN", "CRONIUM_TOKEN_FILE", "CRONIUM_RUNTIME_API", "CRONIUM_EXECUTION_TOKEN"),
        *("CRONIUM_EXECUTION_ID", "CRONIUM_JOB_ID", "CRONIUM_EVENT_ID", "CRONIUM_ATTEMPT", "CRONIUM_EXECUTION_MODE"),
        *("CRONIUM_SCHEDULED_AT", "CRONIUM_ARTIFACTS", "CRONIUM_API_ENDPOINT", "CRONIUM_API_TOKEN", "CRONIUM_API_URL"),
        *("CRONIUM_STUB_FILE", "CRONIUM_SDK_DEADLINE_SECONDS", "CRONIUM_OUTER_BASH_ENV", "CRONIUM_TEST_X"),
        *("CRONIUM_ENV_X", "CRONIUM_BENCH_IMAGE", "_CRONIUM_COMPLETE", "CRONIUM_SERVICE_HOST"),
        *("CRONIUM_SERVICE_PORT_HTTP", "CRONIUM_PORT_8080_TCP", "CRONIUM_PORT_8080_TCP_ADDR", "OTHER"),
    ],
)
def test_a_variable_with_another_purpose_is_left_alone(place: Place, name):
    place.env[name] = "x"
    assert place.load().port == 8080
    assert name not in VARIABLES


@pytest.mark.parametrize("port", ["8080", "'8080'", '"8080"', "+8080", "08080"])
def test_a_port_is_a_whole_number_in_quotes_or_not(place: Place, port):
    """M9"""
    place.write_project(f"port: {port}\n")
    assert place.load().port == 8080
    assert isinstance(place.load().port, int)


@pytest.mark.parametrize("port", ["80a", '"80a"', "true", "8080.0", "8_080", "0x1F90", "", "~", "٣", "9" * 5000])
def test_what_is_no_whole_number_is_no_port(refusal: Refusal, port):
    """M9"""
    assert refusal(f"port: {port}\n")["port"].startswith("must be a whole number (")


@pytest.mark.parametrize("port", [True, 8080.0, b"8080", [8080]])
def test_a_flag_of_another_type_is_no_port_either(place: Place, port):
    assert place.faults({"port": port}) == {"port": "must be a whole number (flag --port)"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port: 65536", "must be at most 65535"),
        ("port: -1", "must be at least 0"),
        ("backend_timeout_seconds: 6.1", "must be at most 6"),
        ("backend_timeout_seconds: 0", "must be more than 0"),
        ("grace_seconds: soon", "must be a number of seconds"),
        ("grace_seconds: nan", "must be a number of seconds"),
        ("grace_seconds: 1e3", "must be a number of seconds"),
        ("metrics_public: perhaps", "must be `true` or `false`"),
        ("metrics_public: ~", "must be `true` or `false`"),
        ("host: ''", "must not be empty"),
        ("host: ~", "must be text"),
        ("data_dir: ''", "must be a path"),
        ('data_dir: "a\\0b"', "must be a path"),
        ("default_executor: ssh", "must be `process` or `docker`"),
        ("rate_limit_backend: redis", "must be `memory` or `valkey`"),
        ("rate_limit_per_minute: 0", "must be at least 1"),
        ("database_pool_size: 0", "must be at least 1"),
        ("log_level: warn", "must be `debug`, `info`, `warning` or `error`; did you mean `warning`?"),
        ("database_url: mysql://db/x", "must be postgresql://…, postgres://…, sqlite://… or :memory:"),
        ("valkey_url: http://x", "must be valkey://…, valkeys://…, redis://…, rediss://… or unix://…"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_the_bounds(place: Place, refusal: Refusal, line, said):
    key = line.partition(":")[0]
    assert refusal(f"{line}\n") == {key: f"{said} ({place.project}/cronium.yaml:1)"}


def test_a_distributed_server_needs_a_database_and_a_cache(place: Place, refusal: Refusal):
    """M1: both are named, with the fix."""
    said = refusal("mode: distributed\n")

    assert list(said) == ["database_url", "valkey_url"]
    assert "set DATABASE_URL (postgresql://" in said["database_url"]
    assert "set VALKEY_URL (valkey://" in said["valkey_url"]
    assert all("choose `mode: standalone`" in message for message in said.values())
    assert all(f"mode from {place.project}/cronium.yaml:1" in message for message in said.values())

    place.env["DATABASE_URL"] = "postgres://db/x"
    assert list(place.faults()) == ["valkey_url"]
    place.env["VALKEY_URL"] = "redis://cache"
    assert place.load().origin("mode") == f"{place.project}/cronium.yaml:1"


def test_counting_requests_in_valkey_needs_one(place: Place):
    """In either mode, and only when it is asked for."""
    place.env["CRONIUM_RATE_LIMIT_BACKEND"] = "valkey"
    assert "set VALKEY_URL" in place.faults()["rate_limit_backend"]

    place.env["VALKEY_URL"] = "valkey://cache"
    assert place.load().rate_limit_backend == "valkey"

    del place.env["CRONIUM_RATE_LIMIT_BACKEND"]
    place.env.update(CRONIUM_MODE="distributed", DATABASE_URL="postgresql://db/x")
    assert place.load().rate_limit_backend == "memory"


@pytest.mark.parametrize(
    ("text", "key", "executor"),
    [
        ("process_jobs: 0", "process_jobs", "process"),
        ("docker_jobs: 0\nhost: 0.0.0.0", "docker_jobs", "docker"),
        ("docker_jobs: 0\ndefault_executor: docker", "docker_jobs", "docker"),
    ],
)
def test_the_default_executor_needs_a_slot(refusal: Refusal, text, key, executor):
    said = refusal(text + "\n")
    assert list(said) == [key]
    assert f"because {executor} is the default executor" in said[key]


def test_another_executor_needs_none(place: Place):
    place.write_project("process_jobs: 0\ndefault_executor: docker\n")
    assert place.load().process_jobs == 0


def test_everything_that_is_wrong_is_said_at_once(place: Place):
    """M9: not the first fault only, whatever its kind and place."""
    place.write_user("log_levle: debug\n")
    place.write_project("mode: distributed\nport: 80a\ndocker_jobs: many\nvalkey_url: nonsense\nimages:\n  pyhton: x\n")
    place.env.update(CRONIUM_PROT="1", CRONIUM_METRICS_PUBLIC="perhaps")

    assert set(place.faults({"grace_seconds": -1, "colour": "red"})) == {
        *("log_levle", "port", "docker_jobs", "valkey_url", "images.pyhton", "prot", "metrics_public", "grace_seconds"),
        *("colour", "database_url"),
    }


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("port: 1\nport: 2\n", 2, "`port` is there twice, on lines 1 and 2; remove one"),
        ("images:\n  node: a\nimages:\n  bash: b\n", 3, "`images` is there twice, on lines 1 and 3; remove one"),
        ("images:\n  node: a\n  node: b\n", 3, "`images.node` is there twice"),
        ("port: 1\n--- \nport: 2\n", 2, "a second document begins here"),
        ("- port: 1\n", 1, "no setting takes a list"),
        ("host: [a]\n", 1, "no setting takes a list"),
        ("host: &a x\n", 1, "anchors (`&`) and aliases (`*`) have no use here"),
        ("host: *hunter2\n", 1, "anchors (`&`) and aliases (`*`) have no use here"),
        ("host: !hunter2 x\n", 1, "tags (`!`) have no use here"),
        ("hunter2\n", 1, "a file of settings has lines `name: value`"),
        ("{a: 1}: 2\n", 1, "the name of a setting must be one word"),
        ("host: 'hunter2\n", 2, "this is not YAML"),
        ("port: 1\n\thost: x\n", 2, "this is not YAML"),
        ("a: {b: {c: {d: {e: 1}}}}\n", 1, "settings are nested more than 4 deep"),
        ("[" * 100_000, 1, "no setting takes a list"),
        ("{a: " * 100_000, 1, "settings are nested more than 4 deep"),
    ],
)
def test_what_is_no_file_of_settings_is_refused_with_its_line(place: Place, refusal: Refusal, text, line, said):
    faults = refusal(text)
    where = f"{place.project}/cronium.yaml:{line}"
    assert where in faults
    assert faults[where].startswith(said)
    assert "hunter2" not in str(faults)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"host: \xff\n", "is not UTF-8 text"),
        (b"host: a\x01b\n", "this is not YAML: there is a character that text does not have"),
        (b"#" * (1024 * 1024 + 1), "is larger than 1 MiB: this is no file of settings"),
    ],
)
def test_what_is_no_text_is_refused(place: Place, content, said):
    path = place.project / "cronium.yaml"
    path.write_bytes(content)
    assert place.faults() == {str(path): said}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "~\n", "{}\n", "images:\n", "images:\n  # node: x\n"])
def test_a_file_may_say_nothing(place: Place, text):
    place.write_project(text)
    assert place.load() == place.load(config=place.write_user(""))


def test_json_is_yaml_and_words_are_not_guessed_at(place: Place):
    place.write_project('\ufeff{"port": 1, "images": {"node": "n"}, "host": "on"}\n')
    settings = place.load()
    assert (settings.port, settings.images.node, settings.host) == (1, "n", "on")

    place.write_project("host: 012\nlog_format: text\nimages: {python: 3.10, node: no}\n")
    settings = place.load()
    assert (settings.host, settings.images.python, settings.images.node) == ("012", "3.10", "no")


def test_none_takes_back_what_a_weaker_file_says(place: Place):
    place.write_user("default_executor: docker\n")
    place.write_project("default_executor: ~\n")
    assert place.load().default_executor is None
