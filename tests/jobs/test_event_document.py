"""Events as people write them: read whole, or refused with every fault."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.errors import InvalidError
from orchestrator.jobs.event_document import EventWish, parse_event
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.model.events import Schedule
from orchestrator.model.specs import Concurrency, JobSpec, Language, Script, WhenFull

MINIMAL = {"name": "nightly", "bash": "true"}
SCRIPT = Script(language=Language.BASH, text="true")


def faults(document) -> dict[str, str]:
    with pytest.raises(InvalidError) as refused:
        parse_event(document)
    return {fault.path: fault.message for fault in refused.value.faults}


def test_a_name_and_a_script_make_an_event():
    assert parse_event(MINIMAL) == EventWish(name="nightly", spec=JobSpec(script=SCRIPT, name="nightly"))


def test_every_key_is_read():
    wish = parse_event(
        {
            **MINIMAL,
            "description": "Copies the database.",
            "schedule": "@daily",
            "max_executions": 3,
            "notify": {"failure": {"webhook": "https://hooks.example.org:8443/a?b=c"}},
            "concurrency": {"when_full": "skip"},
        }
    )

    assert wish == EventWish(
        name="nightly",
        spec=JobSpec(script=SCRIPT, name="nightly", concurrency=Concurrency(limit=1, when_full=WhenFull.SKIP)),
        description="Copies the database.",
        schedule=Schedule(cron="0 0 * * *"),
        max_executions=3,
        failure_webhook="https://hooks.example.org:8443/a?b=c",
    )


@pytest.mark.parametrize(
    ("written", "schedule"),
    [
        ("30 2 * * *", Schedule(cron="30 2 * * *")),
        ({"cron": "30 2 * * *"}, Schedule(cron="30 2 * * *")),
        ({"every": "15m"}, Schedule(every=timedelta(minutes=15))),
        ({"every": 90}, Schedule(every=timedelta(seconds=90))),
    ],
)
def test_a_schedule_is_a_cron_expression_or_an_interval(written, schedule: Schedule):
    assert parse_event({**MINIMAL, "schedule": written}).schedule == schedule


def test_a_number_limits_the_jobs_of_the_event():
    assert parse_event({**MINIMAL, "concurrency": 2}).spec.concurrency == Concurrency(limit=2)


@pytest.mark.parametrize(
    ("key", "value", "path", "says"),
    [
        ("name", "evt_01", "name", "how ids begin"),
        ("name", "evt_", "name", "how ids begin"),
        ("schedule", "often", "schedule", "five fields"),
        ("schedule", {"cron": 5}, "schedule.cron", "not a number"),
        ("schedule", {"cron": "0 0 31 2 *"}, "schedule.cron", "not a cron expression"),
        ("schedule", {"every": "500ms"}, "schedule.every", "1 s or longer"),
        ("schedule", {"every": "soon"}, "schedule.every", "number of seconds"),
        ("schedule", {"every": "1m", "cron": "* * * * *"}, "schedule", "Must be a cron expression"),
        ("schedule", 5, "schedule", "Must be a cron expression"),
        ("max_executions", 0, "max_executions", "from 1 on"),
        ("max_executions", True, "max_executions", "from 1 on"),
        ("description", "", "description", "not be empty"),
        ("description", "x" * 10_001, "description", "at most 10000"),
        ("notify", "me", "notify", "{failure: {webhook: URL}}"),
        ("notify", {"success": {}}, "notify", "{failure: {webhook: URL}}"),
        ("notify", {"failure": {"mail": "me"}}, "notify.failure", "{failure: {webhook: URL}}"),
        ("notify", {"failure": {"webhook": "ftp://x"}}, "notify.failure.webhook", "Must be an address"),
        ("notify", {"failure": {"webhook": "https://u:p@x/"}}, "notify.failure.webhook", "without a user"),
        ("notify", {"failure": {"webhook": "https://:p@x/"}}, "notify.failure.webhook", "without a user"),
        ("notify", {"failure": {"webhook": "https://@x/"}}, "notify.failure.webhook", "without a user"),
        ("notify", {"failure": {"webhook": "https://x:0/"}}, "notify.failure.webhook", "Must be an address"),
        ("notify", {"failure": {"webhook": "https://x:99999/"}}, "notify.failure.webhook", "Must be an address"),
        ("notify", {"failure": {"webhook": "https://x/a b"}}, "notify.failure.webhook", "Must be an address"),
        ("notify", {"failure": {"webhook": "https://x/\r\nA: b"}}, "notify.failure.webhook", "Must be an address"),
        ("cron", "* * * * *", "cron", "Did you mean `schedule`?"),
        ("scheduel", "* * * * *", "scheduel", "Did you mean `schedule`?"),
        ("needs", [], "needs", "belongs to the steps of a workflow"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(key: str, value, path: str, says: str):
    found = faults({**MINIMAL, key: value})
    assert list(found) == [path]
    assert says in found[path]


def test_all_faults_come_at_once():
    found = faults({"schedule": "x", "max_executions": 0, "timeout": "soon"})
    assert set(found) == {"", "schedule", "max_executions", "timeout"}


def test_an_event_needs_a_name():
    assert "needs a `name`" in faults({"bash": "true"})[""]


@pytest.mark.parametrize("document", [None, [], "bash", 5])
def test_what_is_no_mapping_is_refused(document):
    assert "Must be a mapping" in faults(document)[""]


@pytest.mark.parametrize("key", ["schedule", "max_executions", "notify", "description"])
def test_a_single_job_has_no_keys_of_an_event(key: str):
    with pytest.raises(InvalidError) as refused:
        parse_job_spec({"bash": "true", key: 1})
    assert "cronium events create" in refused.value.faults[0].message


@pytest.mark.parametrize("name", ["evt", "evt-1", "event_1", "an evt_1", "EVT_1"])
def test_a_name_that_no_id_can_have_is_taken(name: str):
    assert parse_event({**MINIMAL, "name": name}).name == name


@pytest.mark.parametrize("user", ["me:s3cr3t@", ":s3cr3t@", "s3cr3t@"])
def test_a_password_in_the_address_of_a_webhook_is_not_repeated(user: str):
    found = faults({**MINIMAL, "notify": {"failure": {"webhook": f"https://{user}hooks.example.org/"}}})
    assert list(found) == ["notify.failure.webhook"]
    assert "s3cr3t" not in found["notify.failure.webhook"]


def test_an_at_sign_behind_the_host_is_part_of_the_path():
    url = "https://hooks.example.org/@me?to=a@b"
    assert parse_event({**MINIMAL, "notify": {"failure": {"webhook": url}}}).failure_webhook == url
