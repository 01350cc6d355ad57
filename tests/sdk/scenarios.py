"""What every SDK must do, as one table: each language's test turns the calls into a script of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runtime_api.backend import Json
from tests.sdk.memory_backend import MemorySession

Operation = Literal[
    "input",
    "output",
    "get_variable",
    "get_variable_version",
    "set_variable",
    "increment_variable",
    "delete_variable",
    "list_variables",
    "get_condition",
    "set_condition",
    "event",
    "progress",
    "log",
    "artifact",
    "execution_mode",
    "execute_tool_action",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One call of the SDK: `answer` is what it must return (nothing for the setters; of a list of variables the keys).

    With `refused` it must instead fail with an API error of that code, and the script must be able to go on. `options`
    are `scope` and `if_version`; an operation that has any is given all its arguments.
    """

    operation: Operation
    arguments: tuple[Json, ...] = ()
    options: dict[str, Json] = field(default_factory=dict)
    answer: Json = None
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the engine holds before or after the script. `has_output` tells no output from a null one."""

    input: Json = None
    output: Json = None
    has_output: bool = False
    condition: bool | None = None
    context: dict[str, Json] = field(default_factory=dict)
    variables: dict[str, Json] = field(default_factory=dict)
    event_variables: dict[str, Json] = field(default_factory=dict)
    progress: Json = None
    entries: tuple[tuple[str, str, Json], ...] = ()
    artifacts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """
    `name` says the behaviour. With `token` the script uses that one instead of its own; `env` is added to its own.

    One that `needs_server` tells nothing of a stub file.
    """

    name: str
    before: State = field(default_factory=State)
    calls: tuple[Call, ...]
    after: State
    token: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    needs_server: bool = False


def put(state: State) -> MemorySession:
    """A session that holds `state`."""
    return MemorySession(
        input=state.input,
        output=state.output,
        has_output=state.has_output,
        condition=state.condition,
        context=dict(state.context),
        variables=dict(state.variables),
        event_variables=dict(state.event_variables),
    )


def held(session: MemorySession, artifacts: Path | None = None) -> State:
    """What a session and the directory of artifacts hold, to compare with `Scenario.after`."""
    return State(
        input=session.input,
        output=session.output,
        has_output=session.has_output,
        condition=session.condition,
        context=dict(session.context),
        variables=dict(session.variables),
        event_variables=dict(session.event_variables),
        progress=session.progress,
        entries=tuple((level, message, data) for level, message, data, _ in session.entries),
        artifacts=left_in(artifacts),
    )


def left_in(directory: Path | None) -> dict[str, str]:
    """The files of a directory by their names."""
    files = [path for path in directory.rglob("*") if path.is_file()] if directory is not None else []
    return {str(path.relative_to(directory)): path.read_text() for path in files if directory is not None}


def put_in_stub(state: State, file: Path) -> None:
    """A stub file that holds `state`."""
    content = {name: getattr(state, name) for name in ("input", "condition", "context", *VARIABLES)}
    file.write_text(json.dumps(content | ({"output": state.output} if state.has_output else {})))


def held_in_stub(file: Path) -> State:
    """What a stub file and the artifacts beside it hold."""
    content = json.loads(file.read_text())
    kept = {name: content.get(name) for name in ("input", "output", "condition", "progress")}
    parts = {name: content.get(name, {}) for name in ("context", *VARIABLES)}
    artifacts = left_in(file.parent / ".cronium-artifacts")
    return State(has_output="output" in content, artifacts=artifacts, **kept, **parts)


VARIABLES = ("variables", "event_variables")
FALSY: dict[str, Json] = {
    "zero": 0,
    "empty text": "",
    "false": False,
    "null": None,
    "empty list": [],
    "empty object": {},
}
TEXTS = {
    "umlauts and emoji": "Größe 🚀 \u4f60\u597d",
    "quotes and escapes": 'it\'s "quoted" \\ $HOME `id` %s %41',
    "control characters": "tab\there, line\nfeed",
    "spaces around": "  in between  ",
    "number as text": "007",
}
KEYS = (
    "größe/日本 語",
    "a b?c=d&e#f",
    "100%",
    "%2F",
    "{braces}",
    "plus+sign",
    "tilde~.dot",
    "back\\slash",
    "quo'te\"s",
)
BIG = ("0123456789abcdef" * (1024 * 1024 // 16))[:-2]  # with its quotes 1 MiB
TOO_BIG = "x" * (1024 * 1024 + 2048)
DOCUMENT: Json = {"rows": 42, "price": 12.5, "tags": ["a", "ü"], "nested": {"ok": True, "none": None}, "negative": -1}
CONTEXT: dict[str, Json] = {
    "id": "evt_1",
    "name": 'nightly "report" ü',
    "type": "python",
    "attempt": 2,
    "manual": False,
    "step": None,
    "nested": {"name": "not this one"},
}


def _falsy_values() -> list[Scenario]:
    scenarios = []
    for name, value in FALSY.items():
        state = State(input=value, variables={"v": value})
        calls = (
            Call(operation="input", answer=value),
            Call(operation="output", arguments=(value,)),
            Call(operation="get_variable", arguments=("v",), answer=value),
            Call(operation="set_variable", arguments=("w", value)),
        )
        after = State(input=value, output=value, has_output=True, variables={"v": value, "w": value})
        scenarios.append(Scenario(name=f"{name} goes in and out unchanged", before=state, calls=calls, after=after))
    return scenarios


def _texts() -> list[Scenario]:
    return [
        Scenario(
            name=f"text with {name} goes in and out unchanged",
            before=State(input=text),
            calls=(Call(operation="input", answer=text), Call(operation="output", arguments=(text,))),
            after=State(input=text, output=text, has_output=True),
        )
        for name, text in TEXTS.items()
    ]


def _keys() -> list[Scenario]:
    return [
        Scenario(
            name=f"a variable can be called {key!a}",
            before=State(variables={key: "before"}),
            calls=(
                Call(operation="get_variable", arguments=(key,), answer="before"),
                Call(operation="set_variable", arguments=(key, f"value of {key}")),
                Call(operation="get_variable", arguments=(key,), answer=f"value of {key}"),
            ),
            after=State(variables={key: f"value of {key}"}),
        )
        for key in KEYS
    ]


def _values() -> list[Scenario]:
    return [
        Scenario(
            name="a document goes in and out unchanged",
            before=State(input=DOCUMENT),
            calls=(Call(operation="input", answer=DOCUMENT), Call(operation="output", arguments=(DOCUMENT,))),
            after=State(input=DOCUMENT, output=DOCUMENT, has_output=True),
        ),
        Scenario(
            name="1 MiB goes in and out unchanged",
            before=State(input=BIG),
            calls=(
                Call(operation="input", answer=BIG),
                Call(operation="output", arguments=(BIG,)),
                Call(operation="set_variable", arguments=("big", BIG)),
                Call(operation="get_variable", arguments=("big",), answer=BIG),
            ),
            after=State(input=BIG, output=BIG, has_output=True, variables={"big": BIG}),
        ),
        Scenario(
            name="the last output counts",
            calls=(Call(operation="output", arguments=(1,)), Call(operation="output", arguments=({"n": 2},))),
            after=State(output={"n": 2}, has_output=True),
        ),
        Scenario(
            name="a variable that does not exist is nothing and no error",
            calls=(Call(operation="get_variable", arguments=("missing",), answer=None),),
            after=State(),
        ),
        Scenario(
            name="a counter is read back as a number",
            before=State(variables={"counter": 41}),
            calls=(
                Call(operation="get_variable", arguments=("counter",), answer=41),
                Call(operation="set_variable", arguments=("counter", 42)),
                Call(operation="get_variable", arguments=("counter",), answer=42),
            ),
            after=State(variables={"counter": 42}),
        ),
    ]


def _conditions() -> list[Scenario]:
    return [
        Scenario(
            name="a condition is unset, then true, then false",
            calls=(
                Call(operation="get_condition", answer=None),
                Call(operation="set_condition", arguments=(True,)),
                Call(operation="get_condition", answer=True),
                Call(operation="set_condition", arguments=(False,)),
                Call(operation="get_condition", answer=False),
            ),
            after=State(condition=False),
        ),
        Scenario(
            name="the context comes with all its fields",
            before=State(context=CONTEXT),
            calls=(Call(operation="event", answer=CONTEXT),),
            after=State(context=CONTEXT),
        ),
    ]


def _counters() -> list[Scenario]:
    return [
        Scenario(
            name="a counter starts at 0 and is added to",
            calls=(
                Call(operation="increment_variable", arguments=("größe/n",), answer=1),
                Call(operation="increment_variable", arguments=("größe/n", 41), answer=42),
                Call(operation="increment_variable", arguments=("größe/n", -2), answer=40),
                Call(operation="increment_variable", arguments=("größe/n", 0.5), answer=40.5),
                Call(operation="increment_variable", arguments=("größe/n", 0), answer=40.5),
            ),
            after=State(variables={"größe/n": 40.5}),
        ),
        Scenario(
            name="what is no number is not added to",
            before=State(variables={"text": "7", "yes": True, "none": None}),
            calls=tuple(
                Call(operation="increment_variable", arguments=(key, 1), refused="not_a_number")
                for key in ("text", "yes", "none")
            ),
            after=State(variables={"text": "7", "yes": True, "none": None}),
        ),
    ]


def _deletions_and_lists() -> list[Scenario]:
    many: dict[str, Json] = {f"many/{n:03}": n for n in range(230)}
    return [
        Scenario(
            name="a variable that was deleted is nothing and deleting it again no error",
            before=State(variables={"a/b": 1, "other": 2}),
            calls=(
                Call(operation="delete_variable", arguments=("a/b",)),
                Call(operation="get_variable", arguments=("a/b",)),
                Call(operation="delete_variable", arguments=("a/b",)),
            ),
            after=State(variables={"other": 2}),
        ),
        Scenario(
            name="variables are listed by their prefix, however many there are",
            before=State(variables={**many, "größe/1 &": None, "größe/2": "x", "other": 0}),
            calls=(
                Call(operation="list_variables", arguments=("größe/",), answer=["größe/1 &", "größe/2"]),
                Call(operation="list_variables", arguments=("many/",), answer=[*many]),
                Call(operation="list_variables", arguments=("none",), answer=[]),
            ),
            after=State(variables={**many, "größe/1 &": None, "größe/2": "x", "other": 0}),
        ),
    ]


def _versions() -> list[Scenario]:
    def version(expected: int) -> Call:
        return Call(operation="get_variable_version", arguments=("v",), answer=expected)

    def write(value: Json, if_version: int, refused: str | None = None) -> Call:
        options: dict[str, Json] = {"if_version": if_version}
        return Call(operation="set_variable", arguments=("v", value), options=options, refused=refused)

    def delete(if_version: int, refused: str | None = None) -> Call:
        options: dict[str, Json] = {"if_version": if_version}
        return Call(operation="delete_variable", arguments=("v",), options=options, refused=refused)

    return [
        Scenario(
            name="a write can ask for the version that it has read",
            calls=(
                version(0),
                write("first", 0),
                version(1),
                write("lost", 0, refused="version_mismatch"),
                write("second", 1),
                write("lost", 1, refused="version_mismatch"),
                version(2),
                delete(1, refused="version_mismatch"),
                delete(2),
                version(0),
                write("lost", 2, refused="version_mismatch"),
                write("third", 0),
                version(3),
            ),
            after=State(variables={"v": "third"}),
        ),
    ]


def _scopes() -> list[Scenario]:
    event: dict[str, Json] = {"scope": "event"}
    everyone: dict[str, Json] = {"scope": "global"}
    return [
        Scenario(
            name="the event's own variable comes first and each scope can be named",
            before=State(variables={"v": "all", "only": 1}, event_variables={"v": "own"}),
            calls=(
                Call(operation="get_variable", arguments=("v",), answer="own"),
                Call(operation="get_variable", arguments=("only",), answer=1),
                Call(operation="get_variable", arguments=("v",), options=everyone, answer="all"),
                Call(operation="get_variable", arguments=("only",), options=event, answer=None),
                Call(operation="set_variable", arguments=("v", "for all")),
                Call(operation="set_variable", arguments=("w", False), options=event),
                Call(operation="increment_variable", arguments=("n", 2), options=event, answer=2),
                Call(operation="get_variable_version", arguments=("n",), options=everyone, answer=0),
                Call(operation="list_variables", arguments=("",), options=event, answer=["n", "v", "w"]),
                Call(operation="delete_variable", arguments=("v",), options=event),
                Call(operation="get_variable", arguments=("v",), answer="for all"),
            ),
            after=State(variables={"v": "for all", "only": 1}, event_variables={"w": False, "n": 2}),
        ),
    ]


def _progress() -> list[Scenario]:
    shapes: dict[str, tuple[tuple[Json, ...], Json]] = {
        "a percentage": ((40.5,), {"percent": 40.5}),
        "no percent": ((0,), {"percent": 0}),
        "a message": (("loading größe",), {"message": "loading größe"}),
        "a percentage and a message": (
            (40, 'half "done" \\ \t\n&'),
            {"percent": 40, "message": 'half "done" \\ \t\n&'},
        ),
        "an object of one's own": (({"rows": [1, 2]},), {"rows": [1, 2]}),
    }
    return [
        Scenario(
            name=f"progress is {name}",
            calls=(Call(operation="progress", arguments=arguments),),
            after=State(progress=progress),
        )
        for name, (arguments, progress) in shapes.items()
    ]


def _entries() -> list[Scenario]:
    data: Json = {"rows": 0, "name": 'ü "x"'}
    text = 'größe "quoted" \\ back\n\ttab \x01 & 100%'
    return [
        Scenario(
            name="a log entry has a level and data",
            calls=(
                Call(operation="log", arguments=(text,)),
                Call(operation="log", arguments=("", "debug")),
                Call(operation="log", arguments=(text, "error", data)),
            ),
            after=State(entries=(("info", text, None), ("debug", "", None), ("error", text, data))),
            needs_server=True,
        ),
    ]


def _artifacts() -> list[Scenario]:
    name = "plots/größe 1/a.csv"
    return [
        Scenario(
            name="an artifact is a file below the directory and the last one of a name counts",
            calls=(
                Call(operation="artifact", arguments=(name, "first"), answer=name),
                Call(operation="artifact", arguments=(name, TEXTS["control characters"]), answer=name),
                Call(operation="artifact", arguments=("empty", ""), answer="empty"),
            ),
            after=State(artifacts={name: TEXTS["control characters"], "empty": ""}),
        ),
    ]


def _modes() -> list[Scenario]:
    def mode(name: str, answer: str, **env: str) -> Scenario:
        calls = (Call(operation="execution_mode", answer=answer), Call(operation="input", answer="given"))
        state = State(input="given")
        return Scenario(name=name, before=state, calls=calls, after=state, env=env, needs_server=True)

    return [
        mode("a script in a container knows it", "container", CRONIUM_EXECUTION_MODE="container"),
        mode("a script on another machine knows it", "ssh", CRONIUM_EXECUTION_MODE="ssh"),
        mode("a script on another machine knows it by the older name too", "ssh", CRONIUM_HELPER_MODE="api"),
        mode("a script beside the server knows it", "process", CRONIUM_EXECUTION_MODE="process"),
        mode("a script of which nothing is said is beside the server", "process"),
    ]


def _refusals() -> list[Scenario]:
    return [
        Scenario(
            name="a wrong token is refused and changes nothing",
            before=State(input="secret"),
            token="not-the-token",
            calls=(
                Call(operation="input", refused="token_invalid"),
                Call(operation="output", arguments=("mine",), refused="token_invalid"),
            ),
            after=State(input="secret"),
            needs_server=True,
        ),
        Scenario(
            name="what the server does not know is not supported",
            calls=(
                Call(operation="execute_tool_action", arguments=("none", "such", {}), refused="not_supported"),
                Call(operation="output", arguments=("goes on",)),
            ),
            after=State(output="goes on", has_output=True),
            needs_server=True,
        ),
        Scenario(
            name="a value above 1 MiB is refused and the script goes on",
            calls=(
                Call(operation="output", arguments=(TOO_BIG,), refused="too_large"),
                Call(operation="set_variable", arguments=("big", TOO_BIG), refused="too_large"),
                Call(operation="output", arguments=("small",)),
            ),
            after=State(output="small", has_output=True),
            needs_server=True,
        ),
    ]


SCENARIOS: tuple[Scenario, ...] = (
    *_falsy_values(),
    *_texts(),
    *_keys(),
    *_values(),
    *_conditions(),
    *_counters(),
    *_deletions_and_lists(),
    *_versions(),
    *_scopes(),
    *_progress(),
    *_entries(),
    *_artifacts(),
    *_modes(),
    *_refusals(),
)
WITHOUT_SERVER: tuple[Scenario, ...] = tuple(scenario for scenario in SCENARIOS if not scenario.needs_server)
