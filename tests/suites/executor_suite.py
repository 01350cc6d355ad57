"""What every executor promises (contracts/executor.py), as tests to be subclassed by the tests of each executor."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from orchestrator.contracts.executor import Executor, Exit, Process, ProcessSpec, Signal
from orchestrator.errors import StartFailedError
from orchestrator.model.jobs import Reason
from orchestrator.model.logs import Chunk, Cursor, Position, Stream

LONG_LINE_BYTES = 3 * 1024 * 1024
COUNT = """i=0; while [ $i -lt {lines} ]; do echo "line $i"; i=$((i+1)); done"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All output of a process and how it ended."""

    stdout: bytes
    stderr: bytes
    exit: Exit


async def read(process: Process, after: Cursor | None = None) -> tuple[bytes, bytes]:
    """Read all output from `after` on, checking what holds for every chunk."""
    parts: dict[Stream, list[bytes]] = {Stream.STDOUT: [], Stream.STDERR: []}
    async for chunk in process.output(after or Cursor()):
        assert chunk.at.tzinfo is not None
        assert chunk.at.utcoffset() == timedelta(0)
        parts[chunk.stream].append(chunk.data)
    return b"".join(parts[Stream.STDOUT]), b"".join(parts[Stream.STDERR])


async def finish(process: Process) -> Seen:
    """Read all output and wait, at the same time as the engine does."""
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(process.wait())
        reading = tasks.create_task(read(process))
    stdout, stderr = reading.result()
    return Seen(stdout=stdout, stderr=stderr, exit=waiting.result())


async def read_until(process: Process, text: bytes) -> bytes:
    """Read from the start until stdout holds `text`; reading may begin anew afterwards."""
    seen = b""
    async with aclosing(_chunks(process)) as chunks:
        async for chunk in chunks:
            if chunk.stream is Stream.STDOUT:
                seen += chunk.data
            if text in seen:
                return seen
    pytest.fail(f"the process ended without printing {text!r}; it printed {seen!r}")


async def _chunks(process: Process):
    stream = process.output(Cursor())
    try:
        async for chunk in stream:
            yield chunk
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


def position(data: bytes, cut: int) -> Position:
    """The position after `cut` bytes of a stream that holds `data`."""
    taken = data[:cut]
    return Position(bytes=cut, newlines=taken.count(b"\n"), tail=cut - (taken.rfind(b"\n") + 1))


def running_with(marker: str) -> list[str]:
    """The command lines on this machine that hold `marker`; containers of a daemon on this machine are seen too."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if marker in line:
            found.append(f"{entry.name}: {line}")
    return found


def marker() -> str:
    """A number of seconds to sleep that no other process on the machine sleeps."""
    return str(random.randrange(100_000_000, 999_999_999))


async def gone(search: str) -> None:
    """Wait until no process has `search` in its command line."""
    async with asyncio.timeout(20):
        while running_with(search):
            await asyncio.sleep(0.02)  # polling with a deadline: nobody announces the end of a foreign process


class ExecutorSuite:
    """
    Subclass it as `TestXExecutor` and override `open_executor`, the attributes, and `spec` where needed.

    A promise that an executor cannot keep is named there: its test is set to None, with the reason.
    """

    image: ClassVar[str | None] = None
    missing_interpreter: ClassVar[str] = "/nonexistent/interpreter"

    def open_executor(self, state: Path) -> AbstractAsyncContextManager[Executor]:
        """Open an executor. The same `state` is the same installation, another one another."""
        raise NotImplementedError

    def spec(self, executor: Executor, state: Path, script: str, **changes: Any) -> ProcessSpec:
        """A specification that runs `script` with /bin/sh under a fresh name; `changes` replaces fields of it."""
        name = changes.pop("name", None) or f"cronium-suite-{uuid.uuid4().hex[:12]}-1"
        directory = state / "attempts" / name
        directory.mkdir(parents=True, exist_ok=True)
        placement = executor.placement(directory)
        env = {**placement.env, **changes.pop("env", {})}
        made = ProcessSpec(
            name=name,
            directory=directory,
            argv=["/bin/sh", "-c", script],
            env=env,
            workdir=placement.workdir,
            labels={"suite": "executor"},
            image=self.image,
        )
        return replace(made, **changes)

    async def run(self, executor: Executor, state: Path, script: str, **changes: Any) -> Seen:
        """Start `script`, see it through and remove it."""
        process = await executor.start(self.spec(executor, state, script, **changes))
        try:
            return await finish(process)
        finally:
            await process.remove()

    # How it ends

    @pytest.mark.parametrize(
        ("script", "code"),
        [("exit 0", 0), ("exit 1", 1), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)],
    )
    async def test_the_exit_code_is_the_scripts(self, tmp_path: Path, script: str, code: int):
        async with self.open_executor(tmp_path) as executor:
            # A second command keeps the shell from handing its process over to the first.
            seen = await self.run(executor, tmp_path, f"sh -c '{script}'; exit $?")
        assert seen.exit.code == code
        assert seen.exit.reason is None

    async def test_a_signal_that_ends_the_script_itself_is_128_and_its_number(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, "sh -c 'kill -9 $PPID'; sleep 1000")
        assert seen.exit.code == 137

    async def test_the_end_has_its_times_in_utc(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, "exit 0")
        assert seen.exit.started_at is not None
        assert seen.exit.finished_at is not None
        assert seen.exit.started_at.astimezone(UTC) == seen.exit.started_at
        assert seen.exit.started_at <= seen.exit.finished_at

    async def test_waiting_again_gives_the_same_answer(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, "exit 3"))
            both = await asyncio.gather(process.wait(), process.wait())
            assert both[0] == both[1] == await process.wait()
            await process.remove()

    # What it printed

    async def test_the_streams_are_kept_apart(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, "echo out; echo err >&2; echo out again; echo err again >&2")
        assert (seen.stdout, seen.stderr) == (b"out\nout again\n", b"err\nerr again\n")

    async def test_no_output_is_no_output(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, "exit 0")
        assert (seen.stdout, seen.stderr) == (b"", b"")

    async def test_a_last_line_without_a_newline_is_kept_as_it_is(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, "printf 'one\\ntwo'; printf 'three' >&2")
        assert (seen.stdout, seen.stderr) == (b"one\ntwo", b"three")

    async def test_unicode_and_control_characters_arrive_unchanged(self, tmp_path: Path):
        text = "grün \u2713 \U0001f680 \t|\r\x1b[31mred\x1b[0m \x07"
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, 'printf "%s\\n" "$TEXT"', env={"TEXT": text})
        assert seen.stdout == text.encode() + b"\n"

    async def test_every_byte_arrives_unchanged(self, tmp_path: Path):
        every = bytes(range(256))
        octal = "".join(f"\\{byte:03o}" for byte in every)
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, f"printf '{octal}'; printf '{octal}' >&2")
        assert (seen.stdout, seen.stderr) == (every, every)

    async def test_200000_lines_are_complete_and_in_order(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, COUNT.format(lines=200_000))
        assert seen.stdout == b"".join(b"line %d\n" % number for number in range(200_000))
        assert seen.exit.code == 0

    async def test_a_line_of_three_mebibytes_is_complete(self, tmp_path: Path):
        script = f"head -c {LONG_LINE_BYTES} /dev/zero | tr '\\0' x; echo; echo after"
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, script)
        assert seen.stdout == b"x" * LONG_LINE_BYTES + b"\nafter\n"

    async def test_output_is_seen_while_the_script_runs(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, "echo early; sleep 1000"))
            assert await read_until(process, b"early\n") == b"early\n"
            await process.remove()

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
    @pytest.mark.parametrize("inside_a_line", [False, True])
    async def test_reading_goes_on_exactly_after_a_cursor(self, tmp_path: Path, share: float, inside_a_line: bool):
        script = """i=0; while [ $i -lt 2000 ]; do echo "out $i"; echo "error $i" >&2; i=$((i+1)); done; printf end"""
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, script))
            whole = await read(process)
            cuts = [self._cut(data, share, inside_a_line=inside_a_line) for data in whole]
            cursor = Cursor(stdout=position(whole[0], cuts[0]), stderr=position(whole[1], cuts[1]))
            assert await read(process, cursor) == (whole[0][cuts[0] :], whole[1][cuts[1] :])
            again = await executor.attach(process.name)
            assert again is not None
            assert await read(again, cursor) == (whole[0][cuts[0] :], whole[1][cuts[1] :])
            await process.remove()

    @staticmethod
    def _cut(data: bytes, share: float, *, inside_a_line: bool) -> int:
        start = data.rfind(b"\n", 0, int(len(data) * share)) + 1 if share < 1 else len(data)
        return min(len(data), start + 3) if inside_a_line else start

    async def test_reading_goes_on_while_the_script_runs(self, tmp_path: Path):
        script = "echo one; echo two; while :; do echo more; sleep 0.05; done"
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, script))
            await read_until(process, b"two\nmore\nmore\n")
            first: Chunk | None = None
            async with aclosing(process.output(Cursor(stdout=Position(bytes=6, newlines=1, tail=2)))) as chunks:
                async for chunk in chunks:
                    first = chunk
                    break
            assert first is not None
            assert first.data.startswith(b"o\nmore\n") or b"o\nmore\n".startswith(first.data)
            await process.remove()

    # What it is given

    async def test_the_environment_is_the_one_given(self, tmp_path: Path):
        given = {
            "PLAIN": "value",
            "EMPTY": "",
            "ODD": " two  words\t'quoted\" $HOME `x` \\n ",
            "LINES": "a\nb\n",
            "U": "ü✓",
        }
        script = 'printf "%s|%s|%s|%s|%s" "$PLAIN" "${EMPTY-unset}" "$ODD" "$LINES" "$U"'
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, script, env=given)
        assert seen.stdout.decode() == "|".join(given.values())

    async def test_nothing_else_is_in_the_environment(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            spec = self.spec(executor, tmp_path, "cat /proc/$$/environ")
            spec = replace(spec, env={"PATH": "/usr/bin:/bin", "ONLY": "this"})
            process = await executor.start(spec)
            seen = await finish(process)
            await process.remove()
        assert sorted(seen.stdout.split(b"\0")[:-1]) == [b"ONLY=this", b"PATH=/usr/bin:/bin"]

    async def test_arguments_are_passed_as_they_are(self, tmp_path: Path):
        arguments = ["", " a  b ", "'\"$HOME`\\", "*", "line\nbreak", "--", "ü✓", "-n"]
        async with self.open_executor(tmp_path) as executor:
            argv = ["/bin/sh", "-c", 'printf "<%s>" "$@"', "sh", *arguments]
            seen = await self.run(executor, tmp_path, "", argv=argv)
        assert seen.stdout.decode() == "".join(f"<{argument}>" for argument in arguments)

    async def test_the_working_directory_is_the_one_given(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, "pwd", workdir="/usr")
        assert seen.stdout == b"/usr\n"

    async def test_the_scripts_files_can_be_read(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            spec = self.spec(executor, tmp_path, "")
            file = spec.directory / "script.sh"
            file.write_text("echo from a file")
            file.chmod(0o444)
            path = f"{executor.placement(spec.directory).files}/script.sh"
            process = await executor.start(replace(spec, argv=["/bin/sh", path]))
            seen = await finish(process)
            await process.remove()
        assert seen.stdout == b"from a file\n"

    async def test_without_stdin_the_input_is_empty(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            seen = await self.run(executor, tmp_path, "cat; echo read")
        assert seen.stdout == b"read\n"

    async def test_stdin_is_read(self, tmp_path: Path):
        reading, writing = os.pipe()
        try:
            async with self.open_executor(tmp_path) as executor:
                process = await executor.start(self.spec(executor, tmp_path, "cat", stdin=reading))
                os.write(writing, b"from stdin\n")
                os.close(writing)
                writing = -1
                seen = await finish(process)
                await process.remove()
        finally:
            os.close(reading)
            if writing >= 0:
                os.close(writing)
        assert seen.stdout == b"from stdin\n"

    # What cannot be started

    async def test_a_missing_interpreter_is_a_failed_start_that_names_it(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            spec = self.spec(executor, tmp_path, "", argv=[self.missing_interpreter, "script"])
            with pytest.raises(StartFailedError) as failure:
                await executor.start(spec)
            assert failure.value.reason == Reason.INVALID
            assert self.missing_interpreter in failure.value.message
            assert await executor.attach(spec.name) is None

    # A name runs once

    async def test_a_name_that_runs_is_not_started_again(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            spec = self.spec(executor, tmp_path, "echo started; sleep 1000")
            first = await executor.start(spec)
            second = await executor.start(spec)
            assert second.name == first.name
            assert await read_until(second, b"started\n") == b"started\n"
            await second.signal(Signal.KILL)
            assert (await first.wait()).code == (await second.wait()).code == 137
            assert await read(first) == (b"started\n", b"")
            await first.remove()

    async def test_a_name_that_has_ended_is_not_started_again(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            spec = self.spec(executor, tmp_path, "echo started; exit 3")
            first = await executor.start(spec)
            await first.wait()
            second = await executor.start(spec)
            seen = await finish(second)
            assert (seen.stdout, seen.exit.code) == (b"started\n", 3)
            await second.remove()

    async def test_two_orchestrators_that_start_one_name_run_it_once(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as one, self.open_executor(tmp_path) as other:
            for _ in range(5):
                spec = self.spec(one, tmp_path, "echo started; exit 3")
                first, second = await asyncio.gather(one.start(spec), other.start(spec))
                for process in (first, second):
                    seen = await finish(process)
                    assert (seen.stdout, seen.exit.code) == (b"started\n", 3)
                await first.remove()

    async def test_twenty_start_at_once(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            runs = [self.run(executor, tmp_path, f"echo {number}; exit {number}") for number in range(20)]
            seen = await asyncio.gather(*runs)
        assert [(run.stdout, run.exit.code) for run in seen] == [(b"%d\n" % number, number) for number in range(20)]

    # Another orchestrator goes on

    async def test_a_running_process_is_found_by_a_later_orchestrator(self, tmp_path: Path):
        script = f"{COUNT.format(lines=1000)}; while [ ! -e /tmp/never ]; do sleep 0.05; done"
        async with self.open_executor(tmp_path) as executor:
            spec = self.spec(executor, tmp_path, script)
            process = await executor.start(spec)
            await read_until(process, b"line 999\n")
        async with self.open_executor(tmp_path) as later:
            found = await later.attach(spec.name)
            assert found is not None
            assert found.name == spec.name
            await read_until(found, b"line 999\n")
            await found.signal(Signal.KILL)
            seen = await finish(found)
            assert seen.stdout == b"".join(b"line %d\n" % number for number in range(1000))
            assert seen.exit.code == 137
            await found.remove()

    async def test_an_ended_process_is_found_by_a_later_orchestrator(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            spec = self.spec(executor, tmp_path, "echo out; echo err >&2; exit 3")
            process = await executor.start(spec)
            before = await finish(process)
        async with self.open_executor(tmp_path) as later:
            found = await later.attach(spec.name)
            assert found is not None
            assert await finish(found) == before
            await found.remove()

    async def test_a_process_that_ends_while_nobody_watches_is_found(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            spec = self.spec(executor, tmp_path, "sleep 0.3; echo done; exit 3")
            await executor.start(spec)
        async with self.open_executor(tmp_path) as later:
            found = await later.attach(spec.name)
            assert found is not None
            seen = await finish(found)
            assert (seen.stdout, seen.exit.code) == (b"done\n", 3)
            await found.remove()

    async def test_an_unknown_name_is_not_found(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            assert await executor.attach(f"cronium-suite-{uuid.uuid4().hex[:12]}-1") is None

    # How it is ended

    async def test_term_can_be_caught(self, tmp_path: Path):
        script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, script))
            await read_until(process, b"ready\n")
            await process.signal(Signal.TERM)
            seen = await finish(process)
            assert (seen.stdout, seen.exit.code) == (b"ready\ncaught\n", 7)
            await process.remove()

    async def test_term_that_is_ignored_is_followed_by_kill(self, tmp_path: Path):
        script = "trap '' TERM; echo ready; i=0; while :; do echo beat; sleep 0.05; done"
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, script))
            await read_until(process, b"ready\n")
            await process.signal(Signal.TERM)
            before = await read_until(process, b"beat\n")
            await read_until(process, before + b"beat\n")
            await process.signal(Signal.KILL)
            assert (await process.wait()).code == 137
            await process.remove()

    async def test_term_reaches_descendants_in_sessions_of_their_own(self, tmp_path: Path):
        child = 'trap "echo child; exit" TERM; echo up; while :; do sleep 0.05; done'
        script = f"trap 'wait; echo parent; exit 0' TERM; setsid sh -c '{child}' & while :; do sleep 0.05; done"
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, script))
            await read_until(process, b"up\n")
            await process.signal(Signal.TERM)
            seen = await finish(process)
            assert seen.stdout == b"up\nchild\nparent\n"
            await process.remove()

    async def test_kill_reaches_every_descendant(self, tmp_path: Path):
        number = marker()
        script = f"setsid sleep {number} & (sleep {number} & sleep {number}) & echo ready; sleep {number}"
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, script))
            await read_until(process, b"ready\n")
            await process.signal(Signal.KILL)
            assert (await process.wait()).code == 137
            await gone(number)
            await process.remove()

    async def test_a_signal_after_the_end_does_nothing(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, "exit 3"))
            before = await process.wait()
            await process.signal(Signal.TERM)
            await process.signal(Signal.KILL)
            assert await process.wait() == before
            await process.remove()

    @pytest.mark.parametrize(
        "leave",
        [
            "sleep {} &",
            "nohup sleep {} >/dev/null 2>&1 &",
            "setsid sleep {} &",
            "(setsid sh -c 'sleep {} & sleep {}' & )",
            "sh -c 'trap \"\" TERM HUP INT; sleep {}; :' >/dev/null 2>&1 &",
        ],
    )
    async def test_children_left_behind_are_ended_with_the_script(self, tmp_path: Path, leave: str):
        number = marker()
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(
                self.spec(executor, tmp_path, f"{leave.replace('{}', number)}\necho left; exit 3")
            )
            seen = await finish(process)
            assert (seen.stdout, seen.exit.code) == (b"left\n", 3)
            await gone(number)
            await process.remove()

    # What is left

    async def test_removing_ends_and_forgets(self, tmp_path: Path):
        number = marker()
        async with self.open_executor(tmp_path) as executor:
            spec = self.spec(executor, tmp_path, f"echo up; sleep {number}")
            process = await executor.start(spec)
            await read_until(process, b"up\n")
            await process.remove()
            await gone(number)
            assert await executor.attach(spec.name) is None
            assert spec.directory.exists()

    async def test_removing_again_does_nothing(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            process = await executor.start(self.spec(executor, tmp_path, "exit 3"))
            ended = await process.wait()
            await process.remove()
            await process.remove()
            assert await process.wait() == ended

    async def test_a_sweep_removes_what_is_not_kept(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            specs = [self.spec(executor, tmp_path, script) for script in ("sleep 1000", "sleep 1000", "exit 0")]
            for spec in specs:
                await executor.start(spec)
        kept, running, ended = (spec.name for spec in specs)
        async with self.open_executor(tmp_path) as later:
            assert sorted(await later.sweep(frozenset({kept}))) == sorted([running, ended])
            assert await later.attach(running) is None
            assert await later.attach(ended) is None
            found = await later.attach(kept)
            assert found is not None
            await found.signal(Signal.KILL)
            assert (await found.wait()).code == 137
            await found.remove()
            assert await later.sweep(frozenset()) == []

    async def test_a_sweep_leaves_other_installations_alone(self, tmp_path: Path):
        async with self.open_executor(tmp_path / "one") as one, self.open_executor(tmp_path / "other") as other:
            process = await one.start(self.spec(one, tmp_path / "one", "echo up; sleep 1000"))
            assert await other.sweep(frozenset()) == []
            await read_until(process, b"up\n")
            await process.signal(Signal.KILL)
            assert (await process.wait()).code == 137
            await process.remove()

    # Whether it can be used

    async def test_it_says_that_it_can_be_used(self, tmp_path: Path):
        async with self.open_executor(tmp_path) as executor:
            availability = await executor.check()
        assert availability.available
        assert availability.kind is executor.kind
        assert availability.detail
