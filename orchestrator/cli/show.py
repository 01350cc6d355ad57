"""What `cronium run` shows while it runs: a script's own output, or a workflow's lines, progress and summary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from orchestrator.cli.descriptors import STDERR, say, silence, write_all
from orchestrator.cli.render import duration
from orchestrator.cli.steps import MARKS, because, took
from orchestrator.errors import CroniumError
from orchestrator.model.jobs import Job, JobStatus
from orchestrator.model.logs import Line, Stream
from orchestrator.model.workflows import Run, Workflow

SHOW_CURSOR = b"\x1b[?25h"


class ScriptShow:
    """
    Passes a script's bytes on as they come, stdout to `stdout_fd`, stderr to stderr.

    `closed` says that one of them could not be written any more: from then on nothing is passed on. `is_pipe`: its reader went away.
    """

    def __init__(self, *, stdout_fd: int) -> None:
        self._descriptors = {Stream.STDOUT: stdout_fd, Stream.STDERR: STDERR}
        self._ended: asyncio.Future[Job] | None = None
        self._final: Job | None = None
        self.closed = self.is_pipe = False

    async def end_of(self, job: Job) -> Job:
        """Wait until the job is final, or until nobody reads our output any more."""
        if self._final is not None:
            return self._final
        self._ended = asyncio.get_running_loop().create_future()
        return await self._ended

    async def raw(self, job: Job, stream: Stream, data: bytes) -> None:
        if self.closed:
            return
        try:
            await asyncio.to_thread(write_all, self._descriptors[stream], data)
        except OSError as error:
            self.closed = True
            self.is_pipe = isinstance(error, BrokenPipeError)
            if not self.is_pipe:
                say(f"cronium: {stream} cannot be written, ending the script: {error.strerror}")
            self._settle(job)

    async def lines(self, job: Job, lines: Sequence[Line]) -> None:
        for line in lines:
            if line.stream is Stream.SYSTEM:
                await asyncio.to_thread(say, f"cronium: {line.text}")

    def job_changed(self, job: Job) -> None:
        if job.status.is_final:
            self._final = job
            self._settle(job)

    def run_changed(self, run: Run) -> None:
        """A script has no run."""

    def abandon(self, error: CroniumError) -> None:
        """Wait no longer: `end_of` raises `error`."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    def restore(self) -> None:
        """A script's terminal is its own."""

    def _settle(self, job: Job) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(job)


class Canvas(Protocol):
    """The moving part on a terminal (`cli/drawing.py`)."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def update(self, job: Job) -> None: ...

    def print(self, step: str, lines: Sequence[Line]) -> None: ...


class WorkflowShow:
    """Shows a run on stderr: each line behind the name of its step, on a terminal also how far each step is."""

    def __init__(self, workflow: Workflow, drawing: Canvas | None) -> None:
        self._order = [step.name for step in workflow.steps]
        self._width = max(len(name) for name in self._order)
        self._ended: asyncio.Future[Run] | None = None
        self._final: Run | None = None
        self._drawing = drawing
        self._is_drawing = False

    def __enter__(self) -> Self:
        if self._drawing is not None:
            self._is_drawing = True
            self._draw(self._drawing.open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawing is not None:
            self._is_drawing = False
            self._draw(self._drawing.close)

    async def end_of(self, run: Run) -> Run:
        """Wait until the run is final."""
        if run.status.is_final:
            return run
        if self._final is not None:
            return self._final
        self._ended = asyncio.get_running_loop().create_future()
        return await self._ended

    async def raw(self, job: Job, stream: Stream, data: bytes) -> None:
        """Steps are shown by lines: several may write at once."""

    async def lines(self, job: Job, lines: Sequence[Line]) -> None:
        await asyncio.to_thread(self._print, job.step or "", lines)

    def job_changed(self, job: Job) -> None:
        if job.step is None:
            return
        drawing = self._drawing
        if drawing is not None:
            self._draw(lambda: drawing.update(job))
        elif job.status is JobStatus.RUNNING and job.started_at is not None:
            say(f"{job.step:<{self._width}} > started")
        elif job.status.is_final:
            say(f"{job.step:<{self._width}} > {job.status}{because(job)}")

    def run_changed(self, run: Run) -> None:
        if run.status.is_final:
            self._final = run
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(run)

    def abandon(self, error: CroniumError) -> None:
        """Wait no longer: `end_of` raises `error`."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    def restore(self) -> None:
        """Give the terminal back as it was, from wherever we are in drawing."""
        if self._is_drawing:
            try:
                write_all(STDERR, SHOW_CURSOR)
            except OSError:
                silence(STDERR)

    def summary(self, run: Run, jobs: Sequence[Job]) -> None:
        """Say how it went: a line for the run, one for each step, one for the error."""
        in_all = duration((run.finished_at - run.created_at).total_seconds()) if run.finished_at else ""
        say(f"\n{run.workflow_name}: {run.status} in {in_all}  ({run.id})")
        by_step = {job.step: job for job in jobs}
        for name in self._order:
            job = by_step.get(name)
            if job is None:
                say(f"  -     {name:<{self._width}}  not reached")
                continue
            say(f"  {MARKS[job.status]}  {name:<{self._width}}  {took(job)}{because(job)}")
        if run.error:
            say(f"  {run.error}")

    def _print(self, step: str, lines: Sequence[Line]) -> None:
        drawing = self._drawing
        if drawing is not None:
            self._draw(lambda: drawing.print(step, lines))
        elif lines:
            say("\n".join(f"{step:<{self._width}} | {line.text}" for line in lines))

    def _draw(self, draw: Callable[[], None]) -> None:
        try:
            draw()
        except OSError:
            silence(STDERR)  # the terminal is gone; the workflow is not
