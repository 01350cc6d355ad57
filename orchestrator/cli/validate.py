"""`cronium validate`: what is wrong with a workflow or job file, all of it, without running anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import click

from orchestrator.cli.failures import EXIT_USAGE, fault_lines
from orchestrator.cli.render import escape, print_json
from orchestrator.cli.spec_file import STDIN, keys_of, read_text, script_language
from orchestrator.errors import Fault, InvalidError
from orchestrator.model.json import Json

WORKFLOW_KEYS = ("steps", "inputs", "outputs", "triggers")

EXAMPLES = """
\b
Examples:
  cronium validate nightly.yaml
  cronium validate job.json --json
  cat flow.yaml | cronium validate -
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a file: valid when there are no faults. `kind` is `workflow` or `job`, None where it is unclear."""

    source: str
    kind: str | None = None
    name: str | None = None
    steps: int = 0
    faults: Sequence[Fault] = ()


@click.command(name="validate", epilog=EXAMPLES)
@click.argument("file", metavar="FILE|-")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `valid` and `faults`.")
def validate(file: str, as_json: bool) -> int:
    """Check a workflow or job file (YAML or JSON) without running it.

    Every fault is printed as `file:line: path: message`. The exit code is 0 for a valid file, else 2.
    """
    if file != STDIN and script_language(file, "") is not None:
        raise InvalidError(
            f"{file} is a script: only workflow and job files are checked. `cronium run {file}` runs it."
        )
    verdict = _check(read_text(file), "<stdin>" if file == STDIN else file)
    if as_json:
        print_json(_document(verdict))
    elif verdict.faults:
        click.echo("\n".join(fault_lines(verdict.faults, verdict.source)))
    else:
        steps = f", {verdict.steps} step{'s' if verdict.steps != 1 else ''}" if verdict.kind == "workflow" else ""
        click.echo(escape(f"{verdict.source}: valid {verdict.kind}{f' {verdict.name}' if verdict.name else ''}{steps}"))
    return EXIT_USAGE if verdict.faults else 0


def _check(text: str, source: str) -> Verdict:
    """Read the file as what it is; whatever is refused becomes faults."""
    from orchestrator.jobs.spec_document import parse_job_spec
    from orchestrator.workflows.definition import parse_workflow
    from orchestrator.workflows.document import load_document

    try:
        loaded = load_document(text, source=source)
    except InvalidError as error:
        return Verdict(source=source, faults=_faults(error))
    is_workflow = isinstance(loaded.data, dict) and any(key in loaded.data for key in WORKFLOW_KEYS)
    kind = "workflow" if is_workflow else "job"
    try:
        if is_workflow:
            workflow = parse_workflow(loaded)
            return Verdict(source=source, kind=kind, name=workflow.name, steps=len(workflow.steps))
        return Verdict(source=source, kind=kind, name=parse_job_spec(loaded.data).name)
    except InvalidError as error:
        faults = [
            fault if fault.line else replace(fault, line=loaded.line_of(keys_of(fault.path)))
            for fault in _faults(error)
        ]
        return Verdict(source=source, kind=kind, faults=sorted(faults, key=lambda fault: fault.line or 0))


def _faults(error: InvalidError) -> Sequence[Fault]:
    return error.faults or (Fault(path="", message=error.message),)


def _document(verdict: Verdict) -> Json:
    return {
        "file": verdict.source,
        "kind": verdict.kind,
        "name": verdict.name,
        "valid": not verdict.faults,
        "faults": [{"path": fault.path, "line": fault.line, "message": fault.message} for fault in verdict.faults],
    }
