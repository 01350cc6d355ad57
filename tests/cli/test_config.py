"""`cronium config`, and how commands end that are given bad settings."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config.keys import SETTINGS
from orchestrator.config.listing import settings_table
from tests.cli.conftest import DEADLINE_SECONDS, Cli


async def test_every_setting_is_shown_in_a_column(lonely: Cli):
    answer = await lonely("config", "show")

    lines = answer.out.splitlines()
    assert (answer.code, answer.err) == (0, "")
    assert [line.partition(" ")[0] for line in lines] == [*SETTINGS, "store_driver", "cache_driver"]
    assert len({line.index(" = ") for line in lines}) == 1
    assert {line.split(" = ")[0].rstrip(): line.split(" = ")[1] for line in lines}["metrics_public"] == "false"


async def test_the_winner_is_named(lonely: Cli):
    """M8: `config show --origin` prints where each value comes from."""
    (lonely.home / "cronium.yaml").write_text("port: 1\nhost: ::1\n")
    lonely.env["CRONIUM_PORT"] = "2"
    answer = await lonely("config", "show", "--origin")

    rows = {line.split(" = ")[0].rstrip(): line.split(" = ")[1].split(maxsplit=1) for line in answer.out.splitlines()}
    assert rows["port"] == ["2", "environment CRONIUM_PORT"]
    assert rows["host"] == ["::1", f"{lonely.home}/cronium.yaml:2"]
    assert rows["log_level"] == ["info", "default"]
    assert rows["store_driver"] == ["sqlite", "mode standalone"]
    assert rows["default_executor"] == ["process", "host ::1"]
    assert rows["valkey_url"] == ["(unset)", "default"]


async def test_json_has_values_and_where_they_come_from(lonely: Cli):
    lonely.env["DATABASE_URL"] = "postgresql://u:hunter2@h/d"
    plain, full = await lonely("config", "show", "--json"), await lonely("config", "show", "--json", "--origin")

    values, rows = json.loads(plain.out), json.loads(full.out)
    assert (values["port"], values["metrics_public"], values["valkey_url"]) == (8080, False, None)
    assert rows["database_url"] == {"value": "postgresql://u:***@h/d", "origin": "environment DATABASE_URL"}
    assert {key: row["value"] for key, row in rows.items()} == values
    assert "hunter2" not in plain.out + full.out


async def test_a_file_can_be_named(lonely: Cli):
    (lonely.home / "other.yaml").write_text("port: 7\n")
    answer = await lonely("config", "show", "--config", "other.yaml", "--json", "--origin")
    assert json.loads(answer.out)["port"] == {"value": 7, "origin": f"{lonely.home}/other.yaml:1"}


async def test_a_terminal_is_not_obeyed_for_a_setting(lonely: Cli):
    lonely.env["CRONIUM_IMAGES__NODE"] = "x\x1b[31m"
    answer = await lonely("config", "show")
    assert r"images.node" in answer.out
    assert r"x\x1b[31m" in answer.out
    assert "\x1b" not in answer.out


@pytest.mark.parametrize(
    "command", [["config", "show"], ["serve"], ["serve", "--config", "cronium.yaml"]], ids=" ".join
)
async def test_bad_settings_are_wrong_use_and_all_are_named(lonely: Cli, command):
    """M1, M9: exit code 2, both modes, the nearest one, and every other fault."""
    (lonely.home / "cronium.yaml").write_text('mode: standalon\ndatabse_url: x\nport: "80a"\n')
    lonely.env["CRONIUM_PROT"] = "1"
    answer = await lonely(*command)

    assert (answer.code, answer.out) == (2, "")
    assert "mode: must be `standalone` or `distributed`; did you mean `standalone`?" in answer.err
    assert "databse_url: there is no such setting; did you mean `database_url`?" in answer.err
    assert "port: must be a whole number" in answer.err
    assert "did you mean CRONIUM_PORT?" in answer.err
    assert f"{lonely.home}/cronium.yaml:2" in answer.err
    assert list(lonely.home.iterdir()) == [lonely.home / "cronium.yaml"], "nothing was made"


async def test_a_distributed_server_without_backends_makes_nothing(lonely: Cli):
    """No SQLite file appears beside the refusal."""
    lonely.env["CRONIUM_MODE"] = "distributed"
    answer = await lonely("serve")

    assert answer.code == 2
    assert "DATABASE_URL" in answer.err
    assert "VALKEY_URL" in answer.err
    assert list(lonely.home.iterdir()) == []


async def test_the_reference_and_the_schema_are_printed(lonely: Cli):
    assert (await lonely("config", "reference")).out == settings_table()
    schema = json.loads((await lonely("config", "schema")).out)
    assert schema["properties"]["mode"]["enum"] == ["standalone", "distributed"]


@pytest.mark.parametrize("name", ["show", "reference", "schema"])
async def test_each_has_help_with_an_example(lonely: Cli, name):
    answer = await lonely("config", name, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert f"    cronium config {name}" in answer.out.partition("Examples:")[2]


@pytest.mark.parametrize(("host", "warns"), [(None, False), ("0.0.0.0", True)])
async def test_a_server_that_others_can_reach_says_so(lonely: Cli, host, warns):
    """M7: loopback unless it was asked for otherwise, and then a warning; either way a token is needed and made."""
    text = "port: 0\ndefault_executor: process\n" + (f"host: {host}\n" if host else "")
    (lonely.home / "mine.yaml").write_text(text)
    process = await lonely.start("serve", "--config", "mine.yaml", "--data-dir", "data", "--log-format", "json")
    assert process.stderr is not None
    records = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not any(record["message"] == "ready" for record in records):
            line = await process.stderr.readline()
            assert line, "the server ended"
            records += [json.loads(line)] if line.startswith(b"{") else []
        url = next(record["url"] for record in records if record["message"] == "ready")
        listening = f"{'00000000' if warns else '0100007F'}:{int(url.rpartition(':')[2]):04X} "
        assert listening in Path("/proc/net/tcp").read_text()  # proc(5): the address as the machine stores it
        process.terminate()
        rest = (await process.communicate())[1].splitlines()
    records += [json.loads(line) for line in rest]

    assert [record["host"] for record in records if record["level"] == "warning"] == ([host] if warns else [])
    assert (lonely.home / "data" / "admin.token").exists()


def test_running_a_script_reads_no_settings(tmp_path):
    program = (
        "import sys; sys.argv = ['cronium', 'run', '--ephemeral', 'x.sh']; from orchestrator.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    (tmp_path / "x.sh").write_text("echo ran\n")
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=env
    )
    assert done.stdout == "ran\n"
    assert not {"orchestrator.config", "pydantic_settings"} & set(done.stderr.split())
