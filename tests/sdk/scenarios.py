"""What every SDK must do, as one table: each language's test turns the calls into a script of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from runtime_api.backend import Json
from tests.sdk.memory_backend import MemorySession

Operation = Literal["input", "output", "get_variable", "set_variable", "get_condition", "set_condition", "event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One call of the SDK: `answer` is what it must return (nothing for the setters).

    With `refused` it must instead fail with an API error of that code, and the script must be able to go on.
    """

    operation: Operation
    arguments: tuple[Json, ...] = ()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`name` says the behaviour. With `token` the script uses that one instead of its own."""

    name: str
    before: State = field(default_factory=State)
    calls: tuple[Call, ...]
    after: State
    token: str | None = None


def put(state: State) -> MemorySession:
    """A session that holds `state`."""
    return MemorySession(
        input=state.input,
        output=state.output,
        has_output=state.has_output,
        condition=state.condition,
        context=dict(state.context),
        variables=dict(state.variables),
    )


def held(session: MemorySession) -> State:
    """What a session holds, to compare with `Scenario.after`."""
    return State(
        input=session.input,
        output=session.output,
        has_output=session.has_output,
        condition=session.condition,
        context=dict(session.context),
        variables=dict(session.variables),
    )


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
BIG = "0123456789abcdef" * (900 * 1024 // 16)
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
            name="900 KB go in and out unchanged",
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
        ),
        Scenario(
            name="a value above 1 MiB is refused and the script goes on",
            calls=(
                Call(operation="output", arguments=(TOO_BIG,), refused="too_large"),
                Call(operation="set_variable", arguments=("big", TOO_BIG), refused="too_large"),
                Call(operation="output", arguments=("small",)),
            ),
            after=State(output="small", has_output=True),
        ),
    ]


SCENARIOS: tuple[Scenario, ...] = (
    *_falsy_values(),
    *_texts(),
    *_keys(),
    *_values(),
    *_conditions(),
    *_refusals(),
)
