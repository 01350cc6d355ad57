"""An engine in memory behind the real runtime API, for tests of the SDKs and of the door itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from runtime_api.app import create_app
from runtime_api.backend import Json, RefusalError

TOKEN = "token-of-the-only-attempt"
EXECUTION_ID = "job_memory"


@dataclass(slots=True)
class MemorySession:
    """What one attempt sees, as plain fields. `has_output` tells no output from a null one."""

    execution_id: str = EXECUTION_ID
    input: Json = None
    output: Json = None
    has_output: bool = False
    condition: bool | None = None
    context: dict[str, Json] = field(default_factory=dict)
    variables: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    async def get_input(self) -> Json:
        return self.input

    async def set_output(self, value: Json) -> None:
        self.output, self.has_output = value, True

    async def get_context(self) -> dict[str, Json]:
        return self.context

    async def get_condition(self) -> bool | None:
        return self.condition

    async def set_condition(self, condition: bool) -> None:
        self.condition = condition

    async def get_variable(self, key: str) -> Json:
        if key not in self.variables:
            raise RefusalError(404, "variable_not_found", f"There is no variable {key}; set it first.")
        return self.variables[key]

    async def set_variable(self, key: str, value: Json) -> int:
        self.variables[key] = value
        self.versions[key] = self.versions.get(key, 0) + 1
        return self.versions[key]


@dataclass(slots=True)
class MemoryBackend:
    """
    One attempt, one token. `calls` lists (operation, status) of each request.

    Each error in `failures` is raised once, in order, by the next requests that carry a token: that is how a test
    makes the engine refuse, be busy or break.
    """

    session: MemorySession = field(default_factory=MemorySession)
    token: str = TOKEN
    failures: list[Exception] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)

    async def authenticate(self, token: str) -> MemorySession | None:
        if self.failures:
            raise self.failures.pop(0)
        return self.session if token == self.token else None

    def called(self, operation: str, status: int, seconds: float) -> None:
        self.calls.append((operation, status))


@asynccontextmanager
async def serve(backend: MemoryBackend, directory: Path) -> AsyncIterator[dict[str, str]]:
    """Serve the runtime API on `directory`/api.sock; yields the CRONIUM_* variables of a job that belongs to it."""
    socket = directory / "api.sock"
    runner = web.AppRunner(create_app(backend), access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket)).start()
        yield environment(socket)
    finally:
        await runner.cleanup()


def environment(socket: Path) -> dict[str, str]:
    """The CRONIUM_* variables of a job whose runtime API is, or will be, at `socket`."""
    return {
        "CRONIUM_RUNTIME_API": f"unix:{socket}",
        "CRONIUM_EXECUTION_TOKEN": TOKEN,
        "CRONIUM_EXECUTION_ID": EXECUTION_ID,
    }
