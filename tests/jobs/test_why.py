"""What `cronium why` says of a job: of journals as the engine writes them, and of every case it may meet."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.jobs.cancel import Canceller
from orchestrator.jobs.requeue import Requeuer
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.jobs.why import tell
from orchestrator.jobs.why_advice import advise
from orchestrator.jobs.why_now import Others
from orchestrator.jobs.why_words import span, who_is
from orchestrator.model.documents import entry_document, job_document, time_text
from orchestrator.model.jobs import JobId, JobStatus, Reason, TriggerKind
from orchestrator.model.json import Json
from orchestrator.model.specs import Concurrency, RetryPolicy, WhenFull
from tests.jobs.scripted import Rig, a_spec, a_submission, open_rig

START = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIRST, SECOND_SERVER = "4f2a:alpha:100:aaaaaaaa", "4f2a:beta:200:bbbbbbbb"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def a_job(**changes: Any) -> dict[str, Any]:
    job: dict[str, Any] = {
        "id": "job_1",
        "status": "succeeded",
        "executor": "process",
        "trigger": "api",
        "priority": 0,
        "created_at": time_text(START),
    }
    return {**job, **changes}


def entries(*told: tuple[float, str, str, dict[str, Json]]) -> list[dict[str, Json]]:
    """Entries from (seconds after the start, kind, by, data)."""
    return [
        {"subject": "job_1", "seq": seq, "ts": time_text(at(seconds)), "kind": kind, "by": by, "data": data}
        for seq, (seconds, kind, by, data) in enumerate(told, start=1)
    ]


QUEUED = (0, "queued", "token:admin", {"executor": "process", "trigger": "api"})
CLAIMED = (2, "claimed", FIRST, {"attempt": 1, "fence": 1})
STARTED = (2.5, "started", FIRST, {"attempt": 1})


def texts(
    job: dict[str, Any], *told: tuple[float, str, str, dict[str, Json]], now: float = 60, **more: Any
) -> list[str]:
    return [sentence.text for sentence in tell(job, entries(*told), now=at(now), **more)]


def last(job: dict[str, Any], *told: tuple[float, str, str, dict[str, Json]], **more: Any) -> str:
    return texts(job, *told, **more)[-1]


async def told_of(rig: Rig, job_id: JobId) -> list[str]:
    """What is said of a job from what the engine itself wrote."""
    job = await rig.job(job_id)
    async with rig.store.store.read() as repos:
        journal = [entry_document(entry) for entry in await repos.journal.read(job_id)]
    return [sentence.text for sentence in tell(job_document(job), journal, now=rig.clock.now())]


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


def test_a_job_that_succeeded_is_told_from_its_submission_to_its_end():
    told = tell(
        a_job(),
        entries(QUEUED, CLAIMED, STARTED, (6.5, "finished", FIRST, {"status": "succeeded", "attempt": 1})),
        now=at(60),
    )
    assert [(sentence.kind, sentence.at, sentence.text) for sentence in told] == [
        ("queued", at(0), "The token 'admin' queued it over the API, to run with the process executor."),
        ("claimed", at(2), "The server on alpha (process 100) claimed it for attempt 1 after 2.0 s in the queue."),
        ("started", at(2.5), "Its script was started; setting it up took 500 ms."),
        ("finished", at(6.5), "It succeeded 4.0 s after its script was started."),
    ]


async def test_retries_of_the_engine_are_told_with_attempt_reason_and_delay(rig: Rig):
    rig.executor.on_start = lambda process: process.end(7)
    claim = await rig.claimed(retry=RetryPolicy(attempts=2, delay=SECOND * 30, jitter=0))
    await rig.runner(owner=FIRST).run(claim, asyncio.Event())
    told = await told_of(rig, claim.job.id)
    assert re.fullmatch(
        r"Attempt 1 of 2 failed after \S+ m?s: The script ended with exit code 7\. "
        r"By its retry policy attempt 2 follows after a delay of 30\.0 s\.",
        told[-2],
    )
    assert re.fullmatch(r"It waits for its next attempt, due in \d\S+ s\.", told[-1])

    rig.clock.advance(SECOND * 40)
    assert (await told_of(rig, claim.job.id))[-1].startswith("It has been waiting for a slot for ")
    (again,) = await rig.claim()
    await rig.runner(owner=FIRST).run(again, asyncio.Event())
    told = await told_of(rig, claim.job.id)
    assert told[-2].startswith("It failed in attempt 2, ")
    assert told[-2].endswith(": The script ended with exit code 7.")


async def test_a_lost_script_of_the_engine_is_told_with_whose_death_and_what_to_do(rig: Rig):
    claim = await rig.claimed()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rig.runner(owner=FIRST).run(claim, asyncio.Event()))
        await rig.executor.started(1)
        await rig.changes.until(lambda: len(rig.observer.started) == 1)
        task.cancel()
    rig.executor.processes.clear()
    rig.clock.advance(SECOND * 20)
    await rig.runner(owner=SECOND_SERVER).adopt(await rig.adopt(), asyncio.Event())

    adopted, lost, advice = (await told_of(rig, claim.job.id))[-3:]
    assert re.fullmatch(
        r"The server on beta \(process 200\) took it over: the server on alpha \(process 100\), whose last entry here "
        r"was 20\.\d s earlier, had died, was stopped or lost the store\.",
        adopted,
    )
    assert "It failed 20." in lost
    assert "what became of it is unknown" in lost
    assert "may or may not have done its work" in advice


async def test_a_job_that_was_never_started_goes_back_to_the_queue_and_that_is_told(rig: Rig):
    claim = await rig.claimed()
    await rig.runner(owner=SECOND_SERVER).adopt(await rig.adopt(), asyncio.Event())
    told = await told_of(rig, claim.job.id)
    assert told[1] == "The server on beta (process 200) took it over."
    assert told[2].startswith(
        "The server on beta (process 200) gave it back to the queue: The script was never started"
    )
    assert told[3].startswith("It has been waiting for a slot for ")


async def test_a_cancelled_job_names_who_asked(rig: Rig):
    job = await rig.submit()
    canceller = Canceller(
        store=rig.store,
        clock=rig.clock,
        observer=rig.observer,
        feed=rig.feed,
        poke=lambda job_id: None,
        wake=lambda: None,
    )
    await canceller.cancel(job.id, by="token:night shift")
    assert (await told_of(rig, job.id))[1:] == [
        "The token 'night shift' asked for its end.",
        "It was cancelled before its script was started.",
    ]


async def test_every_trigger_has_its_words(rig: Rig):
    seen = set()
    for trigger in TriggerKind:
        job = await rig.submitter().submit(a_submission(a_spec(), trigger=trigger))
        (first, *_) = await told_of(rig, job.id)
        assert "trigger" not in first
        seen.add(first)
    assert len(seen) == len(TriggerKind)


def test_a_trigger_of_a_later_version_is_named():
    assert "queued it (trigger moon), to run" in texts(a_job(trigger="moon"), QUEUED)[0]


def test_a_step_names_its_run():
    step = a_job(trigger="workflow", run_id="run_7", step="load", priority=5)
    assert texts(step, (0, "queued", "engine", {}))[0] == (
        "Cronium queued it as the step 'load' of the run run_7, to run with the process executor and with priority 5."
    )


def test_a_step_that_never_ran_says_why_although_it_has_no_journal():
    step = a_job(
        trigger="workflow", run_id="run_7", step="load", status="skipped", message="its condition is false",
        finished_at=time_text(at(1)),
    )  # fmt: skip
    told = tell(step, [], now=at(60))
    assert [(sentence.text, sentence.at) for sentence in told] == [
        ("It was queued as the step 'load' of the run run_7, to run with the process executor.", at(0)),
        ("It was skipped: its condition is false.", at(1)),
    ]


async def test_a_job_that_was_requeued_says_by_whom_and_where_it_goes_on(rig: Rig):
    rig.executor.on_start = lambda process: process.end(1)
    claim = await rig.claimed()
    await rig.runner(owner=FIRST).run(claim, asyncio.Event())
    requeuer = Requeuer(store=rig.store, clock=rig.clock, submitter=rig.submitter())
    new = await requeuer.requeue(claim.job.id, by="token:admin")
    ended, again = (await told_of(rig, claim.job.id))[-2:]
    assert ended.endswith(": The script ended with exit code 1.")
    assert again == (
        f"The token 'admin' had it queued again, as the job {new.id}; `cronium why {new.id}` goes on from there."
    )
    assert (await told_of(rig, new.id))[0].startswith("The token 'admin' queued it by hand")


def test_skipped_says_why():
    told = texts(a_job(status="skipped"), QUEUED, (0, "skipped", "engine", {"message": "another one runs"}))
    assert told[1:] == ["It was skipped: another one runs."]


def test_an_unknown_kind_is_shown_with_its_data():
    told = texts(a_job(status="running"), QUEUED, (5, "paused", "token:ops", {"until": 3}))
    assert told[1] == "paused, by the token 'ops'. {\"until\": 3}."


@pytest.mark.parametrize(
    "data", [{}, {"attempt": "x", "delay_seconds": "soon"}, {"attempt": 1, "delay_seconds": 1e300, "policy": {"a": 1}}]
)
def test_a_retry_with_other_data_is_still_told(data):
    told = texts(a_job(status="queued"), QUEUED, CLAIMED, STARTED, (4, "retrying", FIRST, data))
    assert told[3].startswith("Attempt ")
    assert told[4].startswith("It has been waiting for a slot for 56.0 s")


def test_documents_of_any_shape_are_told_somehow():
    odd: list[dict[str, Json]] = [{}, {"kind": 3, "data": [], "ts": "yesterday"}, {"kind": "finished", "data": {}}]
    assert [sentence.at for sentence in tell({}, odd, now=START)] == [None] * 4


def queued(job_id: str, seconds: float, **changes: Any) -> dict[str, Any]:
    return a_job(id=job_id, status="queued", created_at=time_text(at(seconds)), **changes)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (
            Others(queued=[], running=[a_job()]),
            "and 1 job runs with the process executor: it starts when a slot is free.",
        ),
        (
            Others(
                queued=[
                    queued("newer", 9),
                    queued("job_1", 0),
                    queued("as old", 0),
                    queued("older", -9),
                    queued("urgent", 20, priority=1),
                    queued("elsewhere", -9, executor="docker"),
                ],
                running=[a_job(), a_job(), a_job(executor="docker")],
            ),
            "At most 3 queued jobs come before it, and 2 jobs run with the process executor.",
        ),
        (Others(queued=[queued("low", -9, priority=-1)], running=[]), "perhaps no server that runs has slots for it."),
        (
            Others(queued=[queued("older", -9)], running=[], whole=False),
            "Of the newest 1 queued jobs 1 comes before it, and no jobs run with the process executor.",
        ),
    ],
    ids=["busy", "behind others", "nobody there", "too many to count"],
)
def test_a_job_that_waits_says_behind_whom(others, said):
    waiting = last(a_job(status="queued"), QUEUED, others=others)
    assert waiting.startswith("It has been waiting for a slot for 1 min 0 s. ")
    assert said in waiting


def test_a_job_that_waits_for_a_moment_is_no_cause_for_alarm():
    waiting = last(a_job(status="queued"), QUEUED, now=2, others=Others(queued=[], running=[]))
    assert waiting == "It has been waiting for a slot for 2.0 s. No queued job comes before it."


def test_a_job_that_is_prepared_says_since_when_and_by_whom():
    assert last(a_job(status="running"), QUEUED, CLAIMED, now=62) == (
        "It has been in preparation for 1 min 0 s, supervised by the server on alpha (process 100): files, image, start."
    )


def test_a_running_job_says_who_supervises_it_now_and_that_its_end_was_asked_for():
    job = a_job(status="running", started_at=time_text(at(2.5)), cancel_requested_at=time_text(at(59)))
    adopted = (30, "adopted", SECOND_SERVER, {"attempt": 1, "fence": 2})
    running = last(job, QUEUED, CLAIMED, STARTED, adopted, now=62.5)
    assert running.startswith(
        "Its script has been running for 1 min 0 s, supervised by the server on beta (process 200). Its end was asked "
        "for 3.5 s ago:"
    )


def test_a_server_that_adopts_from_itself_speaks_of_nobodys_death():
    job = a_job(status="running", started_at=time_text(at(2.5)))
    told = texts(job, QUEUED, CLAIMED, STARTED, (30, "adopted", FIRST, {}))
    assert told[3] == "The server on alpha (process 100) took it up again: nobody there supervised it any more."


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.CANCELLED])
def test_every_reason_comes_with_what_to_do(reason):
    advice = advise(a_job(status="failed", reason=reason.value, exit_code=3, started_at=time_text(START)))
    assert advice is not None
    assert "{" not in advice.replace("{attempts: 2", "")
    assert "job_1" in advice or "cronium logs" not in advice


def test_a_job_is_run_again_by_a_command_and_a_step_by_its_workflow():
    alone, step = advise(a_job(reason="lost")), advise(a_job(reason="lost", run_id="run_7", step="load"))
    assert alone is not None
    assert step is not None
    assert "run it again (`cronium jobs retry job_1`)" in alone
    assert "start the workflow again" in step
    assert "jobs retry" not in step


def test_nobody_is_told_what_to_do_about_a_success_or_a_cancelling():
    assert advise(a_job()) is None
    assert advise(a_job(status="cancelled", reason="cancelled")) is None


def test_the_advice_about_a_lost_job_is_a_policy_that_can_be_written():
    advice = advise(a_job(reason="lost"))
    assert advice is not None
    assert "retry: {attempts: 2, on_lost: retry}" in advice
    spec = parse_job_spec({"bash": "true", "retry": {"attempts": 2, "on_lost": "retry"}})
    assert spec.retry.on_lost


@pytest.mark.parametrize(
    ("code", "said"), [(3, "says that it failed"), (137, "SIGKILL"), (143, "SIGTERM"), (255, "says that it failed")]
)
def test_exit_codes_of_signals_are_named(code, said):
    advice = advise(a_job(status="failed", reason="exit_code", exit_code=code))
    assert advice is not None
    assert said in advice


def test_a_timeout_before_the_start_is_not_blamed_on_the_script():
    job = a_job(status="timed_out", reason="timeout", message="It waited longer for its turn than it may.")
    ended = (9, "finished", FIRST, {"status": "timed_out", "reason": "timeout", "message": job["message"]})
    assert texts(job, QUEUED, ended)[1:] == [
        "It timed out: It waited longer for its turn than it may.",
        "Its script was never started: allow more time (`timeout: {queue: ..., setup: ...}`) or more slots.",
    ]


@pytest.mark.parametrize(
    ("by", "who"),
    [
        (FIRST, "The server on alpha (process 100)"),
        ("token:a\x1b[2J", "The token 'a\\x1b[2J'"),
        ("cli:ann", "The user 'ann'"),
        ("engine", "Cronium"),
        ("default", "'default'"),
        ("a:b:c:d", "'a:b:c:d'"),
        ("token:a:1:b", "The token 'a:1:b'"),
    ],
)
def test_who_wrote_an_entry_is_said_in_words(by, who):
    assert who_is(by) == who


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 ms"),
        (0.34, "340 ms"),
        (12.34, "12.3 s"),
        (59.97, "1 min 0 s"),
        (245, "4 min 5 s"),
        (7620, "2 h 7 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_lengths_of_time_are_said_in_two_units(seconds, words):
    assert span(timedelta(seconds=seconds)) == words


HELD = (0, "held", "token:admin", {"key": "main/key:deploy", "limit": 1, "under_way": ["job_0"]})


def test_a_job_that_a_schedule_started_says_for_what_time_and_how_late():
    job = a_job(trigger="schedule", event_id="evt_1", name="nightly", scheduled_at=time_text(at(-90)))
    queued = (0, "queued", "schedule", {})
    assert texts(job, queued)[0] == (
        "Cronium queued it because its schedule was due at 2026-05-04 10:28:30 UTC, 1 min 30 s late, for the event "
        "'nightly' (evt_1), to run with the process executor."
    )
    on_time = texts({**job, "scheduled_at": time_text(at(-1))}, queued)[0]
    assert "was due at 2026-05-04 10:29:59 UTC, for the event 'nightly'" in on_time


def test_a_job_that_was_held_back_says_because_of_whom_and_for_how_long():
    told = texts(a_job(), QUEUED, HELD, (40, "admitted", "engine", {}), (42, "claimed", FIRST, {"attempt": 1}))
    assert told[1:4] == [
        "It was held back: under the concurrency key 'deploy' no more than 1 job may be under way, and job_0 was.",
        "It was admitted after 40.0 s: there was a place for it.",
        "The server on alpha (process 100) claimed it for attempt 1 after 2.0 s in the queue.",
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"key": "main/event:evt_1", "limit": 2, "under_way": ["a", "b"]},
            "under its event no more than 2 jobs may be under way, and a and b were.",
        ),
        (
            {"key": "a/b/key:x/key:y", "limit": 9, "under_way": list("abcdefg")},
            "under the concurrency key 'x/key:y' no more than 9 jobs may be under way, and a, b, c, d, e and 2 more were.",
        ),
        ({"key": "k", "limit": 1, "under_way": []}, "under its concurrency key no more than 1 job"),
        ({}, "no more than so many jobs may be under way, and others waited already."),
    ],
    ids=["event", "many", "nobody", "other data"],
)
def test_what_held_a_job_back_is_named(data, said):
    assert said in texts(a_job(), QUEUED, (0, "held", "engine", data))[1]


def held(job_id: str, seconds: float, **changes: Any) -> dict[str, Any]:
    return queued(job_id, seconds, held=True, concurrency_key="main/key:deploy", **changes)


def test_a_job_that_waits_for_a_place_names_who_has_it_since_when_and_who_is_before_it():
    holder = a_job(
        id="job_0", name="deploy", status="running", started_at=time_text(at(30)), concurrency_key="main/key:deploy"
    )
    others = Others(
        queued=[
            held("later", 5),
            held("job_1", 0),
            held("older", -9),
            held("urgent", 7, priority=1),
            queued("between attempts", -20, concurrency_key="main/key:deploy"),
            held("elsewhere", -9, executor="docker") | {"concurrency_key": "main/key:other"},
        ],
        running=[holder, a_job(status="running")],
    )
    assert last(held("job_1", 0), QUEUED, HELD, others=others) == (
        "It has been waiting for a place under the concurrency key 'deploy' for 1 min 0 s. between attempts (queued for "
        "1 min 20 s) and job_0 (deploy, running for 30.0 s) have them. 2 jobs wait for one before it. It goes on by "
        "itself when there is a place."
    )
    assert last(held("job_1", 0), QUEUED, HELD).endswith("for 1 min 0 s.")


def test_many_holders_of_places_are_counted():
    holders = [
        a_job(id=f"job_{n}", status="running", started_at=time_text(at(n)), created_at=time_text(at(n)), concurrency_key="main/key:deploy")
        for n in range(9)
    ]  # fmt: skip
    text = last(held("mine", 20), QUEUED, others=Others(queued=[], running=holders[::-1]))
    assert "job_0 (running for 1 min 0 s), job_1 (running for 59.0 s), " in text
    assert "job_4" in text
    assert "job_5" not in text
    assert " and 4 more have them." in text


@pytest.mark.parametrize(("whole", "said"), [(True, "No job has one any more"), (False, "for 1 min 0 s.")])
def test_places_that_nobody_is_seen_to_have_are_not_called_free_unless_all_were_seen(whole, said):
    text = last(held("job_1", 0), QUEUED, HELD, others=Others(queued=[], running=[], whole=whole))
    assert ("No job has one any more" in text) == whole
    assert said in text


def test_held_jobs_do_not_come_before_one_that_waits_for_a_slot():
    others = Others(queued=[queued("job_1", 0), held("older", -9)], running=[])
    assert "No queued job comes before it" in last(a_job(status="queued"), QUEUED, others=others)


def test_a_job_that_made_place_for_a_newer_one_names_it():
    told = texts(
        a_job(status="cancelled", reason="cancelled"),
        QUEUED,
        (3, "replaced", "token:admin", {"job_id": "job_2"}),
        (3, "cancel_requested", "engine", {}),
        (3, "finished", "engine", {"status": "cancelled", "reason": "cancelled", "message": "Replaced by job_2."}),
    )
    assert told[1:] == [
        "The job job_2 of the same concurrency key takes its place: it is to end.",
        "Cronium asked for its end.",
        "It was cancelled before its script was started.",
    ]


async def test_jobs_of_one_key_are_told_from_what_the_engine_writes(rig: Rig):
    """Held, skipped and replaced, with the journal of the engine itself."""
    first = await rig.submit(concurrency=Concurrency(key="k"))
    second = await rig.submit(concurrency=Concurrency(key="k"))
    assert (
        f"under the concurrency key 'k' no more than 1 job may be under way, and {first.id} was."
        in (await told_of(rig, second.id))[1]
    )
    skipped = await rig.submit(concurrency=Concurrency(key="k", when_full=WhenFull.SKIP))
    *_, ended, advice = await told_of(rig, skipped.id)
    assert ended.startswith("It was skipped: ")
    assert "Skipped" not in ended
    assert "when_full: queue" in advice
    newest = await rig.submit(concurrency=Concurrency(key="k", when_full=WhenFull.REPLACE))
    assert f"The job {newest.id} of the same concurrency key takes its place: it is to end." in (
        await told_of(rig, second.id)
    )


def test_a_skipped_step_needs_no_advice():
    assert advise(a_job(status="skipped", message="its condition is false")) is None


@pytest.mark.parametrize("status", [status for status in JobStatus if status.is_final])
def test_a_job_whose_journal_breaks_off_tells_its_end_from_itself(status):
    told = texts(
        a_job(status=status.value, message="So it is.", finished_at=time_text(at(5))), QUEUED, CLAIMED, STARTED
    )
    assert "2.5 s after its script was started" in told[3]
