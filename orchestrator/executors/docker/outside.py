"""Who ended a container that ended as by a signal: the engine on its way down, a hand, or the script itself."""

from __future__ import annotations

import asyncio
import signal
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from orchestrator.errors import UnavailableError
from orchestrator.executors.docker.engine import Engine
from orchestrator.executors.docker.state import State

WATCHES = 8
WATCH_SECONDS = 0.25
CHECK_SECONDS = 2.0
NOTING_SECONDS = 0.5
REMEMBERED = 256  # how many events the engine keeps


class Ender(StrEnum):
    """Who it was, where it was not the script."""

    ENGINE = "engine"
    HAND = "hand"


class _Network(BaseModel):
    created: datetime = Field(alias="Created")


class _Actor(BaseModel):
    id: str = Field("", alias="ID")
    attributes: dict[str, str] = Field(default_factory=dict, alias="Attributes")


class _Event(BaseModel):
    action: str = Field("", alias="Action")
    actor: _Actor | None = Field(None, alias="Actor")


async def who_ended(engine: Engine, container: str, state: State, *, was_away: bool) -> tuple[Ender | None, str]:
    """
    Say who ended it, and with which signal where that is known.

    An engine that is told to stop sends its containers TERM, then KILL, answers until they have ended, and goes away;
    one that comes back ends what it finds running. So what ended before the engine was started was ended by it, and one
    that has sent a signal is watched for a moment. A script that ended itself is not held up: there was no signal then.
    """
    started = await _engine_started(engine)
    if (started is None and was_away) or (started is not None and state.finished < started):
        return Ender.ENGINE, ""
    sent = await _signal_sent(engine, container, state)
    if sent is None:
        return None, ""
    if await _goes_down(engine, state):
        return Ender.ENGINE, sent
    return (Ender.HAND, sent) if sent else (None, "")


async def _engine_started(engine: Engine) -> datetime | None:
    """
    When the engine was started; None where it does not say.

    It makes its default network anew at each start, unless containers outlived it (live-restore): then nothing was
    ended by it either.
    """
    answer = await engine.call("GET", "/networks/bridge", seconds=CHECK_SECONDS)
    return _Network.model_validate_json(answer.body).created if answer.ok else None


async def _signal_sent(engine: Engine, container: str, state: State) -> str | None:
    """The last signal that the engine sent; "" where it may have forgotten it, None where there was none."""
    query = {
        "since": f"{state.started.timestamp():.6f}",
        # The engine notes a signal after sending it: the container may be gone by then.
        "until": f"{state.finished.timestamp() + NOTING_SECONDS:.6f}",
    }
    answer = await engine.call("GET", "/events", query=query)
    if not answer.ok:
        return None
    events = [_Event.model_validate_json(line) for line in answer.body.splitlines() if line.strip()]
    kills = [event.actor for event in events if event.actor is not None and event.action == "kill"]
    sent = [actor.attributes.get("signal", "") for actor in kills if actor.id == container]
    if sent:
        return _name(sent[-1])
    return "" if len(events) >= REMEMBERED else None


def _name(number: str) -> str:
    try:
        return signal.Signals(int(number)).name
    except ValueError:
        return f"signal {number}"


async def _goes_down(engine: Engine, state: State) -> bool:
    """Whether it goes away now, or has been away and is back since."""
    for _ in range(WATCHES):
        await asyncio.sleep(WATCH_SECONDS)
        try:
            started = await _engine_started(engine)
        except UnavailableError:
            return True
        if started is not None and state.finished < started:
            return True
    return False
