"""What the script of one attempt may read and change, and for how long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.contracts.store import Outcome
from orchestrator.jobs.environment import token_digest
from orchestrator.jobs.progress import ProgressBoard
from orchestrator.jobs.runtime_session import AttemptSession, RuntimeBackend
from orchestrator.jobs.script_log import ScriptLogs
from orchestrator.model.jobs import Claim, JobStatus, RunId, TriggerKind
from orchestrator.model.specs import ExecutorKind
from runtime_api.backend import RefusalError, Terms
from tests.jobs.scripted import Rig, a_spec, a_submission, open_rig

TOKEN = "cra_of-this-attempt"
FALSY = [None, False, 0, 0.0, "", [], {}]


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts", [ExecutorKind.PROCESS, ExecutorKind.DOCKER]) as rig:
        yield rig


def backend(rig: Rig, **changes: object) -> RuntimeBackend:
    board = ProgressBoard(store=rig.store, clock=rig.clock)
    engine = RuntimeBackend(store=rig.store, clock=rig.clock, observer=rig.observer, progress=board, logs=ScriptLogs())
    return replace(engine, **changes)


async def begun(rig: Rig, token: str = TOKEN, **changes: object) -> Claim:
    """A claimed job whose attempt has `token`."""
    claim = await rig.claimed(**changes)
    async with rig.store.begin() as repos:
        await repos.jobs.start_attempt(claim, process="p", token_digest=token_digest(token))
    return claim


async def session(rig: Rig, token: str = TOKEN) -> AttemptSession:
    found = await backend(rig).authenticate(token)
    assert isinstance(found, AttemptSession)
    return found


async def finish(rig: Rig, claim: Claim) -> None:
    async with rig.store.begin() as repos:
        await repos.jobs.finish(claim, Outcome(status=JobStatus.SUCCEEDED, finished_at=rig.clock.now()))


async def test_a_token_that_nobody_has_speaks_for_nobody(rig: Rig):
    await begun(rig)

    assert await backend(rig).authenticate("cra_guessed") is None
    assert await backend(rig).authenticate("") is None


async def test_a_token_speaks_for_its_own_job(rig: Rig):
    first = await begun(rig, "cra_first")
    second = await begun(rig, "cra_second")

    assert (await session(rig, "cra_first")).execution_id == first.job.id
    assert (await session(rig, "cra_second")).execution_id == second.job.id


async def test_a_token_is_dead_when_its_job_has_ended(rig: Rig):
    await finish(rig, await begun(rig))

    assert await backend(rig).authenticate(TOKEN) is None


async def test_a_token_is_dead_when_its_attempt_was_given_up(rig: Rig):
    claim = await begun(rig)
    async with rig.store.begin() as repos:
        await repos.jobs.release(claim)
    assert await backend(rig).authenticate(TOKEN) is None

    await rig.claim()
    assert await backend(rig).authenticate(TOKEN) is None


async def test_a_token_lives_on_when_its_job_is_adopted(rig: Rig):
    claim = await begun(rig)
    await rig.adopt()

    assert (await session(rig)).execution_id == claim.job.id


async def test_what_a_script_says_after_its_end_is_refused(rig: Rig):
    claim = await begun(rig)
    late = await session(rig)
    await finish(rig, claim)

    for say in (
        late.set_output(1),
        late.set_condition(condition=True),
        late.set_variable("k", 1, "global", Terms()),
        late.increment_variable("k", 1, "global", Terms()),
        late.delete_variable("k", "global", Terms()),
        late.set_progress(1),
    ):
        with pytest.raises(RefusalError) as refused:
            await say
        assert (refused.value.status, refused.value.code) == (401, "attempt_over")
    assert not (await rig.job(claim.job.id)).has_output
    async with rig.store.read() as repos:
        assert await repos.variables.get("global", "k") is None


@pytest.mark.parametrize("value", [*FALSY, {"rows": [1, "grün", None]}])
async def test_an_input_and_an_output_are_kept_as_they_are(rig: Rig, value):
    claim = await begun(rig, input=value)
    script = await session(rig)

    assert await script.get_input() == value
    await script.set_output(value)

    job = await rig.job(claim.job.id)
    assert (job.has_output, job.output) == (True, value)
    assert type(job.output) is type(value)


async def test_the_last_output_counts(rig: Rig):
    claim = await begun(rig)
    script = await session(rig)
    await script.set_output({"first": 1})
    await script.set_output([2])

    assert (await rig.job(claim.job.id)).output == [2]


async def test_a_condition_is_unknown_until_it_is_set(rig: Rig):
    claim = await begun(rig)
    assert await (await session(rig)).get_condition() is None

    for condition in (True, False):
        await (await session(rig)).set_condition(condition)
        assert await (await session(rig)).get_condition() is condition
    assert (await rig.job(claim.job.id)).condition is False


@pytest.mark.parametrize("value", FALSY)
async def test_a_variable_keeps_its_value_and_counts_its_versions(rig: Rig, value):
    await begun(rig)
    script = await session(rig)

    assert await script.set_variable("key", "before", "global", Terms()) == 1
    assert await script.set_variable("key", value, "global", Terms()) == 2
    found = await script.get_variable("key", None)
    assert (found.value, found.version, found.scope) == (value, 2, "global")


async def test_a_variable_is_shared_by_all_scripts(rig: Rig):
    await begun(rig, "cra_first")
    await begun(rig, "cra_second")
    await (await session(rig, "cra_first")).set_variable("grün/1", {"a": 1}, "global", Terms())

    assert (await (await session(rig, "cra_second")).get_variable("grün/1", None)).value == {"a": 1}


async def test_a_variable_that_is_not_there_is_named(rig: Rig):
    await begun(rig)

    with pytest.raises(RefusalError, match="'missing'") as refused:
        await (await session(rig)).get_variable("missing", None)

    assert (refused.value.status, refused.value.code) == (404, "variable_not_found")


async def test_the_context_says_what_runs(rig: Rig):
    spec = a_spec(name="Nightly", executor=ExecutorKind.DOCKER)
    submission = a_submission(spec, trigger=TriggerKind.WORKFLOW, run_id=RunId("run_1"), step="extract")
    job = await rig.submitter().submit(submission)
    (claim,) = await rig.claim()
    async with rig.store.begin() as repos:
        await repos.jobs.start_attempt(claim, process="p", token_digest=token_digest(TOKEN))
    script = await session(rig)
    before = await script.get_context()
    async with rig.store.begin() as repos:
        await repos.jobs.mark_started(claim, at=rig.clock.now(), setup_ms=0)

    assert await (await session(rig)).get_context() == {
        "execution_id": job.id,
        "job_id": job.id,
        "attempt": 1,
        "event_id": None,
        "run_id": "run_1",
        "step": "extract",
        "name": "Nightly",
        "type": "shell",
        "trigger": "workflow",
        "executor": "docker",
        "execution_mode": "container",
        "created_at": "2026-01-01T00:00:00Z",
        "started_at": "2026-01-01T00:00:00Z",
    }
    assert before["started_at"] is None


async def test_a_store_that_is_away_is_a_reason_to_try_again(rig: Rig):
    await begun(rig)
    script = await session(rig)
    rig.store.is_away = True

    for call in (
        backend(rig).authenticate(TOKEN),
        script.set_output(1),
        script.set_condition(condition=True),
        script.get_variable("key", None),
        script.list_variables("global", prefix="", cursor=None, limit=1),
        script.set_variable("key", 1, "global", Terms()),
        script.increment_variable("key", 1, "global", Terms(operation="o")),
        script.delete_variable("key", "global", Terms()),
        script.set_progress(1),
    ):
        with pytest.raises(RefusalError) as refused:
            await call
        assert (refused.value.status, refused.value.code) == (503, "store_unavailable")
        assert refused.value.retry_after_seconds == 1


async def test_calls_are_counted(rig: Rig, monkeypatch):
    seen = []
    monkeypatch.setattr(rig.observer, "runtime_called", lambda *call: seen.append(call), raising=False)

    backend(rig).called("get_input", 200, 0.5)

    assert seen == [("get_input", 200, 0.5)]
