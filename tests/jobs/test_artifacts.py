"""Artifacts in the life of a job: its directory, its end, the watch, the upkeep, later steps."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Placement
from orchestrator.errors import StartFailedError
from orchestrator.jobs.artifact_files import ArtifactLimits
from orchestrator.jobs.artifact_steps import all_artifacts, find_given
from orchestrator.jobs.artifact_upkeep import ArtifactUpkeep
from orchestrator.jobs.artifact_watch import ArtifactWatch
from orchestrator.jobs.artifacts import Shelf
from orchestrator.jobs.environment import clean, prepare, sweep
from orchestrator.model.artifacts import Artifact
from orchestrator.model.jobs import Claim, Job, JobStatus, Reason
from orchestrator.model.specs import ExecutorKind, GivenArtifact
from tests.fakes import NEW_YEAR
from tests.jobs.scripted import Rig, ScriptedProcess, a_spec, open_rig

LIMITS = ArtifactLimits(max_bytes=1000, max_files=10)


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


def put(place: Path, name: str, data: bytes = b"x") -> Path:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def a_job(**changes) -> Job:
    job = Job(
        id="job_1",
        status=JobStatus.RUNNING,
        spec=a_spec(),
        executor=ExecutorKind.PROCESS,
        queue="q",
        trigger="api",
        priority=0,
        created_at=NEW_YEAR,
        attempt=1,
    )
    return replace(job, **changes)


def placed(directory: Path) -> Placement:
    return Placement(
        files=str(directory),
        sdk="/sdk",
        runtime_api="unix:/x",
        workdir="/",
        artifacts=str(directory.with_name(f"{directory.name}.artifacts")),
    )


def test_a_script_is_told_of_an_empty_directory_that_only_it_and_we_reach(rig: Rig):
    job = a_job()
    spec = prepare(job, rig.surroundings, placed(rig.surroundings.directory(job)))

    assert spec.artifacts == rig.surroundings.artifacts(job)
    assert spec.env["CRONIUM_ARTIFACTS"] == str(spec.artifacts)
    assert "CRONIUM_FILES" not in spec.env
    assert stat.S_IMODE(spec.artifacts.stat().st_mode) == 0o700
    assert [*spec.artifacts.iterdir()] == []


def test_a_script_of_another_account_may_write_there(rig: Rig):
    job = a_job(executor=ExecutorKind.DOCKER)
    spec = prepare(job, rig.surroundings, placed(rig.surroundings.directory(job)))
    assert spec.artifacts is not None
    assert stat.S_IMODE(spec.artifacts.stat().st_mode) == 0o777


def test_preparing_again_finds_it_empty_and_cleaning_removes_it(rig: Rig):
    job = a_job()
    placement = placed(rig.surroundings.directory(job))
    for _ in range(2):
        spec = prepare(job, rig.surroundings, placement)
        assert spec.artifacts is not None
        assert [*spec.artifacts.iterdir()] == []
        put(spec.artifacts, "closed/file")
    (rig.surroundings.artifacts(job) / "closed").chmod(0)
    clean(job, rig.surroundings)
    assert [*rig.surroundings.attempts.iterdir()] == []


def test_sweeping_keeps_the_artifacts_of_attempts_that_run(rig: Rig):
    jobs = [a_job(), a_job(attempt=2)]
    for job in jobs:
        prepare(job, rig.surroundings, placed(rig.surroundings.directory(job)))
    sweep(rig.surroundings, frozenset({"cronium-job_1-2"}))
    assert {path.name for path in rig.surroundings.attempts.iterdir()} == {
        "cronium-job_1-2",
        "cronium-job_1-2.artifacts",
    }


# The end of an attempt


def a_shelf(rig: Rig, limits: ArtifactLimits = LIMITS, place: str = "here") -> Shelf:
    return Shelf(root=rig.surroundings.attempts.parent / "artifacts", place=place, watch=ArtifactWatch(limits))


async def supervise(rig: Rig, claim: Claim, shelf: Shelf, leaves: dict[str, bytes], code: int = 0) -> Job:
    """Run a claimed job whose script leaves files and ends."""
    running = asyncio.create_task(rig.runner(shelf=shelf).run(claim, asyncio.Event()))
    process = await process_of(rig, claim)
    for name, data in leaves.items():
        put(rig.surroundings.artifacts(claim.job), name, data)
    process.end(code)
    async with asyncio.timeout(20):
        await running
    return await rig.job(claim.job.id)


async def process_of(rig: Rig, claim: Claim) -> ScriptedProcess:
    name = f"cronium-{claim.job.id}-{claim.job.attempt}"
    await rig.changes.until(lambda: name in rig.executor.processes)
    return rig.executor.processes[name]


async def kept(rig: Rig, job: Job) -> list[Artifact]:
    async with rig.store.read() as repos:
        return await all_artifacts(repos, job.id)


async def lines(rig: Rig, job: Job) -> list[str]:
    async with rig.store.read() as repos:
        return [line.text for line in await repos.logs.read(job.id, after=0, limit=1000)]


@pytest.mark.parametrize("code", [0, 3])
async def test_what_a_script_left_is_recorded_with_its_result_whatever_that_is(rig: Rig, code: int):
    shelf = a_shelf(rig)
    job = await supervise(rig, await rig.claimed(), shelf, {"a/report.csv": b"1,2\n"}, code)

    [artifact] = await kept(rig, job)
    assert job.status is (JobStatus.SUCCEEDED if code == 0 else JobStatus.FAILED)
    assert (artifact.name, artifact.size, artifact.attempt) == ("a/report.csv", 4, 1)
    path = shelf.file(artifact)
    assert path is not None
    assert path.read_bytes() == b"1,2\n"
    assert [*rig.surroundings.attempts.iterdir()] == []


async def test_a_job_without_artifacts_leaves_no_trace(rig: Rig):
    shelf = a_shelf(rig)
    job = await supervise(rig, await rig.claimed(), shelf, {})
    assert await kept(rig, job) == []
    assert not shelf.root.exists()
    assert await lines(rig, job) == []


async def test_what_is_not_kept_is_said_in_the_log_and_the_result_stays_what_it_is(rig: Rig):
    job = await supervise(rig, await rig.claimed(), a_shelf(rig), {"big": b"x" * 2000, "small": b"x"})
    assert job.status is JobStatus.SUCCEEDED
    assert [artifact.name for artifact in await kept(rig, job)] == ["small"]
    assert await lines(rig, job) == [
        "The artifact 'big' (2000 bytes) is more than the 1000 bytes that a job may leave: it is not kept."
    ]


async def test_what_the_last_attempt_left_takes_the_place_of_what_those_before_it_left(rig: Rig):
    shelf = a_shelf(rig)
    first = await rig.claimed(retry=a_retry())
    job = await supervise(rig, first, shelf, {"a": b"1", "b": b"1"}, 1)
    assert [artifact.name for artifact in await kept(rig, job)] == ["a", "b"]

    (second,) = await claimed_again(rig)
    job = await supervise(rig, second, shelf, {"b": b"2"})

    [artifact] = await kept(rig, job)
    assert (artifact.name, artifact.attempt) == ("b", 2)
    assert [path.name for path in (shelf.root / job.id).iterdir()] == [artifact.folder]


async def test_an_attempt_that_left_nothing_leaves_nothing_of_those_before_it(rig: Rig):
    shelf = a_shelf(rig)
    job = await supervise(rig, await rig.claimed(retry=a_retry()), shelf, {"a": b"1"}, 1)
    (second,) = await claimed_again(rig)
    assert await kept(rig, await supervise(rig, second, shelf, {})) == []
    assert not (shelf.root / job.id).exists()


def a_retry():
    from orchestrator.model.specs import RetryPolicy

    return RetryPolicy(attempts=2, delay=timedelta(seconds=1), jitter=0)


async def claimed_again(rig: Rig) -> list[Claim]:
    rig.clock.advance(timedelta(minutes=1))
    return await rig.claim()


async def test_a_supervisor_that_lost_its_job_spoils_nothing_of_the_next_ones(rig: Rig):
    shelf = a_shelf(rig)
    claim = await rig.claimed()
    source = rig.surroundings.artifacts(claim.job)
    put(source, "a", b"1")
    late = await shelf.take(claim, source, at=NEW_YEAR)
    again = await shelf.take(replace(claim, fence=claim.fence + 1), source, at=NEW_YEAR)

    await shelf.keep_only(claim.job.id, again)

    assert [shelf.file(one).is_file() for one in (*late.artifacts, *again.artifacts)] == [False, True]


async def test_a_cancelled_supervision_stops_copying_and_the_next_one_takes_all(rig: Rig, monkeypatch):
    shelf = a_shelf(rig)
    claim = await rig.claimed()
    source = rig.surroundings.artifacts(claim.job)
    for name in "abc":
        put(source, name)
    taking = asyncio.create_task(shelf.take(claim, source, at=NEW_YEAR))
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    taken = await shelf.take(claim, source, at=NEW_YEAR)

    assert [artifact.name for artifact in taken.artifacts] == ["a", "b", "c"]


async def test_artifacts_that_cannot_be_kept_at_all_do_not_keep_a_job_from_its_end(rig: Rig):
    shelf = a_shelf(rig)
    shelf.root.write_text("a file where the directory should be")
    job = await supervise(rig, await rig.claimed(), shelf, {"a": b"1"})
    assert job.status is JobStatus.SUCCEEDED
    assert "could not be kept: Not a directory" in (await lines(rig, job))[0]


# The watch


async def test_a_script_that_leaves_too_much_is_ended_with_a_limit(rig: Rig):
    shelf = a_shelf(rig)
    claim = await rig.claimed()
    running = asyncio.create_task(rig.runner(shelf=shelf).run(claim, asyncio.Event()))
    process = await process_of(rig, claim)
    source = rig.surroundings.artifacts(claim.job)
    put(source, "small", b"x")
    while not shelf.watch._watched:
        await asyncio.sleep(0)
    await shelf.watch.look()
    assert process.signals == []
    put(source, "big", b"x" * 2000)

    await shelf.watch.look()
    async with asyncio.timeout(20):
        await running

    job = await rig.job(claim.job.id)
    assert (job.status, job.reason) == (JobStatus.FAILED, Reason.LIMIT)
    assert "artifact_max_bytes" in (job.message or "")
    assert [artifact.name for artifact in await kept(rig, job)] == ["small"]
    assert shelf.watch._watched == {}


@pytest.mark.parametrize("what", ["files", "directories", "links"])
async def test_too_many_names_are_too_much(source: Path, what: str):
    watch = ArtifactWatch(LIMITS)
    with watch.on(source) as too_much:
        for number in range(LIMITS.max_files + 1):
            path = source / str(number)
            if what == "files":
                path.touch()
            elif what == "directories":
                path.mkdir()
            else:
                path.symlink_to("/")
            assert not too_much.is_set()
            await watch.look()
        assert too_much.is_set()


async def test_a_directory_that_stays_empty_is_only_looked_at_by_its_time(source: Path, monkeypatch):
    watch = ArtifactWatch(LIMITS)
    os.utime(source, (1, 1))
    with watch.on(source) as too_much:
        await watch.look()
        monkeypatch.setattr(os, "scandir", lambda path: pytest.fail("it was listed"))
        await watch.look()
        monkeypatch.undo()
        put(source, "big", b"x" * 2000)
        await watch.look()
        assert too_much.is_set()


@pytest.mark.parametrize("swap", ["fifo", "link"])
async def test_a_directory_that_is_swapped_keeps_nobody_waiting(source: Path, monkeypatch, swap: str):
    """Between the look at a name and its opening: opening a FIFO would hold up the watch of all jobs."""
    put(source, "dir/file")
    real = os.open

    def late(path, flags, *more, **named):
        if path == "dir":
            (source / "dir").rename(source.parent / "moved")
            (source / "dir").symlink_to("/") if swap == "link" else os.mkfifo(source / "dir")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", late)
    watch = ArtifactWatch(LIMITS)
    with watch.on(source) as too_much:
        async with asyncio.timeout(20):
            await watch.look()
        assert not too_much.is_set()


async def test_an_attempt_that_is_supervised_anew_is_watched_also_when_its_earlier_supervision_ends(source: Path):
    """A server that lost a job to another one and got it back may see to it twice for a while."""
    watch = ArtifactWatch(LIMITS)
    earlier = watch.on(source)
    earlier.__enter__()
    with watch.on(source) as too_much:
        earlier.__exit__(None, None, None)
        put(source, "a", b"x" * 1001)
        await watch.look()
        assert too_much.is_set()
    assert watch._watched == {}


async def test_what_lies_so_deep_that_it_cannot_be_kept_is_too_much(source: Path):
    (source / "/".join("d" * 66)).mkdir(parents=True)
    watch = ArtifactWatch(replace(LIMITS, max_files=1000))
    with watch.on(source) as too_much:
        await watch.look()
        assert too_much.is_set()


async def test_a_directory_that_is_gone_is_not_too_much(source: Path):
    watch = ArtifactWatch(LIMITS)
    with watch.on(source) as too_much:
        source.rmdir()
        await watch.look()
        assert not too_much.is_set()


# The upkeep


def an_upkeep(rig: Rig, shelf: Shelf) -> ArtifactUpkeep:
    return ArtifactUpkeep(store=rig.store, clock=rig.clock, shelf=shelf, retention=timedelta(days=30))


async def test_artifacts_are_removed_with_their_records_when_their_time_is_over(rig: Rig):
    shelf = a_shelf(rig)
    old = await supervise(rig, await rig.claimed(), shelf, {"a": b"1", "b": b"1"})
    rig.clock.advance(timedelta(days=29))
    young = await supervise(rig, await rig.claimed(), shelf, {"a": b"1"})
    assert await an_upkeep(rig, shelf).remove_expired() == 0
    rig.clock.advance(timedelta(days=2))

    assert await an_upkeep(rig, shelf).remove_expired() == 1

    assert (await kept(rig, old), len(await kept(rig, young))) == ([], 1)
    assert [path.name for path in shelf.root.iterdir()] == [young.id]


async def test_folders_that_no_record_names_are_removed_an_hour_later(rig: Rig):
    shelf = a_shelf(rig)
    job = await supervise(rig, await rig.claimed(), shelf, {"a": b"1"})
    put(shelf.root, f"{job.id}/9-9/a")
    put(shelf.root, "job_of_nobody/1-1/a")
    put(shelf.root, "job_new/1-1/a")
    running = await rig.claimed()
    put(shelf.root, f"{running.job.id}/1-1/a")  # copied, and about to be recorded
    for folder in shelf.root.glob("*/*"):
        if folder.parent.name != "job_new":
            os.utime(folder, (1, 1))
    at = shelf.root / "job_new" / "1-1"
    os.utime(at, (rig.clock.now().timestamp(),) * 2)

    assert await an_upkeep(rig, shelf).remove_strays() == 2

    left = {str(path.relative_to(shelf.root)) for path in shelf.root.glob("*/*")}
    assert left == {f"{job.id}/1-1", f"{running.job.id}/1-1", "job_new/1-1"}
    assert not (shelf.root / "job_of_nobody").exists()


async def test_what_a_database_knows_nothing_of_is_kept_for_its_time(rig: Rig):
    """A server that was started with another database by mistake must not remove the files of the right one."""
    shelf = a_shelf(rig)
    put(shelf.root, "job_of_another_database/1-1/a")
    folder = shelf.root / "job_of_another_database" / "1-1"
    upkeep = an_upkeep(rig, shelf)
    made = (rig.clock.now() - upkeep.retention + timedelta(minutes=1)).timestamp()
    os.utime(folder, (made, made))

    assert await upkeep.remove_strays() == 0
    assert (folder / "a").exists()
    rig.clock.advance(timedelta(minutes=2))
    assert await upkeep.remove_strays() == 1
    assert not folder.exists()


# Steps


def wanting(job: Job, name: str, artifact: str | None) -> Job:
    wanted = GivenArtifact(name=name, step="extract", job_id=job.id, artifact=artifact)
    return a_job(id="job_2", spec=a_spec(artifacts=(wanted,)))


async def test_a_step_finds_what_it_asks_for_read_only_under_its_own_name(rig: Rig):
    shelf = a_shelf(rig)
    job = await supervise(rig, await rig.claimed(), shelf, {"report.csv": b"1,2\n", "d/x": b"x"})
    one, all_ = wanting(job, "in/data.csv", "report.csv"), wanting(job, "all", None)

    spec = prepare(
        one,
        rig.surroundings,
        placed(rig.surroundings.directory(one)),
        *await find_given(rig.store, shelf, one),
        *await find_given(rig.store, shelf, all_),
    )

    files = Path(spec.env["CRONIUM_FILES"])
    assert files == spec.directory / "artifacts"
    found = {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
    assert found == {"in/data.csv": b"1,2\n", "all/report.csv": b"1,2\n", "all/d/x": b"x"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.rglob("*")} == {0o444, 0o555}
    assert stat.S_IMODE((shelf.root / job.id / "1-1" / "report.csv").stat().st_mode) & 0o200
    clean(one, rig.surroundings)


async def test_what_a_step_asks_for_and_is_not_there_is_named(rig: Rig):
    shelf = a_shelf(rig)
    job = await supervise(rig, await rig.claimed(), shelf, {"report.csv": b"1"})
    with pytest.raises(StartFailedError, match=r"Step 'extract' left no artifact 'x'; it left 'report.csv'"):
        await find_given(rig.store, shelf, wanting(job, "data", "x"))
    with pytest.raises(StartFailedError, match="lies on another server"):
        await find_given(rig.store, a_shelf(rig, place="there"), wanting(job, "data", "report.csv"))
    (shelf.root / job.id / "1-1" / "report.csv").unlink()
    with pytest.raises(StartFailedError, match="is gone"):
        await find_given(rig.store, shelf, wanting(job, "data", "report.csv"))
    empty = await supervise(rig, await rig.claimed(), shelf, {})
    with pytest.raises(StartFailedError, match="Step 'extract' left no artifacts; it left none"):
        await find_given(rig.store, shelf, wanting(empty, "data", None))
