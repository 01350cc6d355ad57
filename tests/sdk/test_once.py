"""However often a write has to be sent, it has its effect once; and a wish to wait is heeded, in every language."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from runtime_api.app import create_app
from runtime_api.backend import RefusalError
from tests.sdk.languages import LANGUAGES, run_in
from tests.sdk.memory_backend import MemoryBackend, MemorySession, environment, serve

WRITES = {
    "python": [
        "print(cronium.increment_variable('n', 2))",
        "print(cronium.increment_variable('n'))",
        "cronium.set_variable('v', 'mine', if_version=0)",
        "cronium.delete_variable('gone', if_version=1)",
        "cronium.log('once', 'warning')",
    ],
    "async-python": [
        "print(await client.increment_variable('n', 2))",
        "print(await client.increment_variable('n'))",
        "await client.set_variable('v', 'mine', if_version=0)",
        "await client.delete_variable('gone', if_version=1)",
        "await client.log('once', 'warning')",
    ],
    "node": [
        "console.log(await cronium.incrementVariable('n', 2));",
        "console.log(await cronium.incrementVariable('n'));",
        "await cronium.setVariable('v', 'mine', { ifVersion: 0 });",
        "await cronium.deleteVariable('gone', { ifVersion: 1 });",
        "await cronium.log('once', 'warning');",
    ],
    "bash": [
        "cronium_increment_variable n 2",
        "cronium_increment_variable n",
        "cronium_set_variable --if-version=0 v mine",
        "cronium_delete_variable --if-version=1 gone",
        "cronium_log once warning",
    ],
}


@asynccontextmanager
async def losing(backend: MemoryBackend, directory: Path, seen: list[str | None]) -> AsyncIterator[dict[str, str]]:
    """Serve a runtime API that carries each write out and loses the answer; only when it is repeated it answers."""

    @web.middleware
    async def lose(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = request.headers.get("Idempotency-Key")
        response = await handler(request)
        if name not in seen and request.transport is not None:
            request.transport.abort()
        seen.append(name)
        return response

    app = create_app(backend)
    app.middlewares.insert(0, lose)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(directory / "api.sock")).start()
        yield environment(directory / "api.sock")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_write_whose_answer_was_lost_counts_once(language, run, tmp_path):
    session = MemorySession(variables={"gone": 1})
    seen: list[str | None] = []
    async with losing(MemoryBackend(session=session), tmp_path, seen) as env:
        finished = await run_in(run, language, WRITES[language], env)
    assert (finished.stdout, finished.stderr) == ("2\n3\n", "")
    assert session.variables == {"n": 3, "v": "mine"}
    assert [entry[:2] for entry in session.entries] == [("warning", "once")]
    assert None not in seen
    assert seen[::2] == seen[1::2]
    assert len(set(seen)) == len(WRITES[language])


# Each says the pause before it makes it, in milliseconds.
TELLING = {
    "python": ["import time", "time.sleep = lambda seconds: print(round(seconds * 1000))", "cronium.input()"],
    "async-python": [
        "import time",
        "time.sleep = lambda seconds: print(round(seconds * 1000))",
        "await client.input()",
    ],
    "node": [
        "const real = setTimeout;",
        "globalThis.setTimeout = (work, ms) => { if (ms < 5000) console.log(ms); return real(work, ms < 5000 ? 0 : ms); };",
        "await cronium.input();",
    ],
    "bash": [
        'command() { if [[ $1 == sleep ]]; then echo "${2/./}"; else builtin command "$@"; fi; }',
        "cronium_input",
    ],
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_wish_to_wait_of_a_busy_server_is_heeded(language, run, tmp_path):
    busy = RefusalError(429, "rate_limited", "Slow down.", retry_after_seconds=3)
    backend = MemoryBackend(failures=[busy])
    async with serve(backend, tmp_path) as env:
        finished = await run_in(run, language, TELLING[language], env)
    assert (finished.stdout, finished.stderr) == ("3000\n", "")
    assert [status for _, status in backend.calls] == [429, 200]


OVER = {
    "python": ["try: cronium.output(1)", "except cronium.CroniumError as error: print(error.code)"],
    "async-python": ["try: await client.output(1)", "except cronium.CroniumError as error: print(error.code)"],
    "node": ["await cronium.output(1).catch((error) => console.log(error.code));"],
    "bash": ["cronium_output 1 2>error || grep -o attempt_over error"],
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_token_that_has_expired_is_refused_at_once(language, run, tmp_path):
    backend = MemoryBackend(failures=[RefusalError(401, "attempt_over", "The attempt is over.")])
    async with serve(backend, tmp_path) as env:
        finished = await run_in(run, language, OVER[language], env)
    assert finished.stdout == "attempt_over\n"
    assert len(backend.calls) == 1
