"""How far a long copy is: a bar on stderr where that is a terminal, else nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.model.upkeep import Progress


@contextmanager
def shown_progress(title: str) -> Iterator[Progress]:
    """A callback for how much is done, and of how much; the bar is gone at the end."""
    if not sys.stderr.isatty():
        yield _say_nothing
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _say_nothing(done: int, total: int) -> None:
    """Nobody watches."""
