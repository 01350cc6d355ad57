"""Signals to what runs in a container."""

from __future__ import annotations

import logging

from orchestrator.contracts.executor import Signal
from orchestrator.errors import UnavailableError
from orchestrator.executors.docker.engine import Engine
from orchestrator.executors.docker.state import Created, ExecState
from orchestrator.model.json import Json

log = logging.getLogger(__name__)

EXEC_SECONDS = 10.0
TERM_ALL = ["/bin/sh", "-c", "kill -TERM -1"]  # kill(2): all that may be signalled, but process 1 and the sender


async def terminate(engine: Engine, container: str) -> None:
    """
    Send TERM to every process in the container.

    The engine's own kill reaches process 1 only, which hands a TERM on to the script and not to its descendants. Where
    the image has no shell, or no process may be added, that is what is left.
    """
    if not await _term_all(engine, container):
        await kill(engine, container, Signal.TERM)


async def kill(engine: Engine, container: str, signal: Signal) -> None:
    """Send `signal` to process 1. KILL ends it and, with it, every process in the container."""
    answer = await engine.call("POST", f"/containers/{container}/kill", query={"signal": f"SIG{signal}"})
    if not answer.ok and answer.status not in (404, 409):  # gone, or not running: it has ended
        raise UnavailableError(f"The Docker engine could not send {signal} to {container}: {answer.message}")


async def _term_all(engine: Engine, container: str) -> bool:
    """Whether a command in the container could send the signal, or there was nothing to send it to."""
    body: Json = {"Cmd": list(TERM_ALL), "AttachStdout": True, "AttachStderr": True}
    made = await engine.call("POST", f"/containers/{container}/exec", body=body)
    if made.status == 409 and "paused" in made.message:
        # Somebody paused it: no process there can do anything about a signal, nor can one be started.
        await engine.call("POST", f"/containers/{container}/unpause")
        made = await engine.call("POST", f"/containers/{container}/exec", body=body)
    if made.status in (404, 409):
        return True
    if not made.ok:
        return False
    command = Created.model_validate_json(made.body).id
    try:
        await engine.call("POST", f"/exec/{command}/start", body={"Detach": False, "Tty": False}, seconds=EXEC_SECONDS)
        ended = await engine.call("GET", f"/exec/{command}/json")
    except UnavailableError as error:
        log.info("a command in the container did not end", extra={"process_name": container, "error": error.message})
        return False
    # Without an exit status the container ended while the command ran.
    return not ended.ok or ExecState.model_validate_json(ended.body).exit_code in (0, None)
