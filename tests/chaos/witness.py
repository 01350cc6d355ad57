"""What scripts really did, learned past the product: from the file they write, or from the Docker daemon's events."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True, kw_only=True)
class Run:
    """One start of a script: of which attempt of which job, between which times, and how far it said it came."""

    job_id: str
    attempt: int
    began_ns: int
    last_ns: int
    said: int = 0
    code: int | None = None


def read_records(file: Path) -> list[Run]:
    """The runs in a witness file. A script that was killed in mid-write has left no half record: one write(2) each."""
    runs: list[Run] = []
    for record in file.read_text().splitlines() if file.exists() else ():
        _, job_id, attempt, at, word, *more = record.split()
        if word == "begin":
            runs.append(Run(job_id=job_id, attempt=int(attempt), began_ns=int(at), last_ns=int(at)))
            continue
        run = next(run for run in reversed(runs) if (run.job_id, run.attempt) == (job_id, int(attempt)))
        run.last_ns = int(at)
        if word == "said":
            run.said = int(more[0])
    return runs


@contextmanager
def watched_daemon(file: Path) -> Iterator[None]:
    """Write what the Docker daemon tells of containers to `file`, from now on."""
    command = ["docker", "events", "--filter", "type=container", "--format", "{{json .}}"]
    with file.open("wb") as output, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output) as watching:
        try:
            yield
        finally:
            watching.terminate()


def read_events(file: Path, installations: Collection[str]) -> list[Run]:
    """The runs of containers of these installations, with the exit codes that the daemon saw."""
    runs: list[Run] = []
    for record in file.read_text().splitlines():
        event = json.loads(record)
        labels = event["Actor"]["Attributes"]
        if event["Action"] not in ("start", "die") or labels.get("cronium.installation") not in installations:
            continue
        name = labels["name"]
        job_id, _, attempt = name.removeprefix("cronium-").rpartition("-")
        if event["Action"] == "start":
            at = int(event["timeNano"])
            runs.append(Run(job_id=job_id, attempt=int(attempt), began_ns=at, last_ns=at))
            continue
        for run in runs:
            if (run.job_id, run.attempt) == (job_id, int(attempt)):
                run.last_ns = int(event["timeNano"])
                run.code = int(labels["exitCode"])
    return runs
