"""An engine in memory behind the real runtime API, for tests of the SDKs and of the door itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from runtime_api.app import create_app
from runtime_api.backend import Json, Level, Number, RefusalError, Scope, Terms, Variable, VariablePage

TOKEN = "token-of-the-only-attempt"
EXECUTION_ID = "job_memory"
EITHER: tuple[Scope, Scope] = ("event", "global")


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
    event_variables: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    answers: dict[str, tuple[Number, int]] = field(default_factory=dict)
    progress: Json = None
    entries: list[tuple[Level, str, Json, str | None]] = field(default_factory=list)

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

    async def get_variable(self, key: str, scope: Scope | None) -> Variable:
        for place in (scope,) if scope else EITHER:
            if key in self._held(place):
                return Variable(key=key, value=self._held(place)[key], version=self._version(key, place), scope=place)
        raise RefusalError(404, "variable_not_found", f"There is no variable {key}; set it first.")

    async def list_variables(self, scope: Scope, *, prefix: str, cursor: str | None, limit: int) -> VariablePage:
        keys = sorted(key for key in self._held(scope) if key.startswith(prefix) and key > (cursor or ""))
        items = [await self.get_variable(key, scope) for key in keys[:limit]]
        return VariablePage(items=items, next_cursor=keys[limit - 1] if len(keys) > limit else None)

    async def set_variable(self, key: str, value: Json, scope: Scope, terms: Terms) -> int:
        return self._once(terms, lambda: (0, self._set(key, value, scope, terms)))[1]

    async def increment_variable(self, key: str, by: Number, scope: Scope, terms: Terms) -> tuple[Number, int]:
        def add() -> tuple[Number, int]:
            value = self._held(scope).get(key, 0)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RefusalError(409, "not_a_number", f"The variable {key} holds no number.")
            return value + by, self._set(key, value + by, scope, terms)

        return self._once(terms, add)

    async def delete_variable(self, key: str, scope: Scope, terms: Terms) -> None:
        def remove() -> tuple[Number, int]:
            if key not in self._held(scope):
                raise RefusalError(404, "variable_not_found", f"There is no variable {key}.")
            self._check(key, scope, terms)
            self.versions[_versioned(key, scope)] = self._version(key, scope)
            del self._held(scope)[key]
            return 0, 0

        self._once(terms, remove)

    async def set_progress(self, value: Json) -> None:
        self.progress = value

    async def write_log(self, level: Level, message: str, data: Json, operation: str | None) -> int:
        def add() -> tuple[Number, int]:
            self.entries.append((level, message, data, operation))
            return 0, len(self.entries)

        return self._once(Terms(operation=operation), add)[1]

    def _held(self, scope: Scope) -> dict[str, Json]:
        return self.variables if scope == "global" else self.event_variables

    def _version(self, key: str, scope: Scope) -> int:
        return self.versions.get(_versioned(key, scope), 1 if key in self._held(scope) else 0)

    def _set(self, key: str, value: Json, scope: Scope, terms: Terms) -> int:
        self._check(key, scope, terms)
        self.versions[_versioned(key, scope)] = version = self._version(key, scope) + 1
        self._held(scope)[key] = value
        return version

    def _once(self, terms: Terms, change: Callable[[], tuple[Number, int]]) -> tuple[Number, int]:
        """What is repeated under the same name has its effect once, and is answered as the first time."""
        if terms.operation is None:
            return change()
        if terms.operation not in self.answers:
            self.answers[terms.operation] = change()
        return self.answers[terms.operation]

    def _check(self, key: str, scope: Scope, terms: Terms) -> None:
        version = self._version(key, scope) if key in self._held(scope) else None
        if (terms.only_new and version is not None) or terms.version not in (None, version):
            more = {"current_version": version}
            raise RefusalError(412, "version_mismatch", f"The variable {key} has version {version}.", more=more)


def _versioned(key: str, scope: Scope) -> str:
    return key if scope == "global" else f"{scope}:{key}"


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
