"""The JavaScript SDK: real scripts in a real Node, CommonJS and ESM, against the real runtime API."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from pathlib import Path

import pytest
from aiohttp import web

from runtime_api.app import create_app
from runtime_api.backend import RefusalError
from tests.sdk.conftest import Finished
from tests.sdk.memory_backend import EXECUTION_ID, TOKEN, MemoryBackend, MemorySession, environment, serve
from tests.sdk.scenarios import SCENARIOS, WITHOUT_SERVER, Scenario, State, held, held_in_stub, put, put_in_stub

SDK = Path(__file__).parents[2] / "sdk" / "js"
LIBRARY = SDK / "lib"
HOOK = LIBRARY / "cronium" / "register.cjs"
COMMON_JS = {"NODE_PATH": str(LIBRARY)}
REQUIRE_HOOK = {"NODE_OPTIONS": f"--require={HOOK}"}
IMPORT_HOOK = {"NODE_OPTIONS": f"--import={HOOK.with_suffix('.mjs')}"}

# Makes the calls listed in calls.json and prints what each of them came to, one JSON document per line.
CALLS = """
const main = async () => {
  for (const [operation, args] of JSON.parse(fs.readFileSync("calls.json", "utf8"))) {
    try {
      const answer = await cronium[operation](...args);
      const shown = operation === "listVariables" ? answer.map((item) => item.key) : answer;
      console.log(JSON.stringify({ answer: shown ?? null }));
    } catch (error) {
      if (!(error instanceof cronium.CroniumAPIError)) throw error;
      console.log(JSON.stringify({ refused: error.code }));
    }
  }
};
main();
"""
COMMON_JS_DRIVER = 'const fs = require("fs");\nconst cronium = require("cronium");\n' + CALLS
MODULE_DRIVER = 'import fs from "node:fs";\nimport cronium from "cronium";\n' + CALLS
NAMESPACE_DRIVER = 'import fs from "node:fs";\nimport * as cronium from "cronium";\n' + CALLS


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@pytest.fixture
def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node on PATH")
    return found


@pytest.fixture
def script(run, tmp_path, node):
    """What runs a script to its end; the SDK is found as in a job."""

    async def run_script(text, env=None, name="script.cjs"):
        (tmp_path / name).write_text(text)
        return await run(node, name, env={**COMMON_JS, **REQUIRE_HOOK, **(env or {})})

    return run_script


@pytest.mark.parametrize(
    ("name", "driver", "found_by"),
    [
        pytest.param("script.cjs", COMMON_JS_DRIVER, COMMON_JS, id="require"),
        pytest.param("script.mjs", MODULE_DRIVER, REQUIRE_HOOK, id="import"),
        pytest.param("script.mjs", NAMESPACE_DRIVER, IMPORT_HOOK, id="import-names"),
    ],
)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))
async def test_scenario(scenario: Scenario, name, driver, found_by, run, node, tmp_path):
    backend = MemoryBackend(session=put(scenario.before))
    write_calls(scenario, tmp_path)
    (tmp_path / name).write_text(driver)
    async with serve(backend, tmp_path) as env:
        if scenario.token is not None:
            env["CRONIUM_EXECUTION_TOKEN"] = scenario.token
        env |= {**scenario.env, **found_by, "CRONIUM_ARTIFACTS": str(tmp_path / "artifacts")}
        finished = await run(node, name, env=env)
    assert_answered(scenario, finished)
    assert held(backend.session, tmp_path / "artifacts") == scenario.after


@pytest.mark.parametrize("scenario", WITHOUT_SERVER, ids=lambda scenario: scenario.name.replace(" ", "-"))
async def test_scenario_on_the_stub_file(scenario: Scenario, script, tmp_path):
    put_in_stub(scenario.before, tmp_path / ".cronium.json")
    write_calls(scenario, tmp_path)
    assert_answered(scenario, await script(COMMON_JS_DRIVER))
    assert held_in_stub(tmp_path / ".cronium.json") == scenario.after


def write_calls(scenario: Scenario, directory: Path) -> None:
    calls = []
    for call in scenario.calls:
        options = {camel(name): value for name, value in call.options.items()}
        calls.append([camel(call.operation), [*call.arguments, *([options] if options else [])]])
    (directory / "calls.json").write_text(json.dumps(calls))


def assert_answered(scenario: Scenario, finished: Finished) -> None:
    assert finished.stderr == ""
    expected = [{"refused": call.refused} if call.refused else {"answer": call.answer} for call in scenario.calls]
    assert [json.loads(line) for line in finished.stdout.splitlines()] == expected


NAMES_SCRIPT = """
const assert = require("node:assert");
const main = async (cronium) => {
  for (const name of ["input", "getInput"]) assert.equal(await cronium[name](), 1);
  for (const name of ["output", "setOutput"]) await cronium[name](name);
  await cronium.setVariable("key", "value");
  assert.equal(await cronium.getVariable("key"), "value");
  await cronium.setCondition(true);
  assert.equal(await cronium.getCondition(), true);
  for (const name of ["event", "getEventContext"]) assert.deepEqual(await cronium[name](), { id: "evt_1" });
};
(async () => {
  const required = require("cronium");
  const imported = await import("cronium");
  assert.equal(imported.default, required);
  assert.equal(required.default, required);
  assert.equal(required.cronium, required);
  assert.deepEqual(Object.keys(imported).sort(), Object.keys(required).sort());
  for (const cronium of [required, imported, new required.Cronium()]) await main(cronium);
  const { input } = required;
  assert.equal(await input(), 1);
})();
"""


async def test_every_name_of_an_operation_works_in_every_form(script, tmp_path):
    backend = MemoryBackend(session=MemorySession(input=1, context={"id": "evt_1"}))
    async with serve(backend, tmp_path) as env:
        finished = await script(NAMES_SCRIPT, env)
    assert finished.stderr == ""
    assert backend.session.output == "setOutput"


PRINTS_INPUT = 'require("cronium").input().then((input) => console.log(input));'


@pytest.mark.parametrize(
    "names",
    [
        ("CRONIUM_RUNTIME_API", "CRONIUM_EXECUTION_TOKEN", "CRONIUM_EXECUTION_ID"),
        ("CRONIUM_API_ENDPOINT", "CRONIUM_API_TOKEN", "CRONIUM_JOB_ID"),
        ("CRONIUM_API_URL", "CRONIUM_API_TOKEN", None),
    ],
    ids=lambda names: names[0],
)
async def test_every_spelling_of_the_environment_is_understood(names, script):
    runner = web.AppRunner(create_app(MemoryBackend(session=MemorySession(input="over TCP"))))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        values = (f"http://127.0.0.1:{runner.addresses[0][1]}/", f"{TOKEN}\n", EXECUTION_ID)
        env = {name: value for name, value in zip(names, values, strict=True) if name is not None}
        finished = await script(PRINTS_INPUT, env)
    finally:
        await runner.cleanup()
    assert (finished.stdout, finished.stderr) == ("over TCP\n", "")


async def test_an_explicit_client_needs_no_environment(script, tmp_path):
    async with serve(MemoryBackend(session=MemorySession(input="mine")), tmp_path):
        text = f"""
const {{ Cronium }} = require("cronium");
const client = new Cronium({{ base: "unix:{tmp_path}/api.sock", token: "{TOKEN}", executionId: "{EXECUTION_ID}" }});
client.input().then((input) => console.log(input));
"""
        finished = await script(text)
    assert (finished.stdout, finished.stderr) == ("mine\n", "")


async def test_writes_that_nobody_awaits_happen_in_their_order_before_the_script_ends(script, tmp_path):
    backend = MemoryBackend()
    text = """
const cronium = require("cronium");
for (let n = 0; n <= 20; n += 1) cronium.output({ n, filler: "x".repeat((20 - n) * 10000) });
"""
    async with serve(backend, tmp_path) as env:
        finished = await script(text, env)
    assert finished.stderr == ""
    assert backend.session.output == {"n": 20, "filler": ""}


# Says on stdout when it is about to wait for another try, so that a test need not guess.
TELLS_WHEN_IT_WAITS = """
const real = globalThis.setTimeout;
globalThis.setTimeout = (work, ms) => {
  if (ms < 5000) console.log("waits"); // the deadline itself is a timer too
  return real(work, ms);
};
require("cronium").input().then((input) => console.log(input));
"""


@pytest.mark.parametrize("stale", [False, True], ids=["no socket yet", "nobody listens"])
async def test_a_call_waits_for_a_runtime_api_that_comes_up_later(stale, run, tmp_path, node):
    (tmp_path / "script.cjs").write_text(TELLS_WHEN_IT_WAITS)
    if stale:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "api.sock"))
    process = await run.start(node, "script.cjs", env={**COMMON_JS, **environment(tmp_path / "api.sock")})
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await process.stdout.readline() == b"waits\n"
        async with serve(MemoryBackend(session=MemorySession(input="late")), tmp_path):
            stdout, stderr = await process.communicate()
    assert stdout.decode().splitlines()[-1] == "late"
    assert stderr == b""


async def test_a_busy_runtime_api_is_asked_again(script, tmp_path):
    backend = MemoryBackend(session=MemorySession(input="at last"))
    backend.failures = [
        RefusalError(429, "rate_limited", "Slow down.", retry_after_seconds=0),
        *(RefusalError(status, "unavailable", "Try again.") for status in (502, 503, 504)),
    ]
    async with serve(backend, tmp_path) as env:
        finished = await script(PRINTS_INPUT, env)
    assert (finished.stdout, finished.stderr) == ("at last\n", "")
    assert [status for _, status in backend.calls] == [429, 502, 503, 504, 200]


PRINTS_THE_ERROR = """
const { input } = require("cronium");
input().then(
  (value) => console.log(value),
  (error) => console.log(error.name, error.code, error.statusCode ?? "-"),
);
"""


async def test_a_wish_to_wait_beyond_the_deadline_is_not_waited_for(script, tmp_path):
    backend = MemoryBackend(failures=[RefusalError(429, "rate_limited", "Slow down.", retry_after_seconds=3600)])
    async with serve(backend, tmp_path) as env:
        finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == "CroniumAPIError rate_limited 429\n"
    assert backend.calls == [("get_input", 429)]


async def test_an_error_of_the_engine_is_not_asked_again(script, tmp_path):
    backend = MemoryBackend(failures=[RuntimeError("broken on purpose")])
    async with serve(backend, tmp_path) as env:
        finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == "CroniumAPIError internal 500\n"
    assert len(backend.calls) == 1


async def test_no_answer_until_the_deadline_is_a_timeout(script, tmp_path):
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen()
        env = {**environment(tmp_path / "deaf.sock"), "CRONIUM_SDK_DEADLINE_SECONDS": "0.2"}
        finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == "CroniumTimeoutError timeout -\n"


async def test_something_else_at_the_address_is_named(script, tmp_path):
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<h1>Welcome</h1>")

    app = web.Application()
    app.router.add_get("/{anything:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "page.sock")).start()
        finished = await script(PRINTS_THE_ERROR, environment(tmp_path / "page.sock"))
    finally:
        await runner.cleanup()
    assert finished.stdout == "CroniumAPIError invalid_answer 200\n"


async def test_an_answer_that_breaks_off_is_no_answer(script, tmp_path):
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data":')
        writer.close()

    async with await asyncio.start_unix_server(break_off, tmp_path / "api.sock"):
        env = {**environment(tmp_path / "api.sock"), "CRONIUM_SDK_DEADLINE_SECONDS": "0.2"}
        finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == "CroniumError runtime_unavailable -\n"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"CRONIUM_EXECUTION_ID": "job_1"}, "CroniumError runtime_unavailable -\n"),
        ({"CRONIUM_RUNTIME_API": "unix:/nowhere"}, "CroniumError configuration -\n"),
        ({"CRONIUM_RUNTIME_API": "ftp://host", "CRONIUM_EXECUTION_TOKEN": "t"}, "CroniumError configuration -\n"),
        ({"CRONIUM_RUNTIME_API": "http://", "CRONIUM_EXECUTION_TOKEN": "t"}, "CroniumError configuration -\n"),
        ({**environment(Path("x")), "CRONIUM_SDK_DEADLINE_SECONDS": "soon"}, "CroniumError configuration -\n"),
        ({**environment(Path("/x")), "CRONIUM_SDK_DEADLINE_SECONDS": "0.2"}, "CroniumError runtime_unavailable -\n"),
        (
            {**environment(Path("/x" * 100)), "CRONIUM_SDK_DEADLINE_SECONDS": "0.2"},
            "CroniumError runtime_unavailable -\n",
        ),
    ],
    ids=["no address", "no token", "no such scheme", "no host", "no such deadline", "no socket", "path too long"],
)
async def test_half_an_environment_is_an_error_that_says_which_half(env, expected, script, tmp_path):
    finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == expected
    assert not (tmp_path / ".cronium.json").exists()


async def test_outside_a_job_a_script_works_on_the_stub_file(script, tmp_path):
    (tmp_path / ".cronium.json").write_text('{"input": {"n": 0}, "context": {"id": "evt_1"}, "mine": "kept"}')
    text = """
const assert = require("node:assert");
const cronium = require("cronium");
(async () => {
  assert.deepEqual(await cronium.input(), { n: 0 });
  assert.deepEqual(await cronium.event(), { id: "evt_1" });
  assert.equal(await cronium.getVariable("missing"), null);
  assert.equal(await cronium.getVariable("toString"), null);
  assert.equal(await cronium.getCondition(), null);
  for (const value of [0, "", false, null, [], {}]) {
    await cronium.setVariable("größe/1", value);
    assert.deepStrictEqual(await cronium.getVariable("größe/1"), value);
  }
  await Promise.all([1, 2, 3].map((n) => cronium.setVariable(`v${n}`, n)));
  await cronium.setCondition(false);
  assert.equal(await cronium.getCondition(), false);
  await cronium.output({ ok: true });
})();
"""
    finished = await script(text)
    assert finished.stderr == ""
    assert json.loads((tmp_path / ".cronium.json").read_text()) == {
        "input": {"n": 0},
        "context": {"id": "evt_1"},
        "mine": "kept",
        "variables": {"größe/1": {}, "v1": 1, "v2": 2, "v3": 3},
        "versions": {"größe/1": 6},
        "condition": False,
        "output": {"ok": True},
    }
    assert {path.name for path in tmp_path.iterdir()} == {".cronium.json", "script.cjs"}


async def test_no_stub_file_is_an_empty_one_until_something_is_written(script, tmp_path):
    text = """
const cronium = require("cronium");
(async () => { console.log(await cronium.input(), await cronium.event()); await cronium.output(0); })();
"""
    finished = await script(text, {"CRONIUM_STUB_FILE": str(tmp_path / "mine.json")})
    assert (finished.stdout, finished.stderr) == ("null {}\n", "")
    assert json.loads((tmp_path / "mine.json").read_text()) == {"output": 0}


@pytest.mark.parametrize("content", ["{broken", "[]", '{"variables": []}'])
async def test_a_stub_file_that_is_none_is_named_and_left_alone(content, script, tmp_path):
    (tmp_path / ".cronium.json").write_text(content)
    text = """
require("cronium").setVariable("a", 1).catch((error) =>
  console.log(error.code, error.message.includes(".cronium.json")));
"""
    finished = await script(text)
    assert finished.stdout == "configuration true\n"
    assert (tmp_path / ".cronium.json").read_text() == content


async def test_loading_needs_no_environment_and_touches_nothing(script, tmp_path):
    text = """
const before = new Set(process.moduleLoadList);
require("cronium");
const loaded = process.moduleLoadList.filter((name) => !before.has(name));
console.log(loaded.join() || "nothing");
"""
    finished = await script(text)
    assert (finished.stdout, finished.stderr) == ("nothing\n", "")
    assert not (tmp_path / ".cronium.json").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("undefined", "output is undefined, which JSON cannot hold: use null"),
        ("NaN", "output is NaN"),
        ("{ a: [1, -Infinity] }", "output.a[1] is -Infinity"),
        ("[undefined]", "output[0] is undefined"),
        ("{ n: 10n }", "output.n is a BigInt"),
        ("() => 1", "output is a function"),
        ("[Symbol('x')]", "output[0] is a symbol"),
        ("{ m: new Map() }", "output.m is a Map"),
        ("[[new Set()]]", "output[0][0] is a Set"),
        ("{ b: Buffer.from('x') }", "output.b is binary data"),
        ("(() => { const circle = {}; circle.self = circle; return circle; })()", "circular"),
    ],
)
async def test_a_value_that_json_cannot_hold_is_named_before_anything_is_sent(value, message, script, tmp_path):
    text = f"""
require("cronium").output({value}).catch((error) => console.log(error instanceof TypeError, error.message));
"""
    backend = MemoryBackend()
    async with serve(backend, tmp_path) as env:
        finished = await script(text, env)
    assert finished.stdout.startswith("true ")
    assert message in finished.stdout
    assert backend.calls == []


async def test_what_json_stringify_can_say_is_sent_as_it_says_it(script, tmp_path):
    backend = MemoryBackend()
    text = 'require("cronium").output({ at: new Date(0), left: undefined, own: { toJSON: () => [1] }, zero: -0 });'
    async with serve(backend, tmp_path) as env:
        finished = await script(text, env)
    assert finished.stderr == ""
    assert held(backend.session) == State(
        output={"at": "1970-01-01T00:00:00.000Z", "own": [1], "zero": 0}, has_output=True
    )


@pytest.mark.parametrize(
    "call",
    [
        'getVariable("")',
        "getVariable(7)",
        "setVariable(null, 1)",
        r'getVariable("\ud800")',
        'setCondition("yes")',
        "setCondition(1)",
        "setCondition()",
        'getVariable("a", { scope: "mine" })',
        'setVariable("a", 1, { ifVersion: -1 })',
        'setVariable("a", 1, { ifVersion: "1" })',
        'incrementVariable("a", "1")',
        'incrementVariable("a", NaN)',
        "listVariables(7)",
        'progress("text", "beside text")',
        "progress(undefined)",
        "log(7)",
        'log("a", "loud")',
        'log("a", "info", [() => 1])',
        'artifact(7, "")',
        'artifact("a", 7)',
    ],
)
async def test_a_wrong_call_is_a_type_error(call, script, tmp_path):
    text = f'require("cronium").{call}.catch((error) => console.log(error instanceof TypeError && error.code));'
    backend = MemoryBackend()
    async with serve(backend, tmp_path) as env:
        finished = await script(text, env)
    assert (finished.stdout, backend.calls) == ("invalid_argument\n", [])


async def test_log_entries_outside_of_a_job_go_where_a_log_would_have_them(script):
    text = """
const cronium = require("cronium");
cronium.log("größe", "info", { n: 0 }).then(() => cronium.log("bad", "error"));
"""
    finished = await script(text)
    assert finished.stdout == '{"level":"info","message":"größe","data":{"n":0}}\n'
    assert finished.stderr == '{"level":"error","message":"bad"}\n'


async def test_a_big_integer_is_added_exactly(script, tmp_path):
    backend = MemoryBackend(session=MemorySession(variables={"n": 1}))
    text = 'require("cronium").incrementVariable("n", 2n ** 60n);'
    async with serve(backend, tmp_path) as env:
        finished = await script(text, env)
    assert finished.stderr == ""
    assert backend.session.variables == {"n": 2**60 + 1}


@pytest.mark.parametrize("key", [".", "..", "__proto__", "a/../b", " "])
async def test_a_key_is_never_taken_for_a_path(key, script, tmp_path):
    backend = MemoryBackend()
    text = f"""
const cronium = require("cronium");
cronium.setVariable({json.dumps(key)}, 1).then(() => cronium.getVariable({json.dumps(key)})).then(console.log);
"""
    async with serve(backend, tmp_path) as env:
        finished = await script(text, env)
    assert (finished.stdout, finished.stderr) == ("1\n", "")
    assert backend.session.variables == {key: 1}


@pytest.mark.parametrize("hook", [REQUIRE_HOOK, IMPORT_HOOK], ids=["--require", "--import"])
async def test_a_package_of_the_same_name_that_the_script_brings_comes_first(hook, script, tmp_path):
    package = tmp_path / "node_modules" / "cronium"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "cronium", "main": "index.js"}')
    (package / "index.js").write_text('module.exports = "its own";')
    text = 'import cronium from "cronium";\nconsole.log(cronium);'
    finished = await script(text, hook, name="script.mjs")
    assert (finished.stdout, finished.stderr) == ("its own\n", "")


@pytest.mark.parametrize("hook", [REQUIRE_HOOK, IMPORT_HOOK], ids=["--require", "--import"])
@pytest.mark.parametrize(
    "text",
    [
        'import { missing } from "./nowhere.mjs";',
        'import "cronium/nothing";',
        'import "cronium-other";',
    ],
)
async def test_the_hook_leaves_other_imports_alone(hook, text, script):
    finished = await script(text, hook, name="script.mjs")
    assert finished.exit_code == 1
    assert "ERR_MODULE_NOT_FOUND" in finished.stderr


async def test_a_module_imported_by_an_import_finds_the_sdk_too(script, tmp_path):
    (tmp_path / "inner.mjs").write_text('export { input } from "cronium";')
    text = 'const { input } = await import("./inner.mjs");\nconsole.log(await input());'
    finished = await script(text, name="script.mjs")
    assert (finished.stdout, finished.stderr) == ("null\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-p", "require('cronium').input.length"),
        ("-e", "import('cronium').then((cronium) => console.log(cronium.input.length))"),
        ("--input-type=module", "-e", "import { input } from 'cronium'; console.log(input.length)"),
    ],
    ids=["-p", "-e", "module"],
)
async def test_a_script_on_the_command_line_finds_the_sdk(arguments, run, node):
    finished = await run(node, *arguments, env={**COMMON_JS, **REQUIRE_HOOK})
    assert (finished.stdout, finished.stderr) == ("0\n", "")


async def test_a_node_with_hooks_in_the_same_thread_is_given_such_a_hook(script, tmp_path):
    # Stands in for Node 22.15 and later, whose `registerHooks` takes what is checked here.
    (tmp_path / "newer.cjs").write_text(
        'require("module").registerHooks = (hooks) => { globalThis.resolve = hooks.resolve; };'
    )
    text = """
const assert = require("node:assert");
const none = (code) => () => { throw Object.assign(new Error(), { code }); };
const found = resolve("cronium", {}, none("ERR_MODULE_NOT_FOUND"));
assert.deepEqual(Object.keys(found), ["url", "format", "shortCircuit"]);
assert.throws(() => resolve("cronium", {}, none("MODULE_NOT_FOUND")), { code: "MODULE_NOT_FOUND" });
assert.throws(() => resolve("other", {}, none("ERR_MODULE_NOT_FOUND")), { code: "ERR_MODULE_NOT_FOUND" });
assert.equal(resolve("cronium", {}, (...all) => all.length), 2);
import(found.url).then((cronium) => console.log(typeof cronium.input));
"""
    finished = await script(text, {"NODE_OPTIONS": f"--require={tmp_path}/newer.cjs --require={HOOK}"})
    assert (finished.stdout, finished.stderr) == ("function\n", "")


async def test_a_node_without_hooks_runs_the_script_all_the_same(script, tmp_path):
    (tmp_path / "older.cjs").write_text(
        'Object.assign(require("module"), { register: () => { throw new Error("forbidden"); } });'
    )
    text = """
import("cronium").catch((error) => console.log(error.code, typeof require("cronium").input));
"""
    finished = await script(text, {"NODE_OPTIONS": f"--require={tmp_path}/older.cjs --require={HOOK}"})
    assert (finished.stdout, finished.stderr) == ("ERR_MODULE_NOT_FOUND function\n", "")


async def test_a_script_that_imports_nothing_pays_for_no_thread(script):
    text = 'console.log(require("fs").readdirSync("/proc/self/task").length);'
    with_hook = await script(text)
    without = await script(text, {"NODE_OPTIONS": ""})
    assert with_hook.stdout == without.stdout


async def test_the_package_can_be_installed(run, node, tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on PATH")
    (tmp_path / "package.json").write_text('{"name": "mine", "private": true}')
    quiet = ("--offline", "--no-audit", "--no-fund", "--no-update-notifier")
    installed = await run(npm, "install", str(SDK), *quiet, env={"HOME": str(tmp_path)})
    assert installed.exit_code == 0, installed.stderr
    (tmp_path / "script.mjs").write_text(
        'import cronium, { input } from "cronium";\nimport { createRequire } from "node:module";\n'
        'console.log(createRequire(import.meta.url)("cronium") === cronium, await input());'
    )
    finished = await run(node, "script.mjs")
    assert (finished.stdout, finished.stderr) == ("true null\n", "")
