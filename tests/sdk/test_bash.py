"""The Bash SDK: real scripts in a real Bash, once per program that can carry a request, against the real runtime API."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from runtime_api.app import create_app
from runtime_api.backend import Json, RefusalError
from tests.sdk.conftest import Finished
from tests.sdk.memory_backend import EXECUTION_ID, TOKEN, MemoryBackend, MemorySession, environment, serve
from tests.sdk.scenarios import (
    SCENARIOS,
    WITHOUT_SERVER,
    Call,
    Scenario,
    held,
    held_in_stub,
    put,
    put_in_stub,
)

SDK = Path(__file__).parents[2] / "sdk" / "bash" / "cronium.sh"
LOADED = SDK.with_name("env.sh")  # what a job's BASH_ENV names
TRANSPORTS = ("curl", "python3", "node", "perl")


def program(name: str) -> str:
    """Where a program really is; a Python that is the test's own, since a version manager's is a Bash script."""
    if name == "python3":
        return str(Path(sys.executable).resolve())
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on PATH")
    return str(Path(found).resolve())


def path_with(directory: Path, *names: str) -> str:
    """A PATH on which nothing is found but `cat`, `sleep` and the programs called `names`."""
    directory.mkdir()
    for name in ("cat", "sleep", *names):
        (directory / name).symlink_to(program(name))
    return str(directory)


@pytest.fixture
def bash():
    return program("bash")


@pytest.fixture
def script(run, tmp_path, bash):
    """What runs a script to its end; Bash loads the SDK by itself."""

    async def run_script(text, env=None):
        (tmp_path / "script.sh").write_text(text)
        return await run(bash, "script.sh", env={"BASH_ENV": str(LOADED), **(env or {})})

    return run_script


@pytest.fixture(params=TRANSPORTS)
def only(request, tmp_path):
    """An environment in which one program alone can carry requests."""
    return {"PATH": path_with(tmp_path / "bin", request.param, "mkdir", "mv", "rm")}


def as_text(value: Json) -> str:
    """What a value is in Bash, in both directions; null, as an answer, is nothing."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def calling(number: int, call: Call, directory: Path) -> str:
    """Lines of Bash that make the call and keep what it came to; arguments come from files, byte for byte."""
    arguments = [f"'{option_of(name, value)}'x" for name, value in call.options.items()]
    for position, argument in enumerate(call.arguments):
        (directory / f"argument-{number}-{position}").write_text(as_text(argument))
        arguments.append(f'"$(cat argument-{number}-{position}; printf x)"')
    words, stdin = " ".join(arguments), ""
    if call.operation == "artifact":  # a file's content comes from stdin
        words, stdin = arguments[0], f"<argument-{number}-1"
    return f"""
set -- {words}
code=0
cronium_{call.operation} "${{@%x}}" >answer-{number} 2>error-{number} {stdin} || code=$?
echo "$code"
"""


def option_of(name: str, value: Json) -> str:
    return f"--{name.replace('_', '-')}={value}"


def printed(call: Call) -> str:
    """What a call prints that succeeds."""
    if call.operation == "artifact" or call.answer is None or call.answer == "":
        return ""
    if call.operation == "list_variables":
        return "".join(f"{key}\n" for key in call.answer)
    return as_text(call.answer) + "\n"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))
async def test_scenario(scenario: Scenario, only, script, tmp_path):
    backend = MemoryBackend(session=put(scenario.before))
    lines = "".join(calling(number, call, tmp_path) for number, call in enumerate(scenario.calls))
    async with serve(backend, tmp_path) as env:
        if scenario.token is not None:
            env["CRONIUM_EXECUTION_TOKEN"] = scenario.token
        env |= {**scenario.env, **only, "CRONIUM_ARTIFACTS": str(tmp_path / "artifacts")}
        finished = await script(f"set -euo pipefail\n{lines}", env)
    assert_answered(scenario, finished, tmp_path)
    assert held(backend.session, tmp_path / "artifacts") == scenario.after


@pytest.mark.parametrize("scenario", WITHOUT_SERVER, ids=lambda scenario: scenario.name.replace(" ", "-"))
async def test_scenario_on_the_stub_file(scenario: Scenario, script, tmp_path):
    put_in_stub(scenario.before, tmp_path / ".cronium.json")
    lines = "".join(calling(number, call, tmp_path) for number, call in enumerate(scenario.calls))
    path = path_with(tmp_path / "bin", "python3", "mkdir", "mv")
    assert_answered(scenario, await script(f"set -euo pipefail\n{lines}", {"PATH": path}), tmp_path)
    assert held_in_stub(tmp_path / ".cronium.json") == scenario.after


def assert_answered(scenario: Scenario, finished: Finished, directory: Path) -> None:
    assert finished.stderr == ""
    codes = finished.stdout.split()
    for number, (call, code) in enumerate(zip(scenario.calls, codes, strict=True)):
        error = (directory / f"error-{number}").read_text()
        answer = (directory / f"answer-{number}").read_text()
        if call.refused:
            assert (code, answer) == ("1", "")
            assert call.refused in error
        else:
            assert (code, error, answer) == ("0", "", printed(call))


NAMES_SCRIPT = """
set -euo pipefail
for name in cronium_input cronium_get_input cronium.input; do [[ $($name) == 1 ]]; done
for name in cronium_output cronium_set_output cronium.output; do $name "$name"; done
for name in cronium_{get,set}_variable cronium_{get,set}Variable cronium.{get,set}Variable; do
  case $name in
    *set*) $name key "$name"; [[ $(cronium_get_variable key) == "$name" ]] ;;
    *) cronium_set_variable key "$name"; [[ $($name key) == "$name" ]] ;;
  esac
done
for name in cronium_set_condition cronium_setCondition cronium.setCondition; do $name yes; done
for name in cronium_get_condition cronium_getCondition cronium.getCondition; do [[ $($name) == true ]]; done
for name in cronium_event cronium_get_event_context cronium.event; do [[ $($name) == '{"id":"evt_1"}' ]]; done
[[ $(cronium_event_field id) == evt_1 ]]
echo all
"""


async def test_every_name_of_an_operation_works(script, tmp_path):
    backend = MemoryBackend(session=MemorySession(input=1, context={"id": "evt_1"}))
    async with serve(backend, tmp_path) as env:
        finished = await script(NAMES_SCRIPT, env)
    assert (finished.stdout, finished.stderr) == ("all\n", "")
    assert backend.session.output == "cronium.output"


@pytest.mark.parametrize(
    "names",
    [
        ("CRONIUM_RUNTIME_API", "CRONIUM_EXECUTION_TOKEN", "CRONIUM_EXECUTION_ID"),
        ("CRONIUM_API_ENDPOINT", "CRONIUM_API_TOKEN", "CRONIUM_JOB_ID"),
        ("CRONIUM_API_URL", "CRONIUM_API_TOKEN", None),
    ],
    ids=lambda names: names[0],
)
async def test_every_spelling_of_the_environment_is_understood(names, only, script):
    backend = MemoryBackend(session=MemorySession(input="over TCP"))
    runner = web.AppRunner(create_app(backend))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        values = (f"http://127.0.0.1:{runner.addresses[0][1]}/", f"{TOKEN}\n", EXECUTION_ID)
        env = {name: value for name, value in zip(names, values, strict=True) if name is not None}
        finished = await script(
            "cronium_input; cronium_output 'a\nb'", {**env, **only, "http_proxy": "http://127.0.0.1:9"}
        )
    finally:
        await runner.cleanup()
    assert (finished.stdout, finished.stderr) == ("over TCP\n", "")
    assert backend.session.output == "a\nb"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("0", 0),
        ("''", ""),
        ("false", False),
        ("null", None),
        ("[]", []),
        ("{}", {}),
        ("12.5", 12.5),
        ("'\"12\"'", "12"),
        ("hello", "hello"),
        ("-n", "-n"),
        ("@/etc/passwd", "@/etc/passwd"),
        (r"'\n%s'", r"\n%s"),
    ],
)
async def test_an_argument_is_json_where_it_is_json_else_text(typed, kept, script, tmp_path):
    backend = MemoryBackend()
    async with serve(backend, tmp_path) as env:
        finished = await script(f"cronium_output {typed} && cronium_set_variable v {typed}", env)
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert (backend.session.output, backend.session.has_output) == (kept, True)
    assert backend.session.variables == {"v": kept}
    assert type(backend.session.output) is type(kept)


async def test_a_value_can_come_from_stdin(script, tmp_path):
    backend = MemoryBackend()
    text = """
set -euo pipefail
printf '{"rows": [1,\\n2]}\\n' | cronium_output
cronium_set_variable text <<<"two words"
head -c 1000000 /dev/zero | tr '\\0' x | cronium_set_variable big
"""
    async with serve(backend, tmp_path) as env:
        finished = await script(text, env)
    assert finished.stderr == ""
    assert backend.session.output == {"rows": [1, 2]}
    assert backend.session.variables == {"text": "two words", "big": "x" * 1_000_000}


async def test_a_call_leaves_the_stdin_of_the_script_alone(only, script, tmp_path):
    backend = MemoryBackend(session=MemorySession(variables={"sum": 0}))
    text = """
while read -r n; do
  cronium_set_variable sum "$(($(cronium_get_variable sum) + n))"
done <<<$'1\\n2\\n3'
"""
    async with serve(backend, tmp_path) as env:
        finished = await script(text, {**env, **only})
    assert finished.stderr == ""
    assert backend.session.variables == {"sum": 6}


@pytest.mark.parametrize("word", ["true", "1", "yes", "on", "false", "0", "no", "off", "YES"])
async def test_a_condition_is_said_in_words(word, script, tmp_path):
    backend = MemoryBackend()
    async with serve(backend, tmp_path) as env:
        await script(f"cronium_set_condition {word}", env)
    assert backend.session.condition is (word.lower() in {"true", "1", "yes", "on"})


async def test_another_word_is_no_condition(script, tmp_path):
    backend = MemoryBackend()
    async with serve(backend, tmp_path) as env:
        finished = await script("cronium_set_condition maybe", env)
    assert finished.exit_code == 1
    assert finished.stderr.startswith("cronium: cronium_set_condition: 'maybe' is not a condition")
    assert finished.stderr.endswith("(422 invalid_condition)\n")


CONTEXT: dict[str, Json] = {
    "nested": {"name": 'not "this" one', "list": ["}", "]", {"name": 1}]},
    "list": [1, {"name": "nor this"}, []],
    "name": 'a "quoted" \\ back\\slash, {braces} [1]: ü 🚀\tand\nnewline',
    "empty": "",
    "attempt": 2,
    "ratio": -1.5e-7,
    "manual": False,
    "step": None,
    "nothing": {},
    "last": "},",
}


@pytest.mark.parametrize("name", [*CONTEXT, "missing", "", "na", "list.0"])
async def test_a_field_of_the_context_is_taken_out_exactly(name, script, tmp_path):
    backend = MemoryBackend(session=MemorySession(context=CONTEXT))
    async with serve(backend, tmp_path) as env:
        finished = await script(f"cronium_event_field {shlex.quote(name)}; echo $?", env)
    value = CONTEXT.get(name)
    printed = "" if value is None or value == "" else as_text(value) + "\n"
    if name == "ratio":
        printed = "-1.5e-7\n"
    assert (finished.stdout, finished.stderr) == (printed + "0\n", "")


async def test_a_field_is_decoded_whoever_wrote_the_json(script):
    text = (
        f'. "{SDK}"'
        r"""
LC_ALL=C
_cronium_field ' { "\u006eame" : "\u00fc\u20ac\ud83d\ude80\/\b\f\r\u0041" , "b" : [ 1 , "]" ] ,
"c" : 12 }' name && printf '%s|' "$_cronium_value"
_cronium_field ' { "a" : { "c" : 1 } , "b" : [ 1 , "]" ] , "c" : 12 }' c && printf '%s|' "$_cronium_value"
_cronium_field '{}' c || printf 'none|'
_cronium_field 'no json' c || printf 'none|'
_cronium_field '{"a":' a || printf 'none'
"""
    )
    finished = await script(text)
    assert finished.stderr == ""
    assert finished.stdout == "ü€🚀/\b\f\rA|12|none|none|none"


@pytest.mark.parametrize("key", [".", "..", "a/../b", " ", "-x", "'\"`$(x)"])
async def test_a_key_is_never_taken_for_a_path_or_an_option(key, only, script, tmp_path):
    backend = MemoryBackend()
    quoted = shlex.quote(key)
    async with serve(backend, tmp_path) as env:
        finished = await script(f"cronium_set_variable {quoted} 1 && cronium_get_variable {quoted}", {**env, **only})
    assert (finished.stdout, finished.stderr) == ("1\n", "")
    assert backend.session.variables == {key: 1}


@pytest.mark.parametrize(
    "call",
    [
        "cronium_input x",
        "cronium_output two words",
        "cronium_get_variable",
        "cronium_get_variable ''",
        "cronium_set_variable",
        "cronium_set_variable '' 1",
        "cronium_set_variable a b c",
        "cronium_set_condition",
        "cronium_event_field",
        "cronium.getVariable",
        "cronium_get_variable --scope=mine a",
        "cronium_get_variable --if-version=x a",
        "cronium_set_variable --if-version=-1 a 1",
        "cronium_set_variable --scope=event",
        "cronium_increment_variable",
        "cronium_list_variables a b",
        "cronium_delete_variable ''",
        "cronium_progress",
        "cronium_progress half 'a message'",
        "cronium_log",
        "cronium_log a loud",
        "cronium_artifact",
        "cronium_execution_mode x",
        "cronium_execute_tool_action trello",
        "cronium_send_email a b c --urgent",
        "cronium_send_slack_message a b --urgent",
        "cronium_send_discord_message a b --urgent",
    ],
)
async def test_a_wrong_call_says_how_and_returns_2(call, script, tmp_path):
    backend = MemoryBackend()
    async with serve(backend, tmp_path) as env:
        finished = await script(f"{call}; echo $?", env)
    assert finished.stdout == "2\n"
    assert finished.stderr.startswith("cronium: cronium_")
    assert backend.calls == []


@pytest.mark.parametrize("key", ["--scope=event", "--if-version=1", "--"])
async def test_a_key_that_looks_like_an_option_comes_after_two_dashes(key, script, tmp_path):
    backend = MemoryBackend()
    async with serve(backend, tmp_path) as env:
        finished = await script(f"cronium_set_variable -- {key} 1 && cronium_get_variable -- {key}", env)
    assert (finished.stdout, finished.stderr) == ("1\n", "")
    assert backend.session.variables == {key: 1}


async def test_an_increment_that_is_no_number_is_refused(script, tmp_path):
    backend = MemoryBackend()
    async with serve(backend, tmp_path) as env:
        finished = await script("cronium_increment_variable n many; echo $?", env)
    assert finished.stdout == "1\n"
    assert "(422 invalid_increment)" in finished.stderr


async def test_log_entries_outside_of_a_job_go_where_a_log_would_have_them(script):
    finished = await script("""cronium_log größe info '{"n": 0}'; cronium_log bad error""")
    assert finished.stdout == '{"level": "info", "message": "größe", "data": {"n": 0}}\n'
    assert finished.stderr == '{"level": "error", "message": "bad"}\n'


async def test_outside_of_a_job_a_field_of_the_context_is_taken_out_too(script, tmp_path):
    (tmp_path / "mine.json").write_text('{"context": {"name": "größe"}}')
    finished = await script("cronium_event_field name", {"CRONIUM_STUB_FILE": "mine.json"})
    assert (finished.stdout, finished.stderr) == ("größe\n", "")


async def test_outside_of_a_job_a_bash_without_python_says_what_it_needs(script, tmp_path):
    finished = await script("cronium_input; echo $?", {"PATH": path_with(tmp_path / "bin", "curl")})
    assert finished.stdout == "3\n"
    assert "needs python3 and cronium.py" in finished.stderr
    assert "cronium run FILE" in finished.stderr


async def test_a_stub_file_that_is_none_is_named_and_left_alone(script, tmp_path):
    (tmp_path / ".cronium.json").write_text("{broken")
    finished = await script("cronium_set_variable a 1; echo $?")
    assert finished.stdout == "1\n"
    assert ".cronium.json cannot be used" in finished.stderr
    assert (tmp_path / ".cronium.json").read_text() == "{broken"


@pytest.mark.parametrize("stale", [False, True], ids=["no socket yet", "nobody listens"])
async def test_a_call_waits_for_a_runtime_api_that_comes_up_later(stale, only, run, tmp_path, bash):
    (tmp_path / "script.sh").write_text("cronium_input")
    # Says on stderr when it is about to wait for another try, so that a test need not guess.
    (tmp_path / "outer.sh").write_text(
        'command() { [[ $1 != sleep ]] || echo waits >&3; builtin command "$@"; }\nexec 3>&1'
    )
    if stale:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "api.sock"))
    env = {**environment(tmp_path / "api.sock"), **only, "BASH_ENV": str(LOADED)}
    process = await run.start(bash, "script.sh", env={**env, "CRONIUM_OUTER_BASH_ENV": str(tmp_path / "outer.sh")})
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await process.stdout.readline() == b"waits\n"
        async with serve(MemoryBackend(session=MemorySession(input="late")), tmp_path):
            stdout, stderr = await process.communicate()
    assert stdout.decode().splitlines()[-1] == "late"
    assert stderr == b""


async def test_a_busy_runtime_api_is_asked_again(only, script, tmp_path):
    backend = MemoryBackend(session=MemorySession(input="at last"))
    backend.failures = [
        RefusalError(429, "rate_limited", "Slow down.", retry_after_seconds=0),
        *(RefusalError(status, "unavailable", "Try again.") for status in (502, 503, 504)),
    ]
    async with serve(backend, tmp_path) as env:
        finished = await script("cronium_input", {**env, **only})
    assert (finished.stdout, finished.stderr) == ("at last\n", "")
    assert [status for _, status in backend.calls] == [429, 502, 503, 504, 200]


async def test_a_wish_to_wait_beyond_the_deadline_is_not_waited_for(only, script, tmp_path):
    backend = MemoryBackend(failures=[RefusalError(429, "rate_limited", "Slow down.", retry_after_seconds=3600)])
    async with serve(backend, tmp_path) as env:
        finished = await script("cronium_input", {**env, **only})
    assert (finished.exit_code, finished.stdout) == (1, "")
    assert finished.stderr == "cronium: cronium_input: Slow down. (429 rate_limited)\n"
    assert backend.calls == [("get_input", 429)]


async def test_an_error_of_the_engine_is_not_asked_again(script, tmp_path):
    backend = MemoryBackend(failures=[RuntimeError("broken on purpose")])
    async with serve(backend, tmp_path) as env:
        finished = await script("cronium_input", env)
    assert finished.exit_code == 1
    assert "(500 internal)" in finished.stderr
    assert len(backend.calls) == 1


async def test_nobody_there_until_the_deadline_is_unavailable(only, script, tmp_path):
    env = {**environment(tmp_path / "nowhere.sock"), **only, "CRONIUM_SDK_DEADLINE_SECONDS": "0.5"}
    finished = await script("cronium_input", env)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "runtime_unavailable" in finished.stderr
    assert "nowhere.sock" in finished.stderr


async def test_no_answer_until_the_deadline_is_unavailable(only, script, tmp_path):
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen()
        env = {**environment(tmp_path / "deaf.sock"), **only, "CRONIUM_SDK_DEADLINE_SECONDS": "1"}
        finished = await script("cronium_output x", env)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "did not answer within 1 s" in finished.stderr


async def test_an_answer_that_breaks_off_is_no_answer(only, script, tmp_path):
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async with await asyncio.start_unix_server(break_off, tmp_path / "api.sock"):
        env = {**environment(tmp_path / "api.sock"), **only, "CRONIUM_SDK_DEADLINE_SECONDS": "1"}
        finished = await script("cronium_input", env)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "runtime_unavailable" in finished.stderr


async def test_something_else_at_the_address_is_named(only, script, tmp_path):
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<h1>Welcome</h1>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{anything:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "page.sock")).start()
        finished = await script("cronium_input", {**environment(tmp_path / "page.sock"), **only})
    finally:
        await runner.cleanup()
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "is not a runtime API: <h1>Welcome</h1>" in finished.stderr


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"CRONIUM_EXECUTION_ID": "job_1"}, "CRONIUM_RUNTIME_API is not set"),
        ({"CRONIUM_RUNTIME_API": "unix:/nowhere"}, "CRONIUM_EXECUTION_TOKEN"),
        ({"CRONIUM_RUNTIME_API": "ftp://host", "CRONIUM_EXECUTION_TOKEN": "t"}, "neither unix:/path nor"),
        ({"CRONIUM_RUNTIME_API": "http://", "CRONIUM_EXECUTION_TOKEN": "t"}, "neither unix:/path nor"),
        ({**environment(Path("/x")), "CRONIUM_SDK_DEADLINE_SECONDS": "soon"}, "'soon'; give a number"),
    ],
    ids=["no address", "no token", "no such scheme", "no host", "no such deadline"],
)
async def test_without_a_runtime_api_a_call_says_what_is_missing(env, message, script):
    finished = await script("cronium_input; echo $?; cronium_output 1 || echo still here", env)
    assert finished.stdout == "3\nstill here\n"
    assert finished.stderr.startswith("cronium: cronium_input: runtime_unavailable: ")
    assert message in finished.stderr


async def test_where_no_program_can_carry_a_request_the_error_names_them(script, tmp_path):
    env = {**environment(tmp_path / "api.sock"), "PATH": path_with(tmp_path / "bin")}
    finished = await script("cronium_input", env)
    assert finished.exit_code == 3
    assert "one of curl, python3, node and perl must be on PATH and work; none is there" in finished.stderr


async def test_a_program_that_does_not_work_is_passed_over(script, tmp_path, bash):
    directory = Path(path_with(tmp_path / "bin", "perl"))
    for name, code in (("curl", 2), ("python3", 127)):  # an old curl without Unix sockets; a shim without a Python
        (directory / name).write_text(f"#!{bash}\necho broken >&2\nexit {code}\n")
        (directory / name).chmod(0o755)
    async with serve(MemoryBackend(session=MemorySession(input="by perl")), tmp_path) as env:
        finished = await script("cronium_input", {**env, "PATH": str(directory)})
    assert (finished.stdout, finished.stderr) == ("by perl\n", "")


@dataclass(slots=True)
class HoldingSession(MemorySession):
    """Holds the output back until it is let go, so that a test can look around meanwhile."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def set_output(self, value: Json) -> None:
        self.arrived.set()
        await self.let_go.wait()
        await MemorySession.set_output(self, value)


def command_lines() -> dict[int, bytes]:
    lines = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines[int(process.name)] = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
    return lines


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc here")
async def test_neither_token_nor_value_is_in_the_command_line_of_any_process(only, run, tmp_path, bash):
    (tmp_path / "script.sh").write_text('value=$(cat value); cronium_output "$value"')
    (tmp_path / "value").write_text("value-that-stays-private")
    session = HoldingSession()
    before = command_lines()
    async with serve(MemoryBackend(session=session), tmp_path) as env:
        process = await run.start(bash, "script.sh", env={**env, **only, "BASH_ENV": str(LOADED)})
        async with asyncio.timeout(30):
            await session.arrived.wait()
            during = command_lines()
            session.let_go.set()
            _, stderr = await process.communicate()
    assert stderr == b""
    assert session.output == "value-that-stays-private"
    new = {pid: line for pid, line in during.items() if pid not in before}
    carrier = next(path.name for path in Path(only["PATH"]).iterdir() if path.name in TRANSPORTS)
    assert any(carrier.encode() in line.split(b"\0")[0] for line in new.values())
    for line in during.values():
        assert TOKEN.encode() not in line
        assert b"value-that-stays-private" not in line


HOSTILE_SCRIPT = """
set -euo pipefail -o noclobber -o allexport -o noglob -o errtrace -o functrace
shopt -s nocasematch failglob nullglob expand_aliases
alias local=false printf=false
IFS=,1/
trap 'echo "ERR ran"' ERR
trap 'debug=1' DEBUG
readonly key=1 body=2 status=3 name=4 token=5 base=6 IFS
export method=x value=y answer=z
cat() { echo fake; }
sleep() { echo fake; }
curl() { echo fake; }
settings="$-/$(shopt)/$(set +o)/$(trap)"
cronium_set_variable 'a,1/b' 'x,1/y'
result=$(cronium_get_variable 'a,1/b')
cronium_output '{"a": [1, 2]}'
echo '"piped"' | cronium_set_variable piped
cronium_set_condition YES
cronium_get_variable missing
field=$(cronium_event_field Name)
cronium_set_variable --scope=event --if-version=0 'e,1/v' 1
sum=$(cronium_increment_variable --scope=event 'e,1/v' 10)
keys=$(cronium_list_variables a,1/)
cronium_progress 11 'a,1/b'
cronium_log $'a,1/b\n"c"' error '{"n": [1, 11]}'
cronium_delete_variable piped
cronium_artifact 'd,1/f' <<<"$sum $keys"
cronium_send_email a,b c d 2>error || refused=$?
[[ "$-/$(shopt)/$(set +o)/$(trap)" == "$settings" ]] && echo "$result" "$field"
"""


async def test_the_settings_of_the_script_neither_matter_nor_change(only, script, tmp_path):
    backend = MemoryBackend(session=MemorySession(context={"name": "lower", "Name": "upper"}))
    async with serve(backend, tmp_path) as env:
        env |= {**only, "CRONIUM_ARTIFACTS": str(tmp_path / "artifacts")}
        finished = await script(HOSTILE_SCRIPT, env)
    assert (finished.exit_code, finished.stderr, finished.stdout) == (0, "", "x,1/y upper\n")
    assert backend.session.output == {"a": [1, 2]}
    assert backend.session.condition is True
    assert backend.session.variables == {"a,1/b": "x,1/y"}
    assert backend.session.event_variables == {"e,1/v": 11}
    assert backend.session.progress == {"percent": 11, "message": "a,1/b"}
    assert [entry[:3] for entry in backend.session.entries] == [("error", 'a,1/b\n"c"', {"n": [1, 11]})]
    assert (tmp_path / "artifacts" / "d,1" / "f").read_text() == "11 a,1/b\n"
    assert "not_supported" in (tmp_path / "error").read_text()


async def test_errexit_ends_the_script_at_a_refusal_and_not_before(script, tmp_path):
    text = """
set -euo pipefail
cronium_get_variable missing
echo before
cronium_set_condition maybe
echo after
"""
    async with serve(MemoryBackend(), tmp_path) as env:
        finished = await script(text, env)
    assert (finished.exit_code, finished.stdout) == (1, "before\n")


@pytest.mark.parametrize("options", [(), ("-x",), ("-v",)], ids=["set -x", "-x", "-v"])
async def test_a_trace_of_the_script_shows_no_token(options, run, tmp_path, bash):
    (tmp_path / "script.sh").write_text("set -x\ncronium_input\ncronium_set_variable key <<<value\n")
    async with serve(MemoryBackend(session=MemorySession(input="given")), tmp_path) as env:
        finished = await run(bash, *options, "script.sh", env={**env, "BASH_ENV": str(LOADED)})
    assert finished.stdout == "given\n"
    assert "cronium_input" in finished.stderr
    assert TOKEN not in finished.stderr


async def test_a_trace_shows_no_token_of_what_fewer_scripts_call(script, tmp_path):
    async with serve(MemoryBackend(), tmp_path) as env:
        finished = await script("set -x\ncronium_send_email a b c\ncronium_artifact a <<<b", env)
    assert "cronium_send_email" in finished.stderr
    assert "not_supported" in finished.stderr
    assert TOKEN not in finished.stderr


async def test_without_the_file_beside_it_a_call_says_which_one_is_missing(run, bash, tmp_path):
    (tmp_path / "cronium.sh").write_text(SDK.read_text())
    finished = await run(bash, "-c", ". cronium.sh; cronium_artifact a </dev/null; echo $?")
    assert finished.stdout == "3\n"
    assert "./more.sh is missing" in finished.stderr


async def test_loading_prints_nothing_starts_nothing_and_needs_nothing(run, bash):
    finished = await run(
        bash, "-c", f'. "{SDK}"; . "{SDK}"; echo $?', env={"PATH": "/nowhere", "BASH_ENV": str(LOADED)}
    )
    assert (finished.stdout, finished.stderr) == ("0\n", "")


@pytest.mark.parametrize("options", [("-eu",), ("--posix", "-eu"), ("-eu", "-o", "pipefail")], ids=" ".join)
async def test_loading_by_hand_works_in_every_mode(options, run, tmp_path, bash):
    async with serve(MemoryBackend(session=MemorySession(input="given")), tmp_path) as env:
        finished = await run(bash, *options, "-c", f'. "{SDK}"; cronium_input', env=env)
    assert (finished.stdout, finished.stderr) == ("given\n", "")


async def test_the_callers_own_bash_env_is_loaded_once_per_bash(script, tmp_path, bash):
    outer = tmp_path / "of the caller.sh"
    outer.write_text("echo loaded; mine=kept; false\n")
    text = f"""
. "{SDK}"
echo "$mine"
"{bash}" -c 'echo "inner $mine"'
"""
    finished = await script(text, {"CRONIUM_OUTER_BASH_ENV": str(outer)})
    assert (finished.stdout, finished.stderr) == ("loaded\nkept\nloaded\ninner kept\n", "")


async def test_a_socket_path_may_hold_anything(only, script, tmp_path):
    directory = tmp_path / 'a "b" \\ ü'
    directory.mkdir()
    async with serve(MemoryBackend(session=MemorySession(input="found")), directory) as env:
        finished = await script("cronium_input", {**env, **only})
    assert (finished.stdout, finished.stderr) == ("found\n", "")


async def test_what_is_loaded_first_has_every_function_of_the_whole(run, bash):
    shown = []
    for file in (SDK, LOADED):
        finished = await run(bash, "-c", f'. "{file}"; declare -F')
        shown.append({line.split()[-1] for line in finished.stdout.splitlines() if " _cronium" not in line})
    assert len(shown[0]) > 20
    assert shown[0] == shown[1]
