"""`cronium events` and `cronium jobs --event`, against the real API on a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.events import DEFAULT_LIMIT
from orchestrator.contracts.store import Outcome
from orchestrator.model.jobs import Job, JobStatus, Reason
from tests.api.door import Door, open_door
from tests.cli.conftest import DEADLINE_SECONDS, Answer, Cli

NIGHTLY = "name: nightly\nbash: |\n  echo hello\nschedule: 30 2 * * *\n"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path / "server") as door:
        yield door


@pytest.fixture
def cronium(lonely: Cli, door: Door) -> Cli:
    lonely.env.update(CRONIUM_URL=door.url, CRONIUM_TOKEN=door.tokens["write"])
    return lonely


def write(cronium: Cli, text: str = NIGHTLY, name: str = "nightly.yaml") -> str:
    (cronium.home / name).write_text(text)
    return name


async def create(cronium: Cli, text: str = NIGHTLY) -> str:
    """The id of an event made from a file."""
    answer = await cronium("events", "create", write(cronium, text))
    assert answer.code == 0, answer.err
    return answer.out.strip()


async def shown(cronium: Cli, name: str = "nightly") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await cronium("events", "show", name, "--json")).out)
    return found


async def test_a_file_becomes_an_event_whose_id_is_on_stdout(cronium: Cli):
    answer = await cronium("events", "create", write(cronium))
    assert (answer.code, answer.err) == (
        0,
        "cronium: nightly is active and fires next at 2026-01-01 02:30:00; `cronium events run nightly` runs it now\n",
    )
    event = await shown(cronium)
    assert answer.out == f"{event['id']}\n"
    assert (event["schedule"], event["spec"]) == ({"cron": "30 2 * * *"}, {"bash": "echo hello\n"})


async def test_an_event_comes_on_stdin_and_as_json_too(cronium: Cli):
    answer = await cronium("events", "create", "-", "--json", stdin=b'{"name": "a b", "bash": "true"}')
    assert (answer.code, json.loads(answer.out)["name"], answer.err) == (0, "a b", "")
    second = await cronium("events", "create", "-", stdin=b"name: $x\nbash: 'true'")
    assert second.err == "cronium: $x is active and has no schedule; `cronium events run '$x'` runs it now\n"


@pytest.mark.parametrize(
    ("options", "name", "schedule"),
    [
        ([], "backup.sh", None),
        (["--name", "backup", "--cron", "0 3 * * 1"], "backup", {"cron": "0 3 * * 1"}),
        (["--every", "15m"], "backup.sh", {"every": "15m"}),
    ],
)
async def test_a_script_becomes_an_event_by_options(
    cronium: Cli, options: list[str], name: str, schedule: dict[str, str] | None
):
    write(cronium, "echo hi\n", "backup.sh")
    answer = await cronium("events", "create", "backup.sh", *options)
    assert answer.code == 0
    event = await shown(cronium, name)
    assert (event["name"], event["schedule"], event["spec"]) == (name, schedule, {"bash": "echo hi\n"})


async def test_faults_of_an_event_file_are_shown_with_its_lines(cronium: Cli):
    write(cronium, "name: nightly\nbash: 'true'\nschedule:\n  evry: 5m\nnotify: {failure: 3}\ntimout: 9\n")
    answer = await cronium("events", "create", "nightly.yaml")
    first, *faults = answer.err.splitlines()
    assert (answer.code, answer.out, first) == (2, "", "cronium: The event has 3 faults.")
    assert sorted(fault.split(": ")[0].strip() + " " + fault.split(": ")[1] for fault in faults) == [
        "line 3 schedule",
        "line 5 notify.failure",
        "line 6 timout",
    ]


async def test_a_name_that_is_taken_is_said_with_the_fix(cronium: Cli):
    await create(cronium)
    answer = await cronium("events", "create", "nightly.yaml")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("cronium: There is an event 'nightly' already; archive it first")


async def test_events_are_listed_newest_first_archived_ones_where_asked_for(cronium: Cli):
    """The whole table, so that a column is not lost."""
    first = await create(cronium)
    second = await create(cronium, "name: poll\nbash: 'true'\nschedule: {every: 90m}\nmax_executions: 9")
    third = await create(cronium, "name: by hand\nbash: 'true'")
    await cronium("events", "pause", "poll")
    await cronium("events", "archive", "by hand")
    answer = await cronium("events")
    assert (answer.code, answer.err) == (0, "")
    assert columns(answer) == [
        ["NAME", "STATUS", "SCHEDULE", "NEXT", "EXECUTIONS", "ID"],
        ["poll", "paused", "every 1h30m", "-", "0 of 9", second],
        ["nightly", "active", "30 2 * * *", "2026-01-01 02:30:00", "0", first],
    ]
    assert (await cronium("events", "list")).out == answer.out
    paused = await cronium("events", "--status", "paused")
    assert [row[0] for row in columns(paused)] == ["NAME", "poll"]
    everything = await cronium("events", "list", "--all", "--json")
    assert [event["id"] for event in json.loads(everything.out)["items"]] == [second, first, third]


def columns(answer: Answer) -> list[list[str]]:
    return [[part.strip() for part in line.split("  ") if part.strip()] for line in answer.out.splitlines()]


async def test_a_list_that_has_more_says_so(cronium: Cli, door: Door):
    for number in range(DEFAULT_LIMIT + 1):
        await door.ask("POST", "/api/v3/events", json={"name": f"event-{number}", "bash": "true"})
    few = await cronium("events")
    assert (len(few.out.splitlines()), few.err) == (DEFAULT_LIMIT + 1, "There are more: --all, or --limit.\n")
    assert len((await cronium("events", "--limit", "3")).out.splitlines()) == 4
    assert len((await cronium("events", "--all")).out.splitlines()) == DEFAULT_LIMIT + 2


async def test_a_list_without_events_says_how_to_get_one(cronium: Cli):
    answer = await cronium("events")
    assert (answer.code, len(answer.out.splitlines())) == (0, 1)
    assert answer.err == "cronium: there are no events yet; `cronium events create FILE` makes one\n"
    assert (await cronium("events", "--status", "paused")).err == ""


async def test_all_about_an_event_is_shown_but_its_secrets(cronium: Cli):
    text = (
        "name: nightly\ndescription: Why it is.\nbash: |\n  echo one\n\n  \tif true; then echo two; fi\n"
        "env: {API_KEY: s3cret}\ntimeout: 5m\nnotify: {failure: {webhook: 'https://hooks.example.org/s3cret'}}\n"
    )
    event_id = await create(cronium, text)
    answer = await cronium("events", "show", "nightly")
    assert answer.code == 0
    lines = answer.out.splitlines()
    pairs = dict(line.split(maxsplit=1) for line in lines[: lines.index("")])
    assert (pairs["event"], pairs["id"], pairs["status"]) == ("nightly", event_id, "active")
    assert (pairs["description"], pairs["timeout"], pairs["script"]) == ("Why it is.", "5m", "bash")
    assert pairs["env"] == '["API_KEY"]'
    assert "https://hooks.example.org/***" in answer.out
    assert lines[lines.index("") + 1 :] == ["  echo one", "", "          if true; then echo two; fi"]
    assert "s3cret" not in answer.out + json.dumps(await shown(cronium))


async def test_what_people_wrote_is_shown_and_never_obeyed(cronium: Cli, door: Door):
    """S09: names, descriptions and scripts do not reach the terminal as control characters."""
    evil = "\x1b]52;c;eA==\a\u202e"
    document = {"name": "evil", "description": evil, "bash": f"echo {evil}\r\necho 2", "input": {evil: evil}}
    assert (await door.ask("POST", "/api/v3/events", json=document)).status == 201
    for args in (
        ["events"],
        ["events", "show", "evil"],
        ["events", "show", "evil", "--json"],
        ["events", "pause", "evil"],
    ):
        answer = await cronium(*args)
        assert answer.code == 0
        assert {character for character in answer.out if not character.isprintable()} == {"\n"}


async def test_pause_activate_and_archive_say_what_becomes_of_the_event(cronium: Cli):
    event_id = await create(cronium)
    said = [
        ("pause", "nightly is paused: its schedule does not fire until `cronium events activate nightly`\n"),
        ("pause", "nightly is paused: its schedule does not fire until `cronium events activate nightly`\n"),
        ("activate", "nightly is active and fires next at 2026-01-01 02:30:00\n"),
        ("archive", f"nightly is archived for good: it is run no more, its jobs stay, its name is free ({event_id})\n"),
    ]
    for verb, sentence in said:
        answer = await cronium("events", verb, "nightly")
        assert (answer.code, answer.out, answer.err) == (0, sentence, "")
    gone = await cronium("events", "activate", event_id)
    assert (gone.code, gone.out) == (1, "")
    assert "is archived" in gone.err


async def test_several_events_are_changed_at_once(cronium: Cli):
    await create(cronium)
    await create(cronium, "name: poll\nbash: 'true'")
    answer = await cronium("events", "pause", "nightly", "poll", "--json")
    assert [(event["name"], event["status"]) for event in json.loads(answer.out)] == [
        ("nightly", "paused"),
        ("poll", "paused"),
    ]


async def test_the_next_fires_are_shown_in_utc_and_here(cronium: Cli):
    cronium.env["TZ"] = "Asia/Kolkata"
    await create(cronium)
    answer = await cronium("events", "next", "nightly", "-n", "2")
    assert (answer.code, answer.err) == (0, "")
    assert [row[:2] for row in columns(answer)] == [
        ["UTC", "LOCAL"],
        ["2026-01-01 02:30:00", "2026-01-01 08:00:00"],
        ["2026-01-02 02:30:00", "2026-01-02 08:00:00"],
    ]
    told = json.loads((await cronium("events", "next", "nightly", "--json")).out)
    assert (told["status"], len(told["times"])) == ("active", 5)
    await cronium("events", "pause", "nightly")
    paused = await cronium("events", "next", "nightly")
    assert paused.err.startswith("cronium: nightly is paused: these are the times it would fire at")
    assert len(paused.out.splitlines()) == 6


async def test_an_event_that_does_not_fire_says_why(cronium: Cli):
    await create(cronium, "name: hand\nbash: 'true'")
    await create(cronium, "name: once\nbash: 'true'\nschedule: {every: 1h}\nmax_executions: 1")
    assert (await cronium("events", "run", "once", "--detach")).code == 0
    archived = await create(cronium)
    await cronium("events", "archive", "nightly")
    for name, why in (
        ("hand", "hand has no schedule: it runs when it is told to, by `cronium events run`"),
        ("once", "once has made all of its 1 executions and fires no more"),
        (archived, "nightly is archived and fires no more"),
    ):
        answer = await cronium("events", "next", name)
        assert (answer.code, answer.out) == (0, "")
        assert answer.err.startswith(f"cronium: {why}")


async def supervise(door: Door, *, exit_code: int, lines: list[str]) -> Job:
    """Play the server's part in the life of the next job there is."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            async with door.store.begin() as repos:
                jobs = await repos.jobs.count()
            if jobs.get(JobStatus.QUEUED):
                break
            await asyncio.sleep(0.02)
    newest = (await door.get("/api/v3/jobs?limit=1")).body["items"][0]["id"]
    async with door.store.read() as repos:
        claim = await door.claim(await repos.jobs.get(newest))
    await door.write(claim, lines)
    failed = exit_code != 0
    outcome = Outcome(
        status=JobStatus.FAILED if failed else JobStatus.SUCCEEDED,
        reason=Reason.EXIT_CODE if failed else None,
        exit_code=exit_code,
        finished_at=door.context.clock.now(),
    )
    async with door.store.begin() as repos:
        job = await repos.jobs.finish(claim, outcome)
    door.context.feed.changed(job)
    return job


async def test_an_event_is_run_and_followed_to_its_end_with_the_exit_code_of_its_script(cronium: Cli, door: Door):
    await create(cronium)
    async with asyncio.TaskGroup() as tasks:
        ended = tasks.create_task(supervise(door, exit_code=7, lines=["hello"]))
        answer = await cronium("events", "run", "nightly")
    job = ended.result()
    assert (answer.code, answer.out) == (7, "hello\n")
    assert answer.err.splitlines()[0] == f"cronium: {job.id} submitted"
    assert f"{job.id} failed" in answer.err


async def test_an_event_is_run_with_an_input_of_ones_own_and_left_alone(cronium: Cli, door: Door):
    await create(cronium, "name: nightly\nbash: 'true'\ninput: {day: monday, n: 1}")
    for options, expected in (
        (["--detach"], {"day": "monday", "n": 1}),
        (["--detach", "--input", "day=friday"], {"day": "friday"}),
        (["--detach", "--input", "null"], None),
    ):
        answer = await cronium("events", "run", "nightly", *options)
        assert (answer.code, answer.err) == (0, "")
        assert (await door.get(f"/api/v3/jobs/{answer.out.strip()}")).body["input"] == expected
    twice = [await cronium("events", "run", "nightly", "--detach", "--idempotency-key", "k") for _ in range(2)]
    assert twice[0].out == twice[1].out
    as_json = json.loads((await cronium("events", "run", "nightly", "--detach", "--json")).out)
    assert (as_json["status"], as_json["trigger"]) == ("queued", "manual")


async def test_the_jobs_of_an_event_are_listed(cronium: Cli, door: Door):
    await create(cronium)
    await door.submit()
    job = (await cronium("events", "run", "nightly", "--detach")).out.strip()
    for args in (["jobs", "--event", "nightly"], ["jobs", "list", "--event", "nightly", "--all"]):
        answer = await cronium(*args)
        assert [line.split()[0] for line in answer.out.splitlines()] == ["ID", job]
    unknown = await cronium("jobs", "--event", "weekly")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err == "cronium: There is no event 'weekly'; `cronium events` lists those there are.\n"


async def test_why_names_the_job_that_another_one_waits_for(cronium: Cli):
    await create(cronium, "name: nightly\nbash: 'true'\nconcurrency: 1")
    first, second = [(await cronium("events", "run", "nightly", "--detach")).out.strip() for _ in range(2)]
    told = (await cronium("why", second)).out.splitlines()
    assert "no more than 1 job may be under way, and " + first in told[-2]
    assert f"{first} (nightly, queued for " in told[-1]
    assert "waiting for a place" in (await cronium("jobs", "show", second)).out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["events", "--all", "--limit", "1"], "Only one of --all and --limit"),
        (["events", "--all", "show", "x"], "Options of the list go with it; put those of show behind it."),
        (["events", "show"], "Missing argument 'NAME'."),
        (["events", "pause"], "Missing argument 'NAME...'."),
        (["events", "next", "x", "-n", "101"], "Invalid value for '-n'"),
        (["events", "create", "x.sh", "--cron", "* * * * *", "--every", "1m"], "Only one of --cron and --every"),
        (["events", "create", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["events", "frobnicate"], "No such command 'frobnicate'"),
    ],
)
async def test_wrong_use_is_said_here(lonely: Cli, args: list[str], said: str):
    answer = await lonely(*args)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"cronium: {said}")


@pytest.mark.parametrize("name", ["weekly", "", ".", "..", "../jobs", "evt_1"])
async def test_an_event_that_is_not_there_is_said_with_where_to_look(cronium: Cli, name: str):
    answer = await cronium("events", "show", name)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == f"cronium: There is no event {name!r}; `cronium events` lists those there are.\n"
