"""What to do about a job that did not succeed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from signal import Signals

from orchestrator.jobs.why_words import Document, text_of
from orchestrator.model.jobs import JobStatus, Reason

SIGNALLED = 128  # a shell's rule: an exit code above it is this much more than the number of a signal


def advise(job: Document) -> str | None:
    """What to do about a job that did not succeed; None where there is nothing to do."""
    reason, code, job_id = text_of(job, "reason"), job.get("exit_code"), text_of(job, "id")
    if reason == Reason.TIMEOUT and job.get("started_at") is None:
        return "Its script was never started: allow more time (`timeout: {queue: ..., setup: ...}`) or more slots."
    if reason == Reason.EXIT_CODE and isinstance(code, int) and code > SIGNALLED and (name := _signal(code)):
        return (
            f"Exit code {code} is what is left of a script that {name} ended: somebody, the machine (short of memory?) "
            f"or the script itself sent it. Its last lines: `cronium logs {job_id} --tail 50`."
        )
    if text_of(job, "status") == JobStatus.SKIPPED:
        return _SKIPPED if reason == Reason.LIMIT else None
    text = _ADVICE.get(reason or "")
    again = f"run it again (`cronium jobs retry {job_id}`)" if job.get("run_id") is None else "start the workflow again"
    return text.format(job=job_id, again=again) if text else None


_ADVICE: Mapping[str, str] = {
    Reason.EXIT_CODE: "The script itself says that it failed. Its last lines: `cronium logs {job} --tail 50`.",
    Reason.TIMEOUT: "Give it more time (`timeout:`), or look where it stood: `cronium logs {job} --tail 50`.",
    Reason.OUT_OF_MEMORY: "Give it more memory (`memory:`), or let the script use less.",
    Reason.LOST: (
        "Lost means that it may or may not have done its work. Its last lines say how far it came: `cronium logs {job} "
        "--tail 50`. If it may run twice, {again}; a policy (`retry: {{attempts: 2, on_lost: retry}}`) does so by itself."
    ),
    Reason.IMAGE_UNAVAILABLE: "Make the image available to the Docker engine of the server, then {again}.",
    Reason.HOST_UNREACHABLE: (
        "See that the machine or the Docker engine it runs on is up and answers (`cronium doctor` on the server's "
        "machine), then {again}."
    ),
    Reason.HOST_KEY_MISMATCH: (
        "The machine shows another key than the one that is known: find out why before the new one is trusted."
    ),
    Reason.INVALID: "Correct what the message names (`cronium validate FILE` checks a job file), then submit it again.",
    Reason.LIMIT: "Make room where the message says, then {again}; or submit it with less to ask for.",
}


_SKIPPED = (
    "That is what `concurrency: {when_full: skip}` asks for; with `when_full: queue` it would wait for its turn, and a "
    "higher `limit` lets more run at once."
)


def _signal(code: int) -> str | None:
    try:
        return Signals(code - SIGNALLED).name
    except ValueError:
        return None
