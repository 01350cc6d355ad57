"""Passes a job's lines on: stdout to stdout, the rest to stderr, byte for byte and in their order."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from orchestrator.cli.answers import JobView, LineView
from orchestrator.cli.render import STATUS_COLOURS, duration, escape, json_text, paint, wants_colour

STDOUT, STDERR = 1, 2


@dataclass(slots=True, kw_only=True)
class LineWriter:
    """
    Writes lines. What a script wrote goes through unchanged, control characters too; it is UTF-8 whatever the locale.

    `stream` leaves out the lines of all other streams; `stdout` is the descriptor that stdout lines go to. Raises `BrokenPipeError` when nobody reads any more.
    """

    stream: str | None = None
    stdout: int = STDOUT
    timestamps: bool = False
    as_json: bool = False
    _cut: set[str] = field(default_factory=set)

    def write(self, lines: Sequence[LineView]) -> None:
        wanted = [line for line in lines if self.stream in (None, line.stream)]
        for descriptor, group in groupby(wanted, key=self._descriptor):
            write_all(descriptor, "".join(map(self._text, group)))

    def _descriptor(self, line: LineView) -> int:
        return self.stdout if self.as_json or line.stream == "stdout" else STDERR

    def _text(self, line: LineView) -> str:
        if self.as_json:
            return json_text(dict(line.document), indent=None) + "\n"
        begins = line.stream not in self._cut
        (self._cut.add if line.continued else self._cut.discard)(line.stream)
        prefix = f"{line.at} " if self.timestamps and begins else ""
        if line.stream == "system":
            prefix += "cronium: "
        return f"{prefix}{line.text}" if line.continued else f"{prefix}{line.text}\n"


def write_all(descriptor: int, text: str) -> None:
    """Write all of `text` past Python's buffers, which other writers of this descriptor may hold."""
    (sys.stdout if descriptor == STDOUT else sys.stderr).flush()
    view = memoryview(text.encode("utf-8", "replace"))
    while view:
        view = view[os.write(descriptor, view) :]


def say(text: str) -> None:
    """Tell people something about a job, on stderr."""
    print(f"cronium: {text}", file=sys.stderr)


def summary(job: JobView) -> str:
    """How a job ended, in a line."""
    colour = STATUS_COLOURS.get(job.status, "") if wants_colour(sys.stderr) else ""
    text = f"{job.id} {paint(job.status, colour)}"
    if job.execution_ms is not None:
        text += f" in {duration(job.execution_ms / 1000)}"
    if job.reason not in (None, "exit_code", job.status):
        text += f" ({escape(job.reason or '')})"
    if job.message:
        return f"{text}: {escape(job.message)}"
    return f"{text}, exit code {job.exit_code}" if job.exit_code else text
