"""Every operation is there in every language, under every name that scripts know it by, and the documents tell of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from tests.sdk.languages import SDK, run_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What one operation is called."""

    python: str
    js: str
    bash: str


NAMES = (
    Names(python="input get_input getInput", js="input getInput", bash="cronium_input cronium_get_input cronium.input"),
    Names(
        python="output set_output setOutput",
        js="output setOutput",
        bash="cronium_output cronium_set_output cronium.output",
    ),
    Names(
        python="get_variable getVariable",
        js="getVariable",
        bash="cronium_get_variable cronium_getVariable cronium.getVariable",
    ),
    Names(
        python="get_variable_version getVariableVersion", js="getVariableVersion", bash="cronium_get_variable_version"
    ),
    Names(
        python="set_variable setVariable",
        js="setVariable",
        bash="cronium_set_variable cronium_setVariable cronium.setVariable",
    ),
    Names(python="increment_variable incrementVariable", js="incrementVariable", bash="cronium_increment_variable"),
    Names(python="delete_variable deleteVariable", js="deleteVariable", bash="cronium_delete_variable"),
    Names(python="list_variables listVariables", js="listVariables", bash="cronium_list_variables"),
    Names(
        python="get_condition getCondition",
        js="getCondition",
        bash="cronium_get_condition cronium_getCondition cronium.getCondition",
    ),
    Names(
        python="set_condition setCondition",
        js="setCondition",
        bash="cronium_set_condition cronium_setCondition cronium.setCondition",
    ),
    Names(
        python="event get_event_context getEventContext",
        js="event getEventContext",
        bash="cronium_event cronium_get_event_context cronium_event_field cronium.event",
    ),
    Names(
        python="progress set_progress setProgress",
        js="progress setProgress",
        bash="cronium_progress cronium_set_progress cronium.progress",
    ),
    Names(python="log", js="log", bash="cronium_log cronium.log"),
    Names(python="artifact", js="artifact", bash="cronium_artifact cronium.artifact"),
    Names(python="execution_mode executionMode", js="executionMode", bash="cronium_execution_mode"),
    Names(
        python="execute_tool_action executeToolAction",
        js="executeToolAction",
        bash="cronium_execute_tool_action cronium_executeToolAction",
    ),
    Names(python="send_email sendEmail", js="sendEmail", bash="cronium_send_email"),
    Names(python="send_slack_message sendSlackMessage", js="sendSlackMessage", bash="cronium_send_slack_message"),
    Names(
        python="send_discord_message sendDiscordMessage", js="sendDiscordMessage", bash="cronium_send_discord_message"
    ),
)
ERRORS = {
    "python": {"CroniumError", "CroniumAPIError", "CroniumTimeoutError", "CroniumUsageError"},
    "js": {"CroniumError", "CroniumAPIError", "CroniumTimeoutError"},
    "bash": set(),
}


def names(language: str) -> set[str]:
    return {name for operation in NAMES for name in getattr(operation, language).split()}


async def test_python_has_every_name_and_no_other(run):
    lines = [
        "import json",
        "for there in (cronium.__all__, dir(cronium.Cronium), dir(cronium.AsyncCronium)):",
        "    print(json.dumps([name for name in there if not name.startswith('_') and hasattr(cronium, name)]))",
        "print(all(callable(getattr(cronium, name)) for name in cronium.__all__))",
    ]
    finished = await run_in(run, "python", lines, {})
    module, client, other = (set(json.loads(line)) for line in finished.stdout.splitlines()[:3])
    assert finished.stdout.endswith("True\n")
    assert module == names("python") | ERRORS["python"] | {"Cronium", "AsyncCronium"}
    assert client == names("python")
    assert other == names("python")


async def test_javascript_has_every_name_and_no_other(run):
    lines = [
        "const own = Object.getOwnPropertyNames(cronium.Cronium.prototype);",
        "console.log(JSON.stringify([Object.keys(cronium), Object.keys(await import('cronium')), own]));",
    ]
    hook = SDK / "js" / "lib" / "cronium" / "register.cjs"
    finished = await run_in(run, "node", lines, {"NODE_OPTIONS": f"--require={hook}"})
    required, imported, methods = (set(there) for there in json.loads(finished.stdout))
    assert required == names("js") | ERRORS["js"] | {"Cronium", "cronium", "default"}
    assert imported == required
    assert methods - {"constructor"} == names("js")


def test_the_types_of_javascript_tell_of_every_name():
    text = (SDK / "js" / "lib" / "cronium" / "cronium.d.ts").read_text()
    assert set(re.findall(r"^export const (\w+): Cronium\[\"\w+\"\];$", text, re.MULTILINE)) == names("js")
    methods = text.split("export class Cronium {")[1].split("\n}\n")[0]
    assert set(re.findall(r"^  (\w+)(?:<.*>)?\(", methods, re.MULTILINE)) - {"constructor"} == names("js")


async def test_bash_has_every_name_and_no_other(run):
    finished = await run_in(run, "bash", ["declare -F"], {})
    there = {line.split()[-1] for line in finished.stdout.splitlines()}
    assert {name for name in there if not name.startswith("_")} == names("bash")


@pytest.mark.parametrize("language", ["python", "js", "bash"])
def test_the_page_of_the_language_tells_of_every_name(language):
    page = (SDK / language / "README.md").read_text()
    told = set(re.findall(r"`([\w.]+)[^`]*`", page))
    assert names(language) - told == set()
    assert {error for error in ERRORS[language] if error not in page} == set()
