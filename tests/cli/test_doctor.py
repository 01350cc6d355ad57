"""`cronium doctor`: what is here, what is not, and whether the default executor works."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

NOWHERE = "unix:///nowhere/docker.sock"


async def diagnose(cli: Cli) -> tuple[int, dict[str, dict[str, str]], dict[str, object]]:
    """Exit code, checks by name, the whole document."""
    answer = await cli("doctor", "--json")
    document = json.loads(answer.out)
    return answer.code, {check["name"]: check for check in document["checks"]}, document


async def test_everything_is_looked_at(lonely):
    lonely.env["CRONIUM_DOCKER_ENDPOINT"] = NOWHERE
    code, checks, document = await diagnose(lonely)
    assert code == 0
    assert (document["default_executor"], document["works"]) == ("process", True)
    assert list(checks) == ["process", "docker", "python3", "node", "bash", "server", "data", "sdk"]
    assert {name: checks[name]["state"] for name in ("process", "docker", "python3", "bash", "server", "data")} == {
        "process": "ok",
        "docker": "no",
        "python3": "ok",
        "bash": "ok",
        "server": "no",
        "data": "no",
    }
    assert "3." in checks["python3"]["detail"]
    assert "/nowhere/docker.sock" in checks["docker"]["detail"]
    assert "cronium serve" in checks["data"]["detail"]


async def test_it_is_readable_and_has_no_colours_in_a_pipe(lonely):
    lonely.env["CRONIUM_DOCKER_ENDPOINT"] = NOWHERE
    answer = await lonely("doctor")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("default executor: process (the server listens on 127.0.0.1 only;")
    assert "\nok   process   " in answer.out
    assert "\nno   server    No server was found in " in answer.out
    assert "\x1b" not in answer.out


async def test_nothing_is_left_behind_or_made(lonely):
    lonely.env.update(CRONIUM_DOCKER_ENDPOINT=NOWHERE, TMPDIR=str(lonely.home))
    await lonely("doctor")
    assert list(lonely.home.iterdir()) == []


async def test_a_default_executor_that_does_not_work_is_bad(lonely):
    lonely.env.update(CRONIUM_DEFAULT_EXECUTOR="docker", CRONIUM_DOCKER_ENDPOINT=NOWHERE)
    code, checks, document = await diagnose(lonely)
    assert (code, document["default_executor"], document["works"]) == (1, "docker", False)
    assert (checks["docker"]["state"], checks["process"]["state"]) == ("bad", "ok")
    assert "CRONIUM_DEFAULT_EXECUTOR" in str(document["why"])


async def test_an_engine_that_cannot_be_spoken_to_is_said(lonely):
    lonely.env["DOCKER_HOST"] = "ssh://user@host"
    code, checks, _ = await diagnose(lonely)
    assert (code, checks["docker"]["state"]) == (0, "no")
    assert "ssh://user@host" in checks["docker"]["detail"]


@pytest.mark.docker
async def test_a_docker_that_answers_is_ok(lonely):
    _, checks, _ = await diagnose(lonely)
    assert checks["docker"]["state"] == "ok"
    assert checks["docker"]["detail"].startswith("version ")


async def test_a_server_for_others_runs_jobs_in_containers(lonely):
    lonely.env.update(CRONIUM_HOST="0.0.0.0", CRONIUM_DOCKER_ENDPOINT=NOWHERE)
    _, _, document = await diagnose(lonely)
    assert document["default_executor"] == "docker"
    assert "0.0.0.0" in str(document["why"])


async def test_settings_that_are_not_valid_are_named(lonely):
    lonely.env["CRONIUM_PORT"] = "many"
    code, _, document = await diagnose(lonely)
    assert (code, document["default_executor"], document["works"]) == (1, None, False)
    assert "CRONIUM_PORT" in str(document["why"])


async def test_interpreters_are_looked_for_where_scripts_would_find_them(lonely, tmp_path):
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name, text in (("node", "echo v22.1.0"), ("bash", "exit 3"), ("python3", "echo Python 3.99 >&2")):
        (binaries / name).write_text(f"#!/bin/sh\n{text}\n")
        (binaries / name).chmod(0o755)
    lonely.env.update(PATH=str(binaries), CRONIUM_DOCKER_ENDPOINT=NOWHERE)
    _, checks, _ = await diagnose(lonely)
    assert checks["node"]["detail"] == f"v22.1.0 ({binaries}/node)"
    assert checks["python3"]["detail"] == f"Python 3.99 ({binaries}/python3)"
    assert checks["bash"]["state"] == "bad"
    (binaries / "node").unlink()
    _, checks, _ = await diagnose(lonely)
    assert (checks["node"]["state"], "not found on PATH" in checks["node"]["detail"]) == ("no", True)


async def test_a_data_directory_that_others_may_read_is_bad(lonely, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    lonely.env.update(CRONIUM_DATA_DIR=str(data), CRONIUM_DOCKER_ENDPOINT=NOWHERE)
    _, checks, _ = await diagnose(lonely)
    assert (checks["data"]["state"], f"chmod 700 {data}" in checks["data"]["detail"]) == ("bad", True)
    assert stat.S_IMODE(data.stat().st_mode) == 0o755
    data.chmod(0o700)
    _, checks, _ = await diagnose(lonely)
    assert checks["data"]["state"] == "ok"


async def test_a_server_is_found_and_one_that_refuses_us_is_bad(cronium, server):
    cronium.env["CRONIUM_DOCKER_ENDPOINT"] = NOWHERE
    _, checks, _ = await diagnose(cronium)
    assert checks["server"]["state"] == "ok"
    assert server.url in checks["server"]["detail"]
    cronium.env["CRONIUM_TOKEN"] = "crn_wrong"
    _, checks, _ = await diagnose(cronium)
    assert checks["server"]["state"] == "bad"


@pytest.mark.parametrize(
    ("name", "url", "check"),
    [
        ("DATABASE_URL", "postgresql://me:hidden@127.0.0.1:1/x", "store"),
        ("DATABASE_URL", "postgresql://me:hidden@127.0.0.1:1,127.0.0.1:2/x", "store"),
        ("VALKEY_URL", "redis://:hidden@127.0.0.1:1/0", "cache"),
    ],
)
async def test_a_backend_that_was_asked_for_and_is_away_is_a_failure(lonely, name, url, check):
    lonely.env |= {"CRONIUM_DOCKER_ENDPOINT": NOWHERE, name: url}
    code, checks, document = await diagnose(lonely)
    assert (code, document["works"], checks[check]["state"]) == (1, False, "bad")
    assert "127.0.0.1:1" in checks[check]["detail"]
    assert "hidden" not in json.dumps(document)


async def test_the_data_directory_of_the_settings_is_looked_at(lonely, tmp_path: Path):
    lonely.env["CRONIUM_DOCKER_ENDPOINT"] = NOWHERE
    lonely.env["XDG_CONFIG_HOME"] = str(tmp_path)
    (tmp_path / "cronium").mkdir()
    (tmp_path / "cronium" / "config.yaml").write_text(f"data_dir: {tmp_path}/elsewhere\n")
    lonely.env.pop("CRONIUM_DATA_DIR", None)
    _, checks, _ = await diagnose(lonely)
    assert f"{tmp_path}/elsewhere" in checks["data"]["detail"]
