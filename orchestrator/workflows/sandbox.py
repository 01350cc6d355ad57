"""
Compile one expression with Jinja2's parser and sandbox, and take away what is not an expression over JSON values.

What is left is bounded before it runs: a fixed length, depth and number of parts, no calls, no loops, no attributes but
keys of mappings, and a budget that every filter and sum draws on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, nodes, pass_context
from jinja2.environment import TemplateExpression
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from orchestrator.errors import InvalidError
from orchestrator.jobs.faults import kind_of, near, shown
from orchestrator.model.json import Json
from orchestrator.workflows.bounds import ARITHMETIC, Budget, calculate
from orchestrator.workflows.filters import FILTERS, TAKE_UNDEFINED, TESTS
from orchestrator.workflows.references import Reference

MAX_LENGTH = 2000
MAX_DEPTH = 40  # each level is up to four frames while Jinja2 compiles it, and two parentheses in what it compiles to
MAX_PARTS = 200
BUDGET = "the budget"  # no name that an expression can write
FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

JSON_NAMES = {
    "NoneType": "null",
    "dict": "mapping",
    "bool": "boolean",
    "str": "text",
    "int": "number",
    "float": "number",
}
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
PYTHON_NAMES = re.compile(rf"'({'|'.join(JSON_NAMES)})'")

ALLOWED = (
    *(nodes.Const, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Keyword),
    *(nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Compare, nodes.Operand, nodes.CondExpr, nodes.Concat),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A compiled expression and what it refers to."""

    text: str
    references: tuple[Reference, ...]
    compute: TemplateExpression

    def value(self, scope: Mapping[str, Json], budget: Budget) -> Json:
        """Its value as JSON. Raises `InvalidError` with the reason."""
        try:
            found = self.compute({**scope, BUDGET: budget})
            if isinstance(found, Undefined):
                str(found)  # raises, saying what is not there
            budget.write(found)
        except UndefinedError as error:
            raise InvalidError(str(error.message)) from error
        except FAILURES as error:
            raise InvalidError(_in_words(error)) from error
        return _plain(found)


def _in_words(error: Exception) -> str:
    """Why Python refused, with the names that types have in JSON."""
    return "the values do not fit: " + PYTHON_NAMES.sub(lambda match: JSON_NAMES[match[1]], str(error))


@lru_cache(maxsize=2048)
def compile_expression(text: str) -> Expression:
    """Compile an expression. Raises `InvalidError` with the reason it is refused."""
    if len(text) > MAX_LENGTH:
        raise InvalidError(f"it is longer than {MAX_LENGTH} characters")
    try:
        tree = _parse(text)
        references = tuple(_check(tree))
        tree = _Rewriter().visit(tree)
        body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), tree, lineno=1)]
        template = SANDBOX.from_string(nodes.Template(body, lineno=1))
    except TemplateSyntaxError as error:
        raise InvalidError(f"{error.message}") from error
    except (RecursionError, SyntaxError, MemoryError) as error:
        raise InvalidError("it is nested too deeply") from error
    except (OverflowError, ValueError) as error:
        raise InvalidError(f"it is not understood ({error})") from error
    return Expression(text=text, references=references, compute=TemplateExpression(template, undefined_to_none=False))


def _parse(text: str) -> nodes.Expr:
    if not text.strip():
        raise InvalidError("it is empty")
    parser = Parser(SANDBOX, text, state="variable")
    tree = parser.parse_expression()
    if not parser.stream.eos:
        raise InvalidError(f"`{shown(str(parser.stream.current.value))}` is not expected there")
    tree.set_environment(SANDBOX)
    return tree


def _check(tree: nodes.Expr) -> Iterator[Reference]:
    """Refuse what is not allowed and yield what the expression refers to. Without recursion: depth is one limit."""
    waiting: list[tuple[nodes.Node, int]] = [(tree, 1)]
    parts = 0
    while waiting:
        node, depth = waiting.pop()
        parts += 1
        if depth > MAX_DEPTH or parts > MAX_PARTS:
            raise InvalidError("it has too many parts; work the value out in a script")
        _check_node(node)
        if isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Name):
            reference, rest = _reference(node)
            if reference is not None:
                yield reference
            waiting.extend((inner, depth + 1) for inner in rest)
        else:
            waiting.extend((inner, depth + 1) for inner in node.iter_child_nodes())


def _check_node(node: nodes.Node) -> None:
    if isinstance(node, nodes.Call):
        raise InvalidError("nothing can be called; use a filter such as `| length`")
    if not isinstance(node, ALLOWED):
        raise InvalidError(f"`{type(node).__name__.lower()}` is not allowed in an expression")
    if isinstance(node, nodes.Filter):
        _check_use(node, FILTERS, "filter")
    elif isinstance(node, nodes.Test):
        _check_use(node, TESTS, "test")
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice) and isinstance(node.node, nodes.Const):
        raise InvalidError("a constant cannot be cut")
    elif isinstance(node, nodes.CondExpr) and node.expr2 is None:
        raise InvalidError("`if` needs an `else`: write `a if b else c`")
    elif isinstance(node, nodes.Const):
        Budget().look_at(node.value)


def _check_use(node: nodes.Filter | nodes.Test, known: Mapping[str, Callable[..., object]], what: str) -> None:
    if node.name not in known:
        hint = near(node.name, known) or f" There are: {', '.join(known)}."
        raise InvalidError(f"there is no {what} `{shown(node.name)}`.{hint}")
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise InvalidError("`*` and `**` are not allowed before arguments")
    try:
        signature(known[node.name]).bind(None, *node.args, **{str(pair.key): pair.value for pair in node.kwargs})
    except TypeError as error:
        raise InvalidError(f"the {what} `{node.name}` cannot be used like that: {error}") from error


def _reference(node: nodes.Node) -> tuple[Reference | None, list[nodes.Node]]:
    """`a.b.c.d` as a reference to `a.b.c`; and the parts of the expression that are not a part of it."""
    path: list[str] = []
    rest: list[nodes.Node] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        key = node.attr if isinstance(node, nodes.Getattr) else _constant_key(node.arg)
        if key is None and isinstance(node, nodes.Getitem):
            rest.append(node.arg)
            path.clear()
        elif key is not None:
            path.append(key)
        node = node.node
    if not isinstance(node, nodes.Name):
        return None, [*rest, node]
    if node.name == "null":
        return None, rest
    path.reverse()
    known = [*path, None, None]
    return Reference(root=node.name, member=known[0], attribute=known[1]), rest


def _constant_key(node: nodes.Expr) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None


class _Rewriter(NodeTransformer):
    """`a ~ b` becomes the filter `join`, which is bounded; the word `null` means null."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja2 looks for this name
        parts = nodes.List([self.visit(part) for part in node.nodes], lineno=node.lineno)
        join = nodes.Filter(parts, "join", [], [], None, None, lineno=node.lineno)
        join.set_environment(SANDBOX)
        return join

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802 - Jinja2 looks for this name
        return nodes.Const(None, lineno=node.lineno) if node.name == "null" else node


class _Sandbox(ImmutableSandboxedEnvironment):
    """Attributes are keys of mappings and nothing else; arithmetic is bounded."""

    intercepted_binops = frozenset(ARITHMETIC)

    def getattr(self, obj: object, attribute: str) -> object:
        return self.getitem(obj, attribute)

    def getitem(self, obj: object, argument: object) -> object:
        if isinstance(obj, Undefined):
            str(obj)  # raises, saying what is not there
        if isinstance(obj, dict) and isinstance(argument, str):
            return obj[argument] if argument in obj else self._missing(obj, argument)
        if isinstance(obj, list | str) and isinstance(argument, int) and not isinstance(argument, bool):
            if -len(obj) <= argument < len(obj):
                return obj[argument]
            return self.undefined(f"there is no item {argument}: there are {len(obj)}")
        return self._missing(obj, argument)

    def _missing(self, obj: object, key: object) -> Undefined:
        name = shown(str(key)) if isinstance(key, str | int | float) else kind_of(key)
        if not isinstance(obj, dict):
            return self.undefined(f"{kind_of(obj)} has no `{name}`")
        known = ", ".join(f"`{shown(one)}`" for one in list(obj)[:10]) or "nothing"
        return self.undefined(f"there is no `{name}`, only {known}")

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> Json:
        for value in (left, right):
            if isinstance(value, Undefined):
                str(value)
        result = calculate(operator, left, right)
        _budget(context).look_at(result)
        return result


def _budget(context: Context) -> Budget:
    budget = context.parent[BUDGET]
    if not isinstance(budget, Budget):
        raise TypeError("an expression was computed without a budget")
    return budget


def _guarded(name: str, function: Callable[..., object]) -> Callable[..., object]:
    """A filter or test that pays for what it works on and what it makes, and refuses values that are not there."""

    def call(context: Context, /, *args: object, **options: object) -> object:
        budget = _budget(context)
        for value in (*args, *options.values()):
            if not isinstance(value, Undefined):
                budget.look_at(value)
            elif name not in TAKE_UNDEFINED:
                str(value)  # raises, saying what is not there
        result = function(*args, **options)
        if not isinstance(result, Undefined):
            budget.look_at(result)
        return result

    return pass_context(call)


def _plain(value: object) -> Json:
    """Tuples, which `(1, 2)` makes, become lists; the value has been found to be JSON and not deep."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return _plain_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise InvalidError("the value is not JSON")


def _plain_text(text: str) -> str:
    if not text.isascii() and LONE_SURROGATE.search(text):
        raise InvalidError("a text holds half of a surrogate pair, which is not text")
    return text


def _make_sandbox() -> _Sandbox:
    sandbox = _Sandbox(undefined=StrictUndefined, optimized=False, autoescape=False)
    sandbox.globals.clear()
    sandbox.filters = {name: _guarded(name, function) for name, function in FILTERS.items()}
    sandbox.tests = {name: _guarded(name, function) for name, function in TESTS.items()}
    return sandbox


SANDBOX = _make_sandbox()
