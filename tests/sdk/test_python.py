"""The Python SDK: real scripts in real interpreters against the real runtime API."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from runtime_api.app import create_app
from runtime_api.backend import RefusalError
from tests.sdk.conftest import Finished
from tests.sdk.memory_backend import EXECUTION_ID, TOKEN, MemoryBackend, MemorySession, environment, serve
from tests.sdk.scenarios import SCENARIOS, WITHOUT_SERVER, Scenario, held, held_in_stub, put, put_in_stub

SDK = Path(__file__).parents[2] / "sdk" / "python"
OLDEST = next(iter(sorted(Path.home().glob(".pyenv/versions/3.8*/bin/python"))), None)

# Makes the calls listed in calls.json and prints what each of them came to, one JSON document per line.
SYNC_DRIVER = """
import json, pathlib, cronium

for operation, arguments, options in json.loads(pathlib.Path("calls.json").read_text("utf-8")):
    try:
        answer = getattr(cronium, operation)(*arguments, **options)
        if operation == "list_variables":
            answer = [item["key"] for item in answer]
        print(json.dumps({"answer": answer}))
    except cronium.CroniumAPIError as error:
        print(json.dumps({"refused": error.code}))
"""
ASYNC_DRIVER = """
import asyncio, json, pathlib, cronium

async def main():
    async with cronium.AsyncCronium() as client:
        for operation, arguments, options in json.loads(pathlib.Path("calls.json").read_text("utf-8")):
            try:
                answer = await getattr(client, operation)(*arguments, **options)
                if operation == "list_variables":
                    answer = [item["key"] for item in answer]
                print(json.dumps({"answer": answer}))
            except cronium.CroniumAPIError as error:
                print(json.dumps({"refused": error.code}))

asyncio.run(main())
"""


@pytest.fixture(params=[pytest.param(sys.executable, id="this-python"), pytest.param(OLDEST, id="python3.8")])
def python(request):
    """The interpreter that runs the scripts, warnings being errors."""
    if request.param is None:
        pytest.skip("no Python 3.8 in ~/.pyenv/versions")
    return str(request.param)


@pytest.fixture
def script(run, tmp_path, python):
    """Called with a text and an environment, runs the text as a script that finds the SDK by PYTHONPATH."""

    async def run_script(text, env=None):
        (tmp_path / "script.py").write_text(text)
        return await run(python, "-W", "error", "script.py", env={"PYTHONPATH": str(SDK), **(env or {})})

    return run_script


@pytest.fixture
def sdk():
    """The SDK, loaded into the test itself."""
    spec = importlib.util.spec_from_file_location("cronium_under_test", SDK / "cronium.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("driver", [pytest.param(SYNC_DRIVER, id="sync"), pytest.param(ASYNC_DRIVER, id="async")])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))
async def test_scenario(scenario: Scenario, driver, script, tmp_path):
    backend = MemoryBackend(session=put(scenario.before))
    write_calls(scenario, tmp_path)
    async with serve(backend, tmp_path) as env:
        if scenario.token is not None:
            env["CRONIUM_EXECUTION_TOKEN"] = scenario.token
        finished = await script(driver, {**env, **scenario.env, "CRONIUM_ARTIFACTS": str(tmp_path / "artifacts")})
    assert_answered(scenario, finished)
    assert held(backend.session, tmp_path / "artifacts") == scenario.after


@pytest.mark.parametrize("scenario", WITHOUT_SERVER, ids=lambda scenario: scenario.name.replace(" ", "-"))
async def test_scenario_on_the_stub_file(scenario: Scenario, script, tmp_path):
    put_in_stub(scenario.before, tmp_path / ".cronium.json")
    write_calls(scenario, tmp_path)
    assert_answered(scenario, await script(SYNC_DRIVER))
    assert held_in_stub(tmp_path / ".cronium.json") == scenario.after


def write_calls(scenario: Scenario, directory: Path) -> None:
    calls = [[call.operation, call.arguments, call.options] for call in scenario.calls]
    (directory / "calls.json").write_text(json.dumps(calls))


def assert_answered(scenario: Scenario, finished: Finished) -> None:
    assert finished.stderr == ""
    expected = [{"refused": call.refused} if call.refused else {"answer": call.answer} for call in scenario.calls]
    assert [json.loads(line) for line in finished.stdout.splitlines()] == expected


async def test_every_name_of_an_operation_works(script, tmp_path):
    backend = MemoryBackend(session=MemorySession(input=1, context={"id": "evt_1"}))
    names = """
import cronium
from cronium import *
for name in ("input", "get_input", "getInput"):
    assert getattr(cronium, name)() == getattr(cronium.cronium, name)() == 1
for name in ("output", "set_output", "setOutput"):
    getattr(cronium, name)(name)
for get, set in (("get_variable", "set_variable"), ("getVariable", "setVariable")):
    getattr(cronium, set)("key", get)
    assert getattr(cronium, get)("key") == get
for get, set in (("get_condition", "set_condition"), ("getCondition", "setCondition")):
    getattr(cronium, set)(True)
    assert getattr(cronium, get)() is True
for name in ("event", "get_event_context", "getEventContext"):
    assert getattr(cronium, name)() == {"id": "evt_1"}
for name in cronium.__all__:
    assert hasattr(cronium, name)
for name in ("input", "output", "get_variable", "setCondition", "getEventContext"):
    assert hasattr(cronium.AsyncCronium, name)
"""
    async with serve(backend, tmp_path) as env:
        finished = await script(names, env)
    assert finished.stderr == ""
    assert backend.session.output == "setOutput"


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
    backend = MemoryBackend(session=MemorySession(input="over TCP"))
    runner = web.AppRunner(create_app(backend))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        values = (f"http://127.0.0.1:{runner.addresses[0][1]}/", f"{TOKEN}\n", EXECUTION_ID)
        env = {name: value for name, value in zip(names, values, strict=True) if name is not None}
        finished = await script("import cronium; print(cronium.input())", env)
    finally:
        await runner.cleanup()
    assert (finished.stdout, finished.stderr) == ("over TCP\n", "")


async def test_an_explicit_client_needs_no_environment(script, tmp_path):
    backend = MemoryBackend(session=MemorySession(input="mine"))
    async with serve(backend, tmp_path):
        text = f"""
import cronium
client = cronium.Cronium(base="unix:{tmp_path}/api.sock", token="{TOKEN}", execution_id="{EXECUTION_ID}")
print(client.input())
"""
        finished = await script(text)
    assert (finished.stdout, finished.stderr) == ("mine\n", "")


# Says on stdout when it is about to wait for another try, so that a test need not guess.
TELLS_WHEN_IT_WAITS = """
import time
sleep = time.sleep
def tell(seconds):
    print("waits", flush=True)
    sleep(seconds)
time.sleep = tell
import cronium
print(cronium.input(), flush=True)
"""


@pytest.mark.parametrize("stale", [False, True], ids=["no socket yet", "nobody listens"])
async def test_a_call_waits_for_a_runtime_api_that_comes_up_later(stale, run, tmp_path, python):
    (tmp_path / "script.py").write_text(TELLS_WHEN_IT_WAITS)
    if stale:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "api.sock"))
    env = {"PYTHONPATH": str(SDK), **environment(tmp_path / "api.sock")}
    process = await run.start(python, "script.py", env=env)
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await process.stdout.readline() == b"waits\n"
        async with serve(MemoryBackend(session=MemorySession(input="late")), tmp_path):
            _, stderr = rest = await process.communicate()
    assert rest[0].decode().splitlines()[-1] == "late"
    assert stderr == b""


async def test_a_busy_runtime_api_is_asked_again(script, tmp_path):
    backend = MemoryBackend(session=MemorySession(input="at last"))
    backend.failures = [
        RefusalError(429, "rate_limited", "Slow down.", retry_after_seconds=0),
        *(RefusalError(status, "unavailable", "Try again.") for status in (502, 503, 504)),
    ]
    async with serve(backend, tmp_path) as env:
        finished = await script("import cronium; print(cronium.input())", env)
    assert (finished.stdout, finished.stderr) == ("at last\n", "")
    assert [status for _, status in backend.calls] == [429, 502, 503, 504, 200]


PRINTS_THE_ERROR = """
import cronium
try:
    print(cronium.input())
except cronium.CroniumError as error:
    print(type(error).__name__, error.code, getattr(error, "status_code", "-"))
"""


async def test_a_wish_to_wait_beyond_the_deadline_is_not_waited_for(script, tmp_path):
    failures: list[Exception] = [RefusalError(429, "rate_limited", "Slow down.", retry_after_seconds=3600)]
    backend = MemoryBackend(failures=failures)
    async with serve(backend, tmp_path) as env:
        finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == "CroniumAPIError rate_limited 429\n"
    assert backend.calls == [("get_input", 429)]


async def test_an_error_of_the_engine_is_not_asked_again(script, tmp_path):
    backend = MemoryBackend(failures=[RuntimeError("broken on purpose")])
    async with serve(backend, tmp_path) as env:
        finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == "CroniumAPIError internal 500\n"


async def test_no_runtime_api_until_the_deadline_is_unavailable(script, tmp_path):
    env = {**environment(tmp_path / "nowhere.sock"), "CRONIUM_SDK_DEADLINE_SECONDS": "0.2"}
    finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == "CroniumError runtime_unavailable -\n"


async def test_no_answer_until_the_deadline_is_a_timeout(script, tmp_path):
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen()
        env = {**environment(tmp_path / "deaf.sock"), "CRONIUM_SDK_DEADLINE_SECONDS": "0.2"}
        finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == "CroniumTimeoutError timeout -\n"


async def test_something_else_at_the_address_is_named(script, tmp_path):
    app = web.Application()

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<h1>Welcome</h1>")

    app.router.add_get("/{anything:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "page.sock")).start()
        finished = await script(PRINTS_THE_ERROR, environment(tmp_path / "page.sock"))
    finally:
        await runner.cleanup()
    assert finished.stdout == "CroniumAPIError invalid_answer 200\n"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"CRONIUM_EXECUTION_ID": "job_1"}, "CroniumError runtime_unavailable -\n"),
        ({"CRONIUM_RUNTIME_API": "unix:/nowhere"}, "CroniumError configuration -\n"),
        ({"CRONIUM_RUNTIME_API": "ftp://host", "CRONIUM_EXECUTION_TOKEN": "t"}, "CroniumError configuration -\n"),
        ({"CRONIUM_RUNTIME_API": "http://", "CRONIUM_EXECUTION_TOKEN": "t"}, "CroniumError configuration -\n"),
        (
            {**environment(Path("x")), "CRONIUM_SDK_DEADLINE_SECONDS": "soon"},
            "CroniumError configuration -\n",
        ),
        ({**environment(Path("/x" * 100))}, "CroniumError runtime_unavailable -\n"),
    ],
    ids=["no address", "no token", "no such scheme", "no host", "no such deadline", "path too long"],
)
async def test_half_an_environment_is_an_error_that_says_which_half(env, expected, script, tmp_path):
    finished = await script(PRINTS_THE_ERROR, env)
    assert finished.stdout == expected
    assert not (tmp_path / ".cronium.json").exists()


async def test_outside_a_job_a_script_works_on_the_stub_file(script, tmp_path):
    (tmp_path / ".cronium.json").write_text('{"input": {"n": 0}, "context": {"id": "evt_1"}, "mine": "kept"}')
    text = """
import cronium
assert cronium.input() == {"n": 0}
assert cronium.event() == {"id": "evt_1"}
assert cronium.get_variable("missing") is None
assert cronium.get_condition() is None
for value in (0, "", False, None, [], {}):
    cronium.set_variable("größe/1", value)
    assert cronium.get_variable("größe/1") == value
cronium.set_condition(False)
assert cronium.get_condition() is False
cronium.output({"ok": True})
"""
    finished = await script(text)
    assert finished.stderr == ""
    assert json.loads((tmp_path / ".cronium.json").read_text()) == {
        "input": {"n": 0},
        "context": {"id": "evt_1"},
        "mine": "kept",
        "variables": {"größe/1": {}},
        "versions": {"größe/1": 6},
        "condition": False,
        "output": {"ok": True},
    }
    assert {path.name for path in tmp_path.iterdir()} == {".cronium.json", "script.py"}


async def test_no_stub_file_is_an_empty_one_until_something_is_written(script, tmp_path):
    text = "import cronium; print(cronium.input(), cronium.event()); cronium.output(0)"
    env = {"CRONIUM_STUB_FILE": str(tmp_path / "mine.json")}
    finished = await script(text, env)
    assert (finished.stdout, finished.stderr) == ("None {}\n", "")
    assert json.loads((tmp_path / "mine.json").read_text()) == {"output": 0}


@pytest.mark.parametrize("content", ["{broken", "[]", '{"variables": [1]}'])
async def test_a_stub_file_that_is_none_is_named_and_left_alone(content, script, tmp_path):
    (tmp_path / ".cronium.json").write_text(content)
    text = """
import cronium
try:
    cronium.set_variable("a", 1)
except cronium.CroniumError as error:
    print(error.code, ".cronium.json" in str(error))
"""
    finished = await script(text)
    assert finished.stdout == "configuration True\n"
    assert (tmp_path / ".cronium.json").read_text() == content


async def test_threads_do_not_lose_each_others_writes_to_the_stub_file(script, tmp_path):
    text = """
import asyncio, cronium

async def main():
    client = cronium.AsyncCronium()
    await asyncio.gather(*(client.set_variable("v{}".format(n), n) for n in range(20)))

asyncio.run(main())
"""
    finished = await script(text)
    assert finished.stderr == ""
    assert len(json.loads((tmp_path / ".cronium.json").read_text())["variables"]) == 20


async def test_importing_needs_no_environment_and_touches_nothing(script, tmp_path):
    text = """
import json, re  # what the SDK itself imports, so that only the SDK is watched
import sys
touched = []
sys.addaudithook(lambda name, args: touched.append((name, args)) if name.startswith(("socket", "subprocess")) else None)
import cronium
assert not touched, touched
assert "http.client" not in sys.modules
assert "asyncio" not in sys.modules
assert "threading" not in sys.modules
"""
    finished = await script(text)
    assert finished.stderr == ""
    assert not (tmp_path / ".cronium.json").exists()


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "kind", "names"),
    [
        (float("nan"), ValueError, "output is nan"),
        ({"a": [1, float("inf")]}, ValueError, "output['a'][1] is inf"),
        ({"a": {1, 2}}, TypeError, "output['a'] is the set {1, 2}"),
        ([b"bytes"], TypeError, "output[0] is the bytes b'bytes'"),
        ({("a", 1): 1}, TypeError, "output has the key the tuple ('a', 1)"),
        ({"n": 2**64}, ValueError, "output['n'] is 18446744073709551616"),
        (["\ud800"], ValueError, "output[0] is the str"),
        (CIRCLE, ValueError, "contains itself"),
    ],
    ids=["nan", "infinity", "set", "bytes", "tuple as key", "big integer", "half a character", "circle"],
)
def test_a_value_that_json_cannot_hold_is_named_before_anything_is_sent(value, kind, names, sdk, monkeypatch):
    monkeypatch.setenv("CRONIUM_RUNTIME_API", "unix:/nowhere")
    monkeypatch.setenv("CRONIUM_EXECUTION_TOKEN", TOKEN)
    with pytest.raises(kind) as caught:
        sdk.output(value)
    assert names in str(caught.value)


def test_integers_of_64_bits_travel(sdk, tmp_path, monkeypatch):
    monkeypatch.setenv("CRONIUM_STUB_FILE", str(tmp_path / "stub.json"))
    for number in (2**64 - 1, -(2**63)):
        sdk.set_variable("n", number)
        assert sdk.get_variable("n") == number


@pytest.mark.parametrize(
    "call",
    [
        'get_variable("")',
        "get_variable(7)",
        "get_variable(None)",
        'get_variable("\\ud800")',
        'get_variable("a", scope="mine")',
        'set_variable("a", 1, if_version=-1)',
        'set_variable("a", 1, if_version="1")',
        'set_variable("a", 1, if_version=True)',
        'increment_variable("a", "1")',
        'increment_variable("a", True)',
        'increment_variable("a", float("nan"))',
        "list_variables(7)",
        'set_condition("yes")',
        "set_condition(1)",
        "set_condition(None)",
        'progress("text", "beside text")',
        "progress({1, 2})",
        "log(7)",
        'log("a", "loud")',
        'log("a", "info", {1, 2})',
        "artifact(7, b'')",
        'execute_tool_action("a", "b", {"c": object()})',
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_sent(call, sdk, monkeypatch):
    monkeypatch.setenv("CRONIUM_RUNTIME_API", "unix:/nowhere")
    monkeypatch.setenv("CRONIUM_EXECUTION_TOKEN", TOKEN)
    monkeypatch.setenv("CRONIUM_ARTIFACTS", "/nowhere")
    with pytest.raises(sdk.CroniumUsageError) as caught:
        eval(call, vars(sdk))
    assert isinstance(caught.value, (TypeError, ValueError, sdk.CroniumError))
    assert caught.value.code == "invalid_argument"


async def test_the_event_loop_goes_on_while_a_call_waits(script, tmp_path):
    text = """
import asyncio, cronium

async def main():
    client = cronium.AsyncCronium()
    call = asyncio.ensure_future(client.input())
    for turn in range(1000):
        await asyncio.sleep(0)
    print(call.done())
    open("go", "w").close()
    print(await call)

asyncio.run(main())
"""

    @web.middleware
    async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
        while not (tmp_path / "go").exists():
            await asyncio.sleep(0.01)
        return await handler(request)

    app = create_app(MemoryBackend(session=MemorySession(input="waited")))
    app.middlewares.insert(0, wait)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "api.sock")).start()
        finished = await script(text, environment(tmp_path / "api.sock"))
    finally:
        await runner.cleanup()
    assert (finished.stdout, finished.stderr) == ("False\nwaited\n", "")


async def test_log_entries_outside_of_a_job_go_where_a_log_would_have_them(script):
    text = "import cronium; cronium.log('größe', data={'n': 0}); cronium.log('bad', 'error')"
    finished = await script(text)
    assert finished.stdout == '{"level": "info", "message": "größe", "data": {"n": 0}}\n'
    assert finished.stderr == '{"level": "error", "message": "bad"}\n'


async def test_a_list_of_variables_has_their_values(script, tmp_path):
    backend = MemoryBackend(session=MemorySession(variables={"a": 0, "b": [None]}))
    async with serve(backend, tmp_path) as env:
        finished = await script("import cronium; print(cronium.list_variables())", env)
    shown = [{"key": key, "value": value, "version": 1, "scope": "global"} for key, value in (("a", 0), ("b", [None]))]
    assert finished.stdout == str([{**one, "updated_at": None, "description": None} for one in shown]) + "\n"
