"""The moving part of a run on a terminal: one row a step, redrawn beneath the lines."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from orchestrator.cli.render import duration
from orchestrator.cli.steps import MARKS, took
from orchestrator.model.jobs import Job, JobStatus
from orchestrator.model.logs import Line

REFRESH_PER_SECOND = 8
PREFIX_COLOURS = ("cyan", "magenta", "blue", "green", "yellow")
COLOURS = {
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "red",
    JobStatus.TIMED_OUT: "red",
    JobStatus.CANCELLED: "yellow",
    JobStatus.SKIPPED: "bright_black",
}


class Drawing:
    """Draws the steps in `order`."""

    def __init__(self, order: Sequence[str]) -> None:
        self._order = order
        self._width = max(len(name) for name in order)
        self._jobs: dict[str, Job] = {}
        self._begun: dict[str, float] = {}
        self._spinners: dict[str, Spinner] = {}
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console, get_renderable=self._rows, refresh_per_second=REFRESH_PER_SECOND, transient=True
        )

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def update(self, job: Job) -> None:
        """A step's job has changed."""
        if job.step is not None:
            self._jobs[job.step] = job
            self._live.refresh()

    def print(self, step: str, lines: Sequence[Line]) -> None:
        """Print lines of a step above the rows. What scripts write is text, never markup."""
        place = self._order.index(step) if step in self._order else 0
        for line in lines:
            prefix = (f"{step:<{self._width}} | ", PREFIX_COLOURS[place % len(PREFIX_COLOURS)])
            self._console.print(Text.assemble(prefix, Text.from_ansi(line.text)), soft_wrap=True)

    def _rows(self) -> Group:
        return Group(*(self._row(name) for name in self._order))

    def _row(self, name: str) -> Text | Spinner:
        job = self._jobs.get(name)
        if job is not None and job.status is JobStatus.RUNNING:
            elapsed = time.monotonic() - self._begun.setdefault(name, time.monotonic())
            spinner = self._spinners.setdefault(name, Spinner("dots"))
            spinner.update(text=Text(f"   {name:<{self._width}}  {duration(elapsed)}", style="bold"))
            return spinner
        status = job.status if job is not None else JobStatus.QUEUED
        shown = took(job) if job is not None else ""
        return Text(f"{MARKS[status]} {name:<{self._width}}  {shown}", style=COLOURS.get(status, "dim"))
