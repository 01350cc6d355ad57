"""What `docs/events.md` says: its commands are run as they stand on a real server, its files are read, its table is true."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.routes import all_routes
from orchestrator.jobs.event_document import parse_event
from orchestrator.jobs.follow import Outside
from orchestrator.jobs.notify import JOB_FAILED
from orchestrator.jobs.spec_document import EVENT_KEYS
from orchestrator.model.events import Event
from orchestrator.workflows.document import load_document
from tests.api.door import open_door
from tests.api.test_jobs import FIELDS
from tests.cli.conftest import Cli
from tests.conftest import CRONIUM, ROOT
from tests.e2e.serving import Serving

PAGE = (ROOT / "docs" / "events.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
SNIPPETS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = sorted((ROOT / "examples" / "events").glob("*.yaml"))


@pytest.fixture
def cronium(lonely: Cli) -> Iterator[Cli]:
    """A server where the commands find it by themselves, and the files that the page speaks of."""
    data_dir = lonely.home / ".local" / "share" / "cronium"
    data_dir.mkdir(parents=True, mode=0o700)
    shutil.copytree(ROOT / "examples" / "events", lonely.home / "examples" / "events")
    for name in ("backup.sh", "poll.sh"):
        (lonely.home / name).write_text("echo hello\n")
    server = Serving(data_dir, env=lonely.env)
    try:
        server.start()
        yield lonely
        assert server.stop() == 0, server.log()
    finally:
        server.close()


async def run(script: str, cli: Cli) -> str:
    """Run commands as they stand; what they say, on stderr too."""
    env = {**cli.env, "PATH": f"{CRONIUM.parent}{os.pathsep}{cli.env['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", script, cwd=cli.home, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_the_commands_of_the_page_do_what_it_says(cronium: Cli):
    """Every command of the page, in its order."""
    first, look, scripts, change = COMMANDS
    said = await run(first, cronium)
    assert "nightly is active and fires next at " in said
    assert re.search(r"^\d{4}-\d\d-\d\d 02:30:00  ", said, re.MULTILINE)
    assert re.search(r"^/tmp: \d+ entries, None the time before$", said, re.MULTILINE)
    seen = await run(look, cronium)
    assert "It succeeded" in seen
    assert re.search(r"^job_\w+ +succeeded", seen, re.MULTILINE)
    await run(scripts, cronium)
    assert (await cronium("events", "create", "examples/events/often.yaml")).code == 0
    changed = await run(change, cronium)
    assert re.findall(r"^(\w+) is (\w+)", changed, re.MULTILINE) == [
        ("nightly", "paused"),
        ("nightly", "active"),
        ("often", "archived"),
    ]
    left = json.loads((await cronium("events", "--json")).out)["items"]
    assert [(event["name"], event["schedule"]) for event in left] == [
        ("poll.sh", {"every": "15m"}),
        ("backup", {"cron": "0 4 * * 0"}),
        ("nightly", {"cron": "30 2 * * *"}),
    ]


async def test_the_event_of_the_page_runs_as_a_job_that_is_done(cronium: Cli):
    """The second time it remembers the first: the example talks to the server."""
    assert (await cronium("events", "create", "examples/events/nightly.yaml")).code == 0
    for before in (False, True):
        answer = await cronium("events", "run", "nightly", "--json")
        job = json.loads(answer.out)
        assert (answer.code, job["status"], job["trigger"]) == (0, "succeeded", "manual")
        assert isinstance(job["output"]["before"], int) == before


async def test_why_says_for_what_time_a_schedule_made_a_job(cronium: Cli):
    created = await cronium("events", "create", "poll.sh", "--name", "tick", "--every", "1s")
    assert created.code == 0
    jobs: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while not jobs:
            jobs = json.loads((await cronium("jobs", "--event", "tick", "--json")).out)["items"]
    assert (await cronium("events", "archive", "tick")).code == 0
    first = jobs[-1]
    assert (first["trigger"], first["event_id"]) == ("schedule", created.out.strip())
    told = json.loads((await cronium("why", first["id"], "--json")).out)["sentences"][0]["text"]
    due = first["scheduled_at"].partition(".")[0].replace("T", " ")
    assert told.startswith(f"Cronium queued it because its schedule was due at {due} UTC, ")
    assert f"for the event 'tick' ({first['event_id']})" in told


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_right(path: Path):
    wish = parse_event(load_document(path.read_text(), source=path.name).data)
    assert wish.name == path.stem
    assert wish.schedule is not None


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.partition("#")[0].strip())
def test_the_keys_of_the_page_are_read_as_they_stand(snippet: str):
    said = load_document(snippet, source="page").data
    assert isinstance(said, dict)
    wish = parse_event({"name": "a", "bash": "true", **said})
    (key,) = said
    values: dict[str, Any] = {
        "schedule": wish.schedule,
        "concurrency": wish.spec.concurrency,
        "notify": wish.failure_webhook,
    }
    assert values[key] is not None


def test_the_page_names_every_key_that_an_event_adds():
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert named == {*EVENT_KEYS, "name", "concurrency"}
    assert named - {"concurrency"} <= {*Event.__dataclass_fields__, "notify"}


def test_the_routes_and_scopes_of_the_page_are_those_there_are():
    rows = re.findall(r"^\| `(GET|POST) (/events[^`]*)`((?:, `/\w+`)*) \| (\w+) \|", PAGE, re.MULTILINE)
    told = set()
    for method, written, more, scope in rows:
        path = written.partition("?")[0]
        others = [path.rpartition("/")[0] + other for other in re.findall(r"`(/\w+)`", more)]
        told |= {(method, f"/api/v3{one}", scope) for one in (path, *others)}
    there = {
        (route.method, route.path, str(route.access))
        for route in all_routes(metrics_public=False)
        if "/events" in route.path
    }
    assert told == there


async def test_the_notification_of_the_page_is_what_is_sent(tmp_path: Path):
    """The words of the page against the code that sends, and the job in it against what a job is."""
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    told = json.loads(example)
    assert told["type"] == JOB_FAILED
    assert set(told) == {"type", "timestamp", "data"}
    assert set(told["data"]) == {"event", "job"}
    async with open_door(tmp_path) as door:
        job = (await door.ask("POST", "/api/v3/jobs", json={"bash": "true"})).body
    assert set(told["data"]["job"]) <= FIELDS <= set(job)
    tries = re.search(r"at most (\d+) times", PAGE)
    assert tries is not None
    assert int(tries[1]) == Outside().tries
