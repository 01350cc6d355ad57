"""What a script asks of the server's tools, in the same words in every language."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from runtime_api.backend import Json
from tests.sdk.languages import LANGUAGES, run_in
from tests.sdk.memory_backend import environment

ASKED: list[Json] = [
    {"tool": "trello", "action": "create_card", "params": {"name": 'a "b"'}, "credential": "work"},
    {
        "tool": "email",
        "action": "send_message",
        "params": {"to": ["a@example.org"], "subject": "größe", "body": "two\nlines", "html": True},
    },
    {"tool": "slack", "action": "send_message", "params": {"channel": "#ops", "text": "up", "username": "bot"}},
    {"tool": "discord", "action": "send_message", "params": {"channelId": "1", "content": "up"}},
]
LINES = {
    "python": [
        "print(cronium.execute_tool_action('trello', 'create_card', {'name': 'a \"b\"'}, 'work')['id'])",
        "cronium.send_email('a@example.org', 'größe', 'two\\nlines', html=True)",
        "cronium.send_slack_message('#ops', 'up', username='bot')",
        "cronium.send_discord_message('1', 'up')",
    ],
    "async-python": [
        "print((await client.execute_tool_action('trello', 'create_card', {'name': 'a \"b\"'}, 'work'))['id'])",
        "await client.send_email('a@example.org', 'größe', 'two\\nlines', html=True)",
        "await client.send_slack_message('#ops', 'up', username='bot')",
        "await client.send_discord_message('1', 'up')",
    ],
    "node": [
        "console.log((await cronium.executeToolAction('trello', 'create_card', { name: 'a \"b\"' }, 'work')).id);",
        "await cronium.sendEmail({ to: 'a@example.org', subject: 'größe', body: 'two\\nlines', html: true });",
        "await cronium.sendSlackMessage({ channel: '#ops', text: 'up', username: 'bot' });",
        "await cronium.sendDiscordMessage({ channelId: '1', content: 'up' });",
    ],
    "bash": [
        'cronium_execute_tool_action trello create_card \'{"name": "a \\"b\\""}\' work | grep -o card_1',
        "cronium_send_email a@example.org größe $'two\\nlines' --html >/dev/null",
        "cronium_send_slack_message '#ops' up --username bot >/dev/null",
        "cronium_send_discord_message 1 up >/dev/null",
    ],
}


@asynccontextmanager
async def serve_tools(directory: Path, asked: list[Json]) -> AsyncIterator[dict[str, str]]:
    """Serve a runtime API that has nothing but tools, and keep what was asked of it."""

    async def execute(request: web.Request) -> web.Response:
        asked.append(await request.json())
        if "text/plain" in request.headers["Accept"]:
            return web.Response(text='{"id": "card_1"}')
        return web.json_response({"success": True, "data": {"id": "card_1"}})

    app = web.Application()
    app.router.add_post("/tool-actions/execute", execute)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(directory / "api.sock")).start()
        yield environment(directory / "api.sock")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_tool_is_asked_for_the_same_in_every_language(language, run, tmp_path):
    asked: list[Json] = []
    async with serve_tools(tmp_path, asked) as env:
        finished = await run_in(run, language, LINES[language], env)
    assert (finished.stdout, finished.stderr) == ("card_1\n", "")
    said = [{name: value for name, value in one.items() if value is not None} for one in asked if isinstance(one, dict)]
    assert said == ASKED


OUTSIDE = {
    "python": ["try: cronium.send_email('a', 'b', 'c')", "except cronium.CroniumError as error: print(error.code)"],
    "async-python": [
        "try: await client.send_email('a', 'b', 'c')",
        "except cronium.CroniumError as error: print(error.code)",
    ],
    "node": ["await cronium.sendEmail({ to: 'a' }).catch((error) => console.log(error.code));"],
    "bash": ["cronium_send_email a b c 2>error || grep -o not_supported error"],
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_there_are_no_tools_outside_of_a_job(language, run):
    finished = await run_in(run, language, OUTSIDE[language], {})
    assert (finished.stdout, finished.stderr) == ("not_supported\n", "")


def test_every_language_asks_for_everything():
    assert {len(lines) for lines in LINES.values()} == {len(ASKED)}
