"""What the signals do to `cronium run` that ask it to end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol

from orchestrator.app import Engine
from orchestrator.cli.descriptors import say
from orchestrator.errors import CroniumError, UnavailableError

EXIT_SIGNAL = 128  # and the number of the signal, as shells say it
FAREWELL_SECONDS = 0.5

log = logging.getLogger(__name__)


class _Shown(Protocol):
    """What waits for the end, on a terminal perhaps."""

    def abandon(self, error: CroniumError) -> None: ...

    def restore(self) -> None: ...


class Interruption:
    """Ctrl-C, TERM and HUP: the first ends everything in an orderly way, the second at once. Ignored ones stay so."""

    def __init__(self, engine: Engine, show: _Shown, cancel: Callable[[], Awaitable[object]]) -> None:
        self._engine = engine
        self._show = show
        self._cancel = cancel
        self._task: asyncio.Future[None] | None = None
        self.exit_code: int | None = None

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1), and `&` in a script
                loop.add_signal_handler(number, self._interrupt, number)

    def _interrupt(self, number: int) -> None:
        if self.exit_code is not None:
            self._leave(EXIT_SIGNAL + number)
        self.exit_code = EXIT_SIGNAL + number
        self._task = asyncio.ensure_future(self._end())
        # In a thread: a terminal that is held (Ctrl-S) must not hold the ending up.
        asyncio.get_running_loop().run_in_executor(None, say, "cronium: interrupted, ending what runs (again: at once)")

    def _leave(self, code: int) -> None:
        """Leave now: the supervisors see our end and end the scripts."""
        farewell = threading.Thread(target=self._show.restore, daemon=True)
        farewell.start()
        farewell.join(FAREWELL_SECONDS)
        os._exit(code)

    async def _end(self) -> None:
        """End what runs. Where that fails the command ends all the same, rather than wait for what never comes."""
        failure: Exception | None = None
        for step in (self._cancel, self._engine.dispatcher.cancel_all):
            try:
                await step()
            except Exception as error:
                log.exception("cannot end in an orderly way")
                failure = error
        if failure is not None:
            self._show.abandon(UnavailableError(f"What runs could not be ended in an orderly way: {failure}"))
