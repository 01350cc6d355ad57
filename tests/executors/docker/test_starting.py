"""What is refused, what is found under a name, and that nothing runs twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Signal
from orchestrator.errors import ConflictError, StartFailedError, UnavailableError
from orchestrator.executors.docker.registry import split_reference
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Limits, PullPolicy
from tests.executors.docker.engine_for_tests import (
    IMAGE,
    docker,
    inspect,
    installation,
    make_spec,
    open_executor,
    open_proxy,
)
from tests.suites.executor_suite import finish, read_until

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

NOWHERE = "127.0.0.1:1/cronium/none:none"  # a registry that refuses at once


async def refusal(state: Path, **changes: object) -> StartFailedError:
    """The error of a start that fails; nothing may be left of it."""
    async with open_executor(state) as executor:
        spec = make_spec(state, "echo ran", **changes)
        with pytest.raises(StartFailedError) as failure:
            await executor.start(spec)
        assert await executor.attach(spec.name) is None
    return failure.value


async def test_an_image_that_is_not_there_and_may_not_be_pulled(tmp_path: Path):
    error = await refusal(tmp_path, image=NOWHERE, pull=PullPolicy.NEVER)
    assert error.reason == Reason.IMAGE_UNAVAILABLE
    assert NOWHERE in error.message


@pytest.mark.parametrize("policy", [PullPolicy.MISSING, PullPolicy.ALWAYS])
async def test_an_image_that_cannot_be_pulled_says_so_in_the_registrys_words(tmp_path: Path, policy: PullPolicy):
    error = await refusal(tmp_path, image=NOWHERE, pull=policy)
    assert error.reason == Reason.IMAGE_UNAVAILABLE
    assert "refused" in error.message


async def test_an_image_that_is_here_is_not_pulled(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        process = await executor.start(make_spec(tmp_path, "echo here", pull=PullPolicy.MISSING))
        assert (await finish(process)).stdout == b"here\n"
        await process.remove()


async def test_no_image_is_an_invalid_job(tmp_path: Path):
    assert (await refusal(tmp_path, image=None)).reason == Reason.INVALID


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"argv": ["cronium-no-such-command"]}, "cronium-no-such-command"),
        ({"argv": ["/etc/passwd"]}, "/etc/passwd"),
        ({"argv": ["/etc"]}, "/etc"),
        ({"workdir": "/no/such/directory"}, "/no/such/directory"),
        ({"workdir": "/etc/passwd"}, "/etc/passwd"),
        ({"network": "cronium-no-such-network"}, "cronium-no-such-network"),
        ({"limits": Limits(memory_bytes=1024)}, "memory"),
    ],
)
async def test_what_the_image_or_engine_lacks_is_named(tmp_path: Path, changes: dict, named: str):
    error = await refusal(tmp_path, **changes)
    assert error.reason == Reason.INVALID
    assert named in error.message.lower()


async def test_a_command_is_found_on_the_images_path(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        for _ in range(2):
            process = await executor.start(make_spec(tmp_path, "", argv=["echo", "found"]))
            assert (await finish(process)).stdout == b"found\n"
            await process.remove()


async def test_a_container_that_was_made_and_never_started_is_never_started(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        spec = make_spec(tmp_path, "echo ran")
        made(tmp_path, spec.name)
        assert await executor.attach(spec.name) is None
        assert spec.name not in docker("ps", "-a", "--format", "{{.Names}}").split()


async def test_a_start_takes_the_place_of_one_that_died_before_starting(tmp_path: Path):
    async with open_executor(tmp_path, settle_seconds=0.2) as executor:
        spec = make_spec(tmp_path, "echo ran")
        made(tmp_path, spec.name)
        process = await executor.start(spec)
        assert (await finish(process)).stdout == b"ran\n"
        await process.remove()


async def test_a_name_of_somebody_elses_container_is_left_alone(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        spec = make_spec(tmp_path, "echo ran")
        made(tmp_path, spec.name, label="somebody-else")
        try:
            with pytest.raises(ConflictError, match=spec.name):
                await executor.attach(spec.name)
            with pytest.raises(StartFailedError) as failure:
                await executor.start(spec)
            assert failure.value.reason == Reason.INVALID
            assert await executor.sweep(frozenset()) == []
            assert inspect(spec.name)["State"]["Status"] == "created"
        finally:
            docker("rm", spec.name)


def made(state: Path, name: str, label: str | None = None) -> None:
    """A container of this installation (or `label`) that was made and not started."""
    docker("create", "--name", name, "--label", f"cronium.installation={label or installation(state)}", IMAGE, "true")


async def test_many_starts_of_one_name_run_it_once(tmp_path: Path):
    async with open_executor(tmp_path) as one, open_executor(tmp_path) as other:
        for _ in range(10):
            spec = make_spec(tmp_path, "echo ran")
            processes = await asyncio.gather(*(executor.start(spec) for executor in (one, other) * 3))
            for process in processes:
                assert (await finish(process)).stdout == b"ran\n"
            await processes[0].remove()


async def test_a_start_that_is_cancelled_anywhere_runs_once_or_never(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        for milliseconds in range(0, 200, 10):
            spec = make_spec(tmp_path, "echo ran; sleep 0.1")
            starting = asyncio.ensure_future(executor.start(spec))
            await asyncio.wait({starting}, timeout=milliseconds / 1000)
            starting.cancel()
            await asyncio.wait({starting})
            found = await executor.attach(spec.name)
            if found is not None:
                assert (await finish(found)).stdout == b"ran\n"
                await found.remove()
        await executor.sweep(frozenset())


async def test_a_container_removed_by_others_while_it_ran_is_lost(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        process = await executor.start(make_spec(tmp_path, "echo up; sleep 1000"))
        await read_until(process, b"up\n")
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(finish(process))
            tasks.create_task(asyncio.to_thread(docker, "rm", "-f", process.name))
        exit_ = ending.result().exit
        assert (exit_.code, exit_.reason) == (None, Reason.LOST)
        assert "removed" in (exit_.note or "")


async def test_term_reaches_the_script_where_no_command_can_be_run_beside_it(tmp_path: Path):
    fill = "i=0; while [ $i -lt 28 ]; do sleep 1000 & i=$((i+1)); done"
    script = f"trap 'echo caught; exit 7' TERM; {fill}; echo ready; wait"
    async with open_executor(tmp_path) as executor:
        process = await executor.start(make_spec(tmp_path, script, limits=Limits(pids=31)))
        await read_until(process, b"ready\n")
        await process.signal(Signal.TERM)
        seen = await finish(process)
        assert (seen.stdout, seen.exit.code) == (b"ready\ncaught\n", 7)
        await process.remove()


async def test_more_than_a_hundred_open_streams_do_not_keep_a_job_from_starting(tmp_path: Path):
    """More than an HTTP client has connections by default: the next call would wait for ever, without an error."""
    async with open_executor(tmp_path) as executor:
        process = await executor.start(make_spec(tmp_path, "echo up; sleep 1000"))
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(process.wait()) for _ in range(120)]
            await read_until(process, b"up\n")
            last = await executor.start(make_spec(tmp_path, "echo last"))
            assert (await finish(last)).stdout == b"last\n"
            assert not any(task.done() for task in waiting)
            await process.signal(Signal.KILL)
        assert {task.result().code for task in waiting} == {137}
        assert len(await executor.sweep(frozenset())) == 2


async def test_an_engine_that_vanishes_between_two_calls_is_unavailable(tmp_path: Path):
    async with open_executor(tmp_path, endpoint=f"unix://{tmp_path}/none.sock") as executor:
        with pytest.raises(UnavailableError, match=r"none\.sock"):
            await executor.attach("cronium-tests-none-1")


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("debian", ("debian", "latest")),
        ("debian:12", ("debian", "12")),
        ("127.0.0.1:5000/a/b", ("127.0.0.1:5000/a/b", "latest")),
        ("127.0.0.1:5000/a/b:c", ("127.0.0.1:5000/a/b", "c")),
        ("a@sha256:00", ("a@sha256:00", None)),
    ],
)
async def test_an_image_without_a_tag_is_the_latest_and_not_all(image: str, parts: tuple[str, str | None]):
    assert split_reference(image) == parts


async def test_a_start_asks_the_engine_four_times(tmp_path: Path):
    """Make, look which image it is of, attach, start: each call is time that every job takes, and more are not needed."""
    async with (
        open_proxy(tmp_path / "proxy.sock") as proxy,
        open_executor(tmp_path, endpoint=f"unix://{tmp_path}/proxy.sock") as executor,
    ):
        for _ in range(2):  # the first one learns what is remembered; the image was never in a registry
            before = len(proxy.seen)
            process = await executor.start(make_spec(tmp_path, "echo ran"))
            calls = [line.split()[:2] for line in proxy.seen[before:]]
            assert (await finish(process)).stdout == b"ran\n"
            await process.remove()
    assert [f"{method} {path.partition('?')[0].rpartition('/')[2]}" for method, path in calls] == [
        "POST create",
        "GET json",
        "POST attach",
        "POST start",
    ]
