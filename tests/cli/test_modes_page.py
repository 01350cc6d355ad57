"""What `docs/modes.md` says: its commands are run as they stand, and its figures of settings are those in force."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from orchestrator.config import ServerSettings
from orchestrator.telemetry.metrics import PrometheusObserver
from tests.cli.conftest import Cli
from tests.conftest import CRONIUM, ROOT
from tests.e2e.serving import Serving
from tests.servers import Postgres, free_port, running_redis

PAGE = (ROOT / "docs" / "modes.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
PASSWORD = "s3cret-of-this-test"


def there(commands: str, postgres: Postgres, valkey: int) -> str:
    """The commands of the page with the places of this machine's servers in them."""
    return (
        commands.replace(
            "cronium:PASSWORD@db.internal:5432/cronium", f"postgres:PASSWORD@127.0.0.1:{postgres.port}/modes"
        )
        .replace("cache.internal:6379", f"127.0.0.1:{valkey}")
        .replace("PASSWORD", PASSWORD)
    )


async def start(script: str, cli: Cli) -> asyncio.subprocess.Process:
    env = {**cli.env, "PATH": f"{CRONIUM.parent}{os.pathsep}{cli.env['PATH']}"}
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    return await asyncio.create_subprocess_exec("bash", "-euc", script, cwd=cli.home, env=env, **pipes)


async def run(script: str, cli: Cli) -> str:
    """Run commands as they stand; their output."""
    process = await start(script, cli)
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


def data_dir(cli: Cli) -> Path:
    """Where a server is that was told nothing."""
    return cli.home / ".local" / "share" / "cronium"


@pytest.mark.distributed
async def test_the_commands_of_the_page_switch_a_server_to_postgres_and_valkey(lonely: Cli, postgres: Postgres):
    """M106: every command of the page, in its order."""
    backup, secrets, variables, serve, look = COMMANDS
    data_dir(lonely).mkdir(parents=True, mode=0o700)
    old = Serving(data_dir(lonely), env=lonely.env)
    old.start()
    assert old.wait(old.submit(shell="echo kept"))["status"] == "succeeded"
    assert "1 job" in await run(backup, lonely)
    kept = old.token
    assert old.stop() == 0
    postgres.run("CREATE DATABASE modes")
    try:
        with running_redis(password=PASSWORD) as redis:
            await run(there(secrets, postgres, redis.port), lonely)
            shown = await run(variables, lonely)
            assert re.search(r"^database_url +=.*:\*\*\*@127\.0\.0\.1.*DATABASE_URL_FILE", shown, re.MULTILINE)
            assert re.search(r"^cache_driver += valkey", shown, re.MULTILINE)
            assert PASSWORD not in shown
            await serve_and_look(variables + serve, look, lonely)
        assert (lonely.home / "admin.token.standalone").read_text().strip() == kept
        assert {path.stat().st_mode & 0o777 for path in (lonely.home / "secrets").iterdir()} == {0o600}
        assert postgres.run("SELECT count(*) FROM jobs", "modes") == "1"
    finally:
        postgres.drop_database("modes")


async def serve_and_look(serve: str, look: str, cli: Cli) -> None:
    """`cronium serve` in one terminal, the look from another one."""
    port = free_port()
    server = await start(f"export CRONIUM_PORT={port}\n{serve.replace('cronium serve', 'exec cronium serve')}", cli)
    found = data_dir(cli) / "server.json"
    try:
        async with asyncio.timeout(60):
            while server.returncode is None and not found.exists():
                await asyncio.sleep(0.02)
        assert server.returncode is None, (await server.communicate())[0].decode()
        seen = await run(look.replace("8080", str(port)), cli)
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGTERM)
        said, _ = await server.communicate()
    assert '"cache":"valkey"' in seen.replace(" ", "")
    assert "hello from both" in seen
    assert PASSWORD not in said.decode()
    assert server.returncode == 0


@pytest.mark.parametrize("missing", ["database_url", "valkey_url"])
async def test_distributed_mode_does_not_start_without_both_urls(lonely: Cli, missing: str):
    urls = {"database_url": "postgresql://127.0.0.1:1/a", "valkey_url": "valkey://127.0.0.1:1/0"}
    lonely.env["CRONIUM_MODE"] = "distributed"
    lonely.env |= {f"CRONIUM_{key.upper()}": url for key, url in urls.items() if key != missing}
    answer = await lonely("serve", "--port", "0")
    assert answer.code == 2
    assert missing in answer.err


async def test_a_backend_that_is_not_there_at_start_ends_the_server_as_the_page_says(lonely: Cli):
    """M4: with the exit code of the page, the setting's name and no SQLite file in its place."""
    code = re.search(r"the store, at start \| the server ends with exit code (\d)", PAGE)
    assert code is not None
    lonely.env |= {"DATABASE_URL": "postgresql://127.0.0.1:1/a", "CRONIUM_BACKEND_TIMEOUT_SECONDS": "1"}
    answer = await lonely("serve", "--port", "0")
    assert answer.code == int(code[1])
    assert "DATABASE_URL" in answer.err
    assert not (data_dir(lonely) / "cronium.db").exists()


def test_the_figures_of_settings_on_the_page_are_those_in_force():
    fields = ServerSettings.model_fields
    budgets = {setting: int(budget) for budget, setting in re.findall(r"\| (\d+) a minute \| `(\w+)`", PAGE)}
    assert budgets.keys() == {"rate_limit_per_minute", "rate_limit_failed_logins_per_minute"}
    assert budgets == {setting: fields[setting].default for setting in budgets}
    named = set(re.findall(r"`(rate_limit_\w+|backend_timeout_seconds|metrics_public)", PAGE))
    assert len(named) >= 6
    assert named <= fields.keys()


def test_the_metrics_that_the_page_names_are_exposed():
    named = set(re.findall(r"`(cronium_\w+)`", PAGE))
    exposed = PrometheusObserver(version="0", mode="standalone", store_driver="sqlite", cache_driver="memory")
    text = exposed.render(None).decode()
    assert len(named) >= 4
    assert sorted(name for name in named if f"# TYPE {name} " not in text) == []


def test_the_page_and_its_neighbours_agree_on_the_modes():
    """What a mode needs, said in three places."""
    settings = (ROOT / "docs" / "settings.md").read_text()
    assert "[settings.md](settings.md)" in PAGE
    assert "[backup.md](backup.md)" in PAGE
    for table in (PAGE, settings):
        assert "`standalone` (default)" in table
        assert "Valkey or Redis" in table
    assert ServerSettings.model_fields["mode"].default == "standalone"
