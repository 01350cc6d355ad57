"""
JSON Schema (2020-12) of workflow files and job specifications, for editors and API descriptions.

It says what a document may look like. What a schema cannot say - that a needed step exists, that an expression can be
worked out - only `parse_workflow` finds. The keys, names and limits are those of the checks themselves.
"""

from __future__ import annotations

from orchestrator.jobs.concurrency_values import LIMITS, MAX_KEY
from orchestrator.jobs.container_values import MAX_PACKAGES, MAX_VOLUMES, PACKAGE, VOLUME_KEYS
from orchestrator.jobs.quantities import DURATION, NUMBER, SIZE
from orchestrator.jobs.retry import RETRYABLE
from orchestrator.jobs.retry_values import ATTEMPTS, EXIT_CODES, ON_LOST
from orchestrator.jobs.secret_values import MAX_SECRETS, OURS
from orchestrator.jobs.spec_document import LANGUAGES
from orchestrator.jobs.spec_values import (
    ENV_NAME,
    IMAGE,
    LATER_EXECUTORS,
    MAX_NAME,
    MAX_PIDS,
    MIN_MEMORY,
    NETWORK,
    PRIORITIES,
    RESERVED_PREFIX,
    TIMEOUTS,
)
from orchestrator.model.artifacts import MAX_NAME_BYTES
from orchestrator.model.json import Json
from orchestrator.model.secrets import SECRET_NAME
from orchestrator.model.specs import Backoff, ExecutorKind, PullPolicy, WhenFull, Workspace
from orchestrator.model.workflows import When
from orchestrator.workflows.checks import NAME
from orchestrator.workflows.input_types import INPUT_TYPES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCALAR: dict[str, Json] = {"type": ["string", "number", "boolean"]}
TEMPLATE: dict[str, Json] = {"type": "string", "pattern": r"\{\{"}
SCRIPT: dict[str, Json] = {"type": "string", "minLength": 1}


def workflow_schema() -> dict[str, Json]:
    """The schema of a workflow file."""
    step = _spec_properties(templates=True)
    step["needs"] = {"description": "Steps that end before this one starts.", "anyOf": [_names(), {"type": "string"}]}
    step["if"] = {"description": "A condition; the step is skipped unless it is true.", "type": ["string", "boolean"]}
    step["when"] = _choice([when.value for when in When], "After which results of its needs the step starts.")
    step["artifacts"] = {
        "description": "What it finds of earlier steps, by the name under which: STEP/NAME, or STEP for all of them.",
        "type": "object",
        "propertyNames": {"minLength": 1, "maxLength": MAX_NAME_BYTES},
        "additionalProperties": {"type": "string", "pattern": f"^{NAME.pattern}(/.+)?$"},
    }
    return {
        "$schema": DIALECT,
        "title": "Cronium workflow",
        "type": "object",
        "additionalProperties": False,
        "required": ["steps"],
        "properties": {
            "name": _name("What the workflow is called; without it, its file's name."),
            "description": {"type": "string"},
            "inputs": {"type": "object", "propertyNames": _pattern(NAME.pattern), "additionalProperties": _input()},
            "steps": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": _pattern(NAME.pattern),
                "additionalProperties": _exactly_one_script(step),
            },
            "outputs": {"type": "object", "description": "Values of the run, usually templates."},
        },
    }


def job_spec_schema() -> dict[str, Json]:
    """The schema of a job specification, which is also the body of a submission."""
    return {"$schema": DIALECT, "title": "Cronium job", **_exactly_one_script(_spec_properties(templates=False))}


def _exactly_one_script(properties: dict[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "additionalProperties": False,
        "oneOf": [{"required": [language]} for language in LANGUAGES],
        "properties": properties,
    }


def _spec_properties(*, templates: bool) -> dict[str, Json]:
    executors: list[Json] = [kind.value for kind in ExecutorKind if kind not in LATER_EXECUTORS]
    return {
        **{language: {**SCRIPT, "description": f"A script for {language}."} for language in LANGUAGES},
        "name": _name("What the job is called in lists."),
        "executor": _choice(executors, "Where it runs; without it, as configured."),
        "image": _templated({**_pattern(IMAGE.pattern), "description": "Runs it in this image."}, templates),
        "pull": _choice([policy.value for policy in PullPolicy], "When the image is fetched."),
        "network": {**_pattern(NETWORK.pattern), "description": "none, bridge, internal or a network's name."},
        "args": _templated({"type": "array", "items": SCALAR}, templates),
        "workdir": _templated({**_pattern("/.*"), "description": "An absolute path."}, templates),
        "input": {"description": "What the script gets from its SDK: any value."},
        "env": _templated(_env(), templates),
        "timeout": _timeout(),
        "retry": _retry(),
        "priority": {"type": "integer", "minimum": PRIORITIES[0], "maximum": PRIORITIES[-1]},
        "concurrency": _concurrency(),
        "cpus": {"type": "number", "minimum": 0.01, "maximum": 1024},
        "memory": {
            "description": "Bytes, or a size such as 512MB or 1GiB.",
            "anyOf": [{"type": "integer", "minimum": MIN_MEMORY}, _pattern(_any_case(SIZE.pattern))],
        },
        "pids": {"type": "integer", "minimum": 1, "maximum": MAX_PIDS},
        "packages": {
            "description": "Requirements of a Python or Node script, installed once and kept.",
            "type": "array",
            "maxItems": MAX_PACKAGES,
            "items": _pattern(PACKAGE.pattern),
        },
        "volumes": _volumes(),
        "workspace": _choice([kind.value for kind in Workspace], "What the working directory is made of."),
        "warm": {"type": "boolean", "description": "false: never in a container that was started beforehand."},
        "secrets": _secrets(),
    }


def _volumes() -> dict[str, Json]:
    text: dict[str, Json] = {"type": "string"}
    whole: dict[str, Json] = {
        "type": "object",
        "additionalProperties": False,
        "required": [*VOLUME_KEYS],
        "properties": dict.fromkeys(VOLUME_KEYS, text),
    }
    return {
        "description": "Directories or named volumes, read-only: `source:target`.",
        "type": "array",
        "maxItems": MAX_VOLUMES,
        "items": {"anyOf": [text, whole]},
    }


def _secrets() -> dict[str, Json]:
    variable = _pattern(f"(?!{RESERVED_PREFIX}|(?:{'|'.join(OURS)})$){ENV_NAME.pattern}")
    whole: dict[str, Json] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {"name": _pattern(SECRET_NAME.pattern), "as": variable},
    }
    return {
        "description": "Secrets that become variables of its environment.",
        "type": "array",
        "maxItems": MAX_SECRETS,
        "items": {"anyOf": [variable, whole]},
    }


def _duration(description: str) -> dict[str, Json]:
    return {
        "description": f"{description} Seconds, or a duration such as 90s, 5m, 1h30m.",
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, _pattern(f"{NUMBER.pattern}|{DURATION.pattern}")],
    }


def _timeout() -> dict[str, Json]:
    parts: dict[str, Json] = {name: _duration(f"Of the {name}.") for name in TIMEOUTS}
    whole: dict[str, Json] = {"type": "object", "additionalProperties": False, "properties": parts}
    return {"anyOf": [_duration("Of one attempt."), whole]}


def _concurrency() -> dict[str, Json]:
    limit: dict[str, Json] = {"type": "integer", "minimum": LIMITS[0], "maximum": LIMITS[-1]}
    properties: dict[str, Json] = {
        "limit": limit,
        "key": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "description": "Shared by those that count."},
        "when_full": _choice([choice.value for choice in WhenFull], "What becomes of a job when there is no place."),
    }
    whole: dict[str, Json] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["key"],
        "properties": properties,
    }
    return {"description": "How many jobs of the same key may be under way.", **whole}


def _retry() -> dict[str, Json]:
    attempts: dict[str, Json] = {"type": "integer", "minimum": ATTEMPTS[0], "maximum": ATTEMPTS[-1]}
    code: dict[str, Json] = {"type": "integer", "minimum": EXIT_CODES[0], "maximum": EXIT_CODES[-1]}
    properties: dict[str, Json] = {
        "attempts": attempts,
        "backoff": _choice([backoff.value for backoff in Backoff], "How the delay grows."),
        "delay": _duration("Before the second attempt."),
        "max_delay": _duration("What the delay grows to."),
        "jitter": {"type": "number", "minimum": 0, "maximum": 1},
        "exit_codes": {"type": "array", "items": code, "minItems": 1, "uniqueItems": True},
        "reasons": {"type": "array", "items": {"enum": [*sorted(RETRYABLE)]}, "minItems": 1},
        "on_lost": _choice([*ON_LOST], "When nobody knows what became of an attempt."),
    }
    policy: dict[str, Json] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["attempts"],
        "properties": properties,
    }
    return {"description": "Another attempt after a failed one.", "anyOf": [attempts, policy]}


def _templated(schema: dict[str, Json], templates: bool) -> dict[str, Json]:
    return {"anyOf": [schema, TEMPLATE]} if templates else schema


def _env() -> dict[str, Json]:
    name = f"^(?!{RESERVED_PREFIX})(?:{ENV_NAME.pattern})$"
    return {"type": "object", "propertyNames": {"pattern": name}, "additionalProperties": SCALAR}


def _input() -> dict[str, Json]:
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "type": _choice(list(INPUT_TYPES), "What the input must be."),
            "default": {"description": "Without it the input must be given."},
            "description": {"type": "string"},
        },
    }


def _names() -> dict[str, Json]:
    return {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


def _name(description: str) -> dict[str, Json]:
    return {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "description": description}


def _choice(values: list[Json], description: str) -> dict[str, Json]:
    return {"enum": values, "description": description}


def _pattern(pattern: str) -> dict[str, Json]:
    """JSON Schema searches where the checks match the whole text."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def _any_case(pattern: str) -> str:
    return pattern.replace("[kmgt]", "[kmgtKMGT]").replace("i?b", "[iI]?[bB]")
