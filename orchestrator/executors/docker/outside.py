"""Whether it was the engine, on its way down, that ended a container."""

from __future__ import annotations

import asyncio

from orchestrator.errors import UnavailableError
from orchestrator.executors.docker.engine import Engine, filters
from orchestrator.executors.docker.state import State

WATCHES = 8
WATCH_SECONDS = 0.25
CHECK_SECONDS = 2.0
NOTING_SECONDS = 0.5


async def ended_by_engine_going_down(engine: Engine, container: str, state: State) -> bool:
    """
    An engine that is told to stop sends its containers TERM, then KILL, answers until they have ended, and goes away.

    So one that sent this container a signal is watched for a moment. A script that ended itself is not held up: the
    engine knows of no signal then.
    """
    if not await _sent_a_signal(engine, container, state):
        return False
    for _ in range(WATCHES):
        await asyncio.sleep(WATCH_SECONDS)
        try:
            await engine.version(CHECK_SECONDS)
        except UnavailableError:
            return True
    return False


async def _sent_a_signal(engine: Engine, container: str, state: State) -> bool:
    query = {
        "since": f"{state.started.timestamp():.6f}",
        # The engine notes a signal after sending it: the container may be gone by then.
        "until": f"{state.finished.timestamp() + NOTING_SECONDS:.6f}",
        "filters": filters(container=[container], event=["kill"]),
    }
    answer = await engine.call("GET", "/events", query=query)
    return answer.ok and bool(answer.body.strip())
