"""
Expressions and templates of workflow files: `{{ steps.extract.output.rows > 0 }}`.

They are data, never program text: no calls, no methods, no loops, every result bounded (`sandbox` says how). Text
outside `{{ }}` stays as it is, `{%` and `{#` included; `{{ '{{' }}` writes two braces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import InvalidError
from orchestrator.jobs.faults import shown
from orchestrator.model.json import Json
from orchestrator.workflows.bounds import MAX_DEPTH, Budget, check_length
from orchestrator.workflows.references import Names, problem_of

BRACKETS = {"{": "}", "[": "]", "(": ")"}


@dataclass(frozen=True, slots=True)
class _Hole:
    """A `{{ }}` in a text: what is between the braces."""

    text: str


def render(value: Json, scope: Mapping[str, Json]) -> Json:
    """
    Fill in every template in `value`, however deep; keys stay as they are.

    A text that is exactly one `{{ }}` becomes the value itself, with its type; in longer texts true, false, null,
    lists and mappings are written as JSON. Raises `InvalidError` naming the expression that failed.
    """
    return _rendered(value, scope, Budget(), 0)


def evaluate(text: str, scope: Mapping[str, Json]) -> Json:
    """The value of one expression, written with or without its `{{ }}`. Raises `InvalidError` naming it."""
    return _value(_condition(text), scope, Budget())


def is_true(value: Json) -> bool:
    """Whether a condition holds: all but null, false, 0, an empty text, list or mapping, and the text `false`."""
    return bool(value) and value != "false"


def check(text: str, names: Names) -> list[str]:
    """What is wrong with a text that may hold templates, in syntax and names; empty when it is right."""
    try:
        holes = [piece for piece in _split(text) if isinstance(piece, _Hole)]
    except InvalidError as error:
        return [error.message]
    return [problem for hole in holes for problem in _problems(hole, names)]


def check_condition(text: str, names: Names) -> list[str]:
    """What is wrong with the text of an `if`; empty when it is right."""
    try:
        return _problems(_condition(text), names)
    except InvalidError as error:
        return [error.message]


def _problems(hole: _Hole, names: Names) -> list[str]:
    # Jinja2 takes 100 ms to import: only files that hold an expression pay for it.
    from orchestrator.workflows.sandbox import compile_expression  # noqa: PLC0415

    try:
        references = compile_expression(hole.text).references
    except InvalidError as error:
        return [_about(hole, error)]
    found = [problem_of(reference, names) for reference in references]
    return list(dict.fromkeys(problem for problem in found if problem is not None))


def _value(hole: _Hole, scope: Mapping[str, Json], budget: Budget) -> Json:
    from orchestrator.workflows.sandbox import compile_expression  # noqa: PLC0415 - as above

    try:
        return compile_expression(hole.text).value(scope, budget)
    except InvalidError as error:
        raise InvalidError(_about(hole, error)) from error


def _about(hole: _Hole, error: InvalidError) -> str:
    return f"In `{{{{ {shown(hole.text.strip())} }}}}`: {error.message}"


def _condition(text: str) -> _Hole:
    pieces = _split(text.strip())
    if len(pieces) == 1:
        piece = pieces[0]
        return piece if isinstance(piece, _Hole) else _Hole(piece)
    raise InvalidError("A condition is one expression: put all of it inside one `{{ }}`, or leave the braces out.")


def _rendered(value: Json, scope: Mapping[str, Json], budget: Budget, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise InvalidError(f"The value is nested more than {MAX_DEPTH} deep.")
    if isinstance(value, str):
        return _filled(value, scope, budget) if "{{" in value else value
    if isinstance(value, list):
        return [_rendered(item, scope, budget, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: _rendered(item, scope, budget, depth + 1) for key, item in value.items()}
    return value


def _filled(text: str, scope: Mapping[str, Json], budget: Budget) -> Json:
    pieces = _split(text)
    if len(pieces) == 1 and isinstance(pieces[0], _Hole):
        return _value(pieces[0], scope, budget)
    texts = [_as_text(_value(piece, scope, budget)) if isinstance(piece, _Hole) else piece for piece in pieces]
    check_length(sum(map(len, texts)))
    return "".join(texts)


def _as_text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _split(text: str) -> list[str | _Hole]:
    """Cut a text into what stays and what is filled in. Raises `InvalidError` for a `{{` that is not closed."""
    pieces: list[str | _Hole] = []
    at = 0
    while (start := text.find("{{", at)) >= 0:
        if start > at:
            pieces.append(text[at:start])
        end = _end_of(text, start + 2)
        inside = text[start + 2 : end]
        if inside[:1] in "-+" or inside[-1:] == "-":
            raise InvalidError("`{{-` and `-}}` are not supported: write `{{ ` and ` }}`.")
        pieces.append(_Hole(inside))
        at = end + 2
    if at < len(text) or not pieces:
        pieces.append(text[at:])
    return pieces


def _end_of(text: str, at: int) -> int:
    """Where the `}}` begins that closes an expression: not in a text and not in brackets of the expression."""
    expected: list[str] = []
    start = at
    while at < len(text):
        letter = text[at]
        if letter in "'\"":
            at = _end_of_text(text, at)
        elif letter in BRACKETS:
            expected.append(BRACKETS[letter])
        elif expected and letter == expected[-1]:
            expected.pop()
        elif text.startswith("}}", at):
            return at
        at += 1
    message = (
        f"`{{{{{shown(text[start:])}` is not closed by `}}}}`. To write two braces as they are: `{{{{ '{{{{' }}}}`."
    )
    raise InvalidError(message)


def _end_of_text(text: str, at: int) -> int:
    """Where the quote is that ends a text; the end of everything where there is none."""
    quote = text[at]
    at += 1
    while at < len(text) and text[at] != quote:
        at += 2 if text[at] == "\\" else 1
    return at
