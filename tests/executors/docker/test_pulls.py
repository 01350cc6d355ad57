"""Pulling: what a job's log says of it, one pull for many, broken off when nobody wants it, and by policy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Executor, Process
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import PullPolicy
from tests.executors.docker.engine_for_tests import IMAGE, docker, make_spec, open_executor, open_proxy
from tests.executors.docker.registry import Gate, Registry, open_gate, registry_for_tests
from tests.executors.docker.told import Told
from tests.fakes import FakeClock
from tests.suites.executor_suite import finish

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

PIECE = 400_000  # of each blob passes the gate at first: the description of the image does, its layers do not


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with registry_for_tests() as registry:
        yield registry


@pytest.fixture
async def gate(registry: Registry) -> AsyncIterator[Gate]:
    async with open_gate(registry) as gate:
        yield gate


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[Executor]:
    async with open_executor(tmp_path) as executor:
        yield executor


async def ran(process: Process) -> bytes:
    seen = await finish(process)
    await process.remove()
    return seen.stdout


def is_here(image: str) -> bool:
    return docker("images", "-q", image) != ""


async def test_the_log_says_that_an_image_is_pulled_how_far_it_is_and_how_long_it_took(
    registry: Registry, gate: Gate, executor: Executor, tmp_path: Path
):
    image = registry.through(registry.push(megabytes=6, layers=2), gate.port)
    gate.budget = PIECE
    told = Told()
    async with asyncio.TaskGroup() as tasks:
        starting = tasks.create_task(executor.start(make_spec(tmp_path, "echo ran", image=image), told))
        await is_held(gate)
        gate.open.set()
        assert await ran(await starting) == b"ran\n"
    assert told.lines[0] == f"Pulling {image}"
    assert re.fullmatch(rf"Pulled {re.escape(image)} in \d+\.\d s: sha256:[0-9a-f]{{64}}", told.lines[-1])
    assert told.facts["image"] == {
        "name": image,
        "id": docker("inspect", "-f", "{{.Id}}", image),
        "digest": f"{image.rpartition(':')[0]}@{told.lines[-1].rpartition(' ')[2]}",
    }


async def test_progress_is_told_at_most_every_two_seconds_in_bytes_and_layers(
    registry: Registry, gate: Gate, tmp_path: Path
):
    """The clock moves once, so that there is one line, however often the engine said something."""
    image = registry.through(registry.push(megabytes=6, layers=2), gate.port)
    gate.budget, clock, told = PIECE, FakeClock(), Told()
    async with open_executor(tmp_path, clock=clock) as executor, asyncio.TaskGroup() as tasks:
        starting = tasks.create_task(executor.start(make_spec(tmp_path, "echo ran", image=image), told))
        await is_held(gate)
        clock.advance(timedelta(seconds=2))
        gate.open.set()
        assert await ran(await starting) == b"ran\n"
    first, progress, last = told.lines
    assert first == f"Pulling {image}"
    assert re.fullmatch(rf"Pulling {re.escape(image)}: \d\.\d (of \d\.\d )?MB, \d of \d layers done", progress)
    assert last.startswith(f"Pulled {image} in 2.0 s: sha256:")


async def test_ten_jobs_that_want_one_image_share_a_pull_and_each_log_tells_of_it(
    registry: Registry, gate: Gate, tmp_path: Path
):
    image = registry.through(registry.push(megabytes=2), gate.port)
    gate.budget = PIECE
    logs = [Told() for _ in range(10)]
    async with (
        open_proxy(tmp_path / "p.sock") as proxy,
        open_executor(tmp_path, endpoint=f"unix://{tmp_path}/p.sock") as executor,
        asyncio.TaskGroup() as tasks,
    ):
        starting = [
            tasks.create_task(executor.start(make_spec(tmp_path, "echo ran", image=image), told)) for told in logs
        ]
        await is_held(gate)
        for told in logs:
            await told.until(f"Pulling {image}")
        gate.open.set()
        for process in await asyncio.gather(*starting):
            assert await ran(process) == b"ran\n"
        assert len([line for line in proxy.seen if "POST /images/create" in line]) == 1
    assert sum("which another job has begun" in told.lines[0] for told in logs) == 9
    assert all(told.lines[-1].startswith(f"Pulled {image} in ") for told in logs)


async def test_a_job_that_is_cancelled_leaves_the_pull_to_the_others(
    registry: Registry, gate: Gate, executor: Executor, tmp_path: Path
):
    image = registry.through(registry.push(megabytes=2), gate.port)
    gate.budget = PIECE
    one, other = Told(), Told()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(executor.start(make_spec(tmp_path, "echo first", image=image), one))
        await one.until(f"Pulling {image}")
        second = tasks.create_task(executor.start(make_spec(tmp_path, "echo second", image=image), other))
        await is_held(gate)
        await other.until("which another job has begun")
        first.cancel()
        await asyncio.wait({first})
        gate.open.set()
        assert await ran(await second) == b"second\n"
    assert first.cancelled()
    assert not any(line.startswith("Pulled") for line in one.lines)


async def test_a_pull_that_nobody_waits_for_any_more_is_broken_off_and_begun_anew_by_the_next(
    registry: Registry, gate: Gate, executor: Executor, tmp_path: Path
):
    image = registry.through(registry.push(megabytes=24), gate.port)
    gate.budget = 4_000_000  # the layer with the shell passes, the other one does not
    waiting = [asyncio.ensure_future(executor.start(make_spec(tmp_path, "true", image=image))) for _ in range(3)]
    await is_held(gate)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert all(task.cancelled() for task in waiting)
    gate.open.set()  # an engine of this version notices with the next byte
    async with asyncio.timeout(60):
        await gate.left.wait()
    assert gate.passed < 16_000_000
    assert not is_here(image)
    told = Told()
    assert await ran(await executor.start(make_spec(tmp_path, "echo again", image=image), told)) == b"again\n"
    assert told.lines[0] == f"Pulling {image}"


async def test_a_long_pull_does_not_keep_two_starts_of_one_name_from_meeting(
    registry: Registry, gate: Gate, tmp_path: Path
):
    """The time to wait for whoever has the name begins when the image is there."""
    image = registry.through(registry.push(megabytes=2), gate.port)
    gate.budget, clock, spec = PIECE, FakeClock(), make_spec(tmp_path, "echo ran", image=image)
    async with open_executor(tmp_path, clock=clock) as one, open_executor(tmp_path, clock=clock) as other:
        starting = [asyncio.ensure_future(executor.start(spec)) for executor in (one, other)]
        await is_held(gate)
        clock.advance(timedelta(minutes=5))
        gate.open.set()
        processes = await asyncio.gather(*starting)
        for process in processes:
            assert (await finish(process)).stdout == b"ran\n"
        await processes[0].remove()


async def test_two_servers_pull_the_same_image_and_one_that_gives_up_does_not_stop_the_other(
    registry: Registry, gate: Gate, tmp_path: Path
):
    image = registry.through(registry.push(megabytes=2), gate.port)
    gate.budget = PIECE
    async with open_executor(tmp_path / "a") as one, open_executor(tmp_path / "b") as other:
        told = Told()
        leaving = asyncio.ensure_future(one.start(make_spec(tmp_path / "a", "echo one", image=image)))
        staying = asyncio.ensure_future(other.start(make_spec(tmp_path / "b", "echo other", image=image), told))
        await is_held(gate)
        leaving.cancel()
        await asyncio.wait({leaving})
        gate.open.set()
        assert await ran(await staying) == b"other\n"
        assert told.lines[-1].startswith(f"Pulled {image} in ")
        assert await ran(await one.start(make_spec(tmp_path / "a", "echo one", image=image))) == b"one\n"


async def test_an_image_that_is_here_costs_no_word_with_the_registry(
    registry: Registry, gate: Gate, executor: Executor, tmp_path: Path
):
    image = registry.through(registry.push(), gate.port)
    assert await ran(await executor.start(make_spec(tmp_path, "echo ran", image=image))) == b"ran\n"
    asked, told = len(gate.requests), Told()
    for policy in (PullPolicy.MISSING, PullPolicy.NEVER):
        spec = make_spec(tmp_path, "echo ran", image=image, pull=policy)
        assert await ran(await executor.start(spec, told)) == b"ran\n"
    assert (told.lines, len(gate.requests)) == ([], asked)
    assert isinstance(told.facts["image"], dict)
    assert str(told.facts["image"]["digest"]).startswith(f"{image.rpartition(':')[0]}@sha256:")


async def test_always_runs_what_the_name_stands_for_now_and_missing_what_is_here(
    registry: Registry, executor: Executor, tmp_path: Path
):
    image = registry.push()
    facts = []
    for policy, expected in (
        (PullPolicy.ALWAYS, "Pulled "),
        (PullPolicy.ALWAYS, f"{image} is up to date"),
    ):
        told = Told()
        await ran(await executor.start(make_spec(tmp_path, "true", image=image, pull=policy), told))
        assert told.lines[-1].startswith(expected)
        facts.append(told.facts["image"])
    docker("rmi", image)
    registry.push(name=image)
    await ran(await executor.start(make_spec(tmp_path, "true", image=image, pull=PullPolicy.ALWAYS), told := Told()))
    facts.append(told.facts["image"])
    assert facts[0] == facts[1] != facts[2]
    assert told.lines[-1].startswith("Pulled ")


async def test_an_image_that_never_was_in_a_registry_has_no_digest(executor: Executor, tmp_path: Path):
    told = Told()
    assert await ran(await executor.start(make_spec(tmp_path, "echo ran"), told)) == b"ran\n"
    assert told.lines == []
    assert told.facts["image"] == {"name": IMAGE, "id": docker("inspect", "-f", "{{.Id}}", IMAGE), "digest": None}


async def test_a_tag_that_the_registry_does_not_have_is_said_in_its_words(
    registry: Registry, executor: Executor, tmp_path: Path
):
    image = f"{registry.push().rpartition(':')[0]}:none"
    told = Told()
    with pytest.raises(StartFailedError) as failure:
        await executor.start(make_spec(tmp_path, "true", image=image), told)
    assert failure.value.reason == Reason.IMAGE_UNAVAILABLE
    assert f"The image {image} is not here and could not be pulled: " in failure.value.message
    assert "manifest unknown" in failure.value.message
    assert "Check the name and the tag" in failure.value.message
    assert told.lines == [f"Pulling {image}"]


async def test_a_registry_that_does_not_exist_is_said_in_the_engines_words(executor: Executor, tmp_path: Path):
    with pytest.raises(StartFailedError, match=r"finds no machine of the name registry\.invalid") as failure:
        await executor.start(make_spec(tmp_path, "true", image="registry.invalid/none:1"))
    assert failure.value.reason == Reason.IMAGE_UNAVAILABLE
    assert "no such host" in failure.value.message or "name resolution" in failure.value.message


async def test_a_registry_that_hangs_is_given_up_after_the_limit_for_saying_nothing(
    registry: Registry, gate: Gate, tmp_path: Path
):
    image = registry.through(registry.push(megabytes=2), gate.port)
    gate.budget = PIECE
    async with open_executor(tmp_path, pull_idle_seconds=1.0) as executor:
        with pytest.raises(StartFailedError, match="made no progress for 1 s") as failure:
            await executor.start(make_spec(tmp_path, "true", image=image))
        assert failure.value.reason == Reason.IMAGE_UNAVAILABLE
        assert f"127.0.0.1:{gate.port}" in failure.value.message
        gate.open.set()
        assert await ran(await executor.start(make_spec(tmp_path, "echo ran", image=image))) == b"ran\n"


async def test_a_registry_that_accepts_and_says_nothing_is_given_up_too(registry: Registry, gate: Gate, tmp_path: Path):
    """The engine does not even begin to answer then."""
    gate.budget = -1
    async with open_executor(tmp_path, pull_idle_seconds=1.0) as executor:
        with pytest.raises(StartFailedError, match="made no progress for 1 s"):
            await executor.start(make_spec(tmp_path, "true", image=f"127.0.0.1:{gate.port}/cronium/test:1"))


async def test_an_engine_that_is_away_is_not_taken_for_a_registry_that_is(tmp_path: Path):
    async with open_executor(tmp_path, endpoint=f"unix://{tmp_path}/none.sock") as executor:
        with pytest.raises(UnavailableError, match=r"none\.sock"):
            await executor.start(make_spec(tmp_path, "true", pull=PullPolicy.ALWAYS))


async def is_held(gate: Gate) -> None:
    async with asyncio.timeout(60):
        await gate.held.wait()
