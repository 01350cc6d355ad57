"""The table of operations: for each its name, its method and path, and what its document says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from runtime_api.backend import Session
from runtime_api.operations import (
    Reply,
    delete_variable,
    get_condition,
    get_context,
    get_input,
    get_variable,
    increment_variable,
    list_variables,
    set_condition,
    set_output,
    set_progress,
    set_variable,
    write_log,
)
from runtime_api.payloads import ConditionBody, IncrementBody, LogBody, OutputBody, VariableBody


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """
    One thing a script can ask for; what `run` returns is the `data` of the answer.

    `body` is the model of the JSON body, where one is read (`any_body`: any JSON value); `asks` names the query
    parameters and headers it understands; `answer` names a schema of `runtime_api.schemas`.
    """

    name: str
    method: str
    path: str
    run: Callable[[Session, web.Request], Awaitable[Reply]]
    summary: str
    answer: str = "any"
    body: type[BaseModel] | None = None
    any_body: bool = False
    body_required: bool = True
    asks: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()


# A key is one segment of the path and may hold anything else percent-encoded, slashes and braces too.
_EXECUTION = "/executions/{id}"
_VARIABLE = "/executions/{id}/variables/{key:[^/]+}"
_TERMS = ("scope", "If-Match", "If-None-Match", "Idempotency-Key")
_WRITE_REFUSALS = (404, 409, 412)

OPERATIONS = (
    Operation(
        name="get_input",
        method="GET",
        path=f"{_EXECUTION}/input",
        run=get_input,
        summary="The job's input; null when it has none.",
    ),
    Operation(
        name="set_output",
        method="POST",
        path=f"{_EXECUTION}/output",
        run=set_output,
        body=OutputBody,
        answer="nothing",
        summary="Keep the job's output, replacing what was there.",
    ),
    Operation(
        name="get_context",
        method="GET",
        path=f"{_EXECUTION}/context",
        run=get_context,
        answer="context",
        summary="What runs, and why.",
    ),
    Operation(
        name="get_condition",
        method="GET",
        path=f"{_EXECUTION}/condition",
        run=get_condition,
        answer="condition",
        summary="The job's condition; null until it is set.",
    ),
    Operation(
        name="set_condition",
        method="POST",
        path=f"{_EXECUTION}/condition",
        run=set_condition,
        body=ConditionBody,
        answer="nothing",
        summary="Keep the job's condition.",
    ),
    Operation(
        name="list_variables",
        method="GET",
        path=f"{_EXECUTION}/variables",
        run=list_variables,
        answer="page",
        asks=("scope", "prefix", "cursor", "limit"),
        summary="The variables of a scope by key; as text/plain, one key in each line.",
    ),
    Operation(
        name="get_variable",
        method="GET",
        path=_VARIABLE,
        run=get_variable,
        asks=("scope",),
        refusals=(404,),
        summary="A variable's value; its version is in ETag. Without a scope the event's own is read first.",
    ),
    Operation(
        name="set_variable",
        method="PUT",
        path=_VARIABLE,
        run=set_variable,
        body=VariableBody,
        answer="version",
        asks=_TERMS,
        refusals=_WRITE_REFUSALS,
        summary="Write a variable.",
    ),
    Operation(
        name="increment_variable",
        method="POST",
        path=f"{_VARIABLE}/increment",
        run=increment_variable,
        body=IncrementBody,
        body_required=False,
        answer="sum",
        asks=_TERMS,
        refusals=_WRITE_REFUSALS,
        summary="Add to a number, which starts at 0.",
    ),
    Operation(
        name="delete_variable",
        method="DELETE",
        path=_VARIABLE,
        run=delete_variable,
        answer="nothing",
        asks=_TERMS,
        refusals=_WRITE_REFUSALS,
        summary="Remove a variable.",
    ),
    Operation(
        name="set_progress",
        method="POST",
        path=f"{_EXECUTION}/progress",
        run=set_progress,
        any_body=True,
        answer="nothing",
        summary="Show how far the script is: a percentage and a message, or any small JSON value.",
    ),
    Operation(
        name="write_log",
        method="POST",
        path=f"{_EXECUTION}/log",
        run=write_log,
        body=LogBody,
        answer="line",
        asks=("Idempotency-Key",),
        refusals=(409,),
        summary="Add a structured entry to the job's log.",
    ),
)
