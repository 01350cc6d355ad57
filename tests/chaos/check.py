"""Compare what the product says of the jobs with what was asked for and what the witness saw. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count, pairwise, takewhile
from typing import Any

from tests.chaos.clients import Submitted
from tests.chaos.mix import Work
from tests.chaos.witness import Run
from tests.chaos.workload import text_of
from tests.e2e.serving import FINAL

STREAMS = ("stdout", "stderr")


@dataclass(slots=True, kw_only=True)
class Score:
    """How often each promise was broken, and how."""

    jobs_lost: int = 0
    attempts_doubled: int = 0
    lines_lost: int = 0
    lines_doubled: int = 0
    outputs_wrong: int = 0
    left_over: int = 0
    over_limit: int = 0
    fires: int | None = None  # checked, where there are events
    fires_lost: int = 0
    fires_doubled: int = 0
    effects: int | None = None
    effects_lost: int = 0
    effects_doubled: int = 0
    problems: list[str] = field(default_factory=list)
    lines: int = 0
    given_back: int = 0

    @property
    def clean(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        text = (
            f"jobs lost {self.jobs_lost} · attempts doubled {self.attempts_doubled} · lines lost {self.lines_lost} · "
            f"lines doubled {self.lines_doubled} · outputs wrong {self.outputs_wrong} · left over {self.left_over} · "
            f"over a limit {self.over_limit}"
        )
        if self.fires is not None:
            text += f" · of {self.fires} fires lost {self.fires_lost}, doubled {self.fires_doubled}"
        if self.effects is not None:
            text += f" · of {self.effects} webhook calls lost {self.effects_lost}, doubled {self.effects_doubled}"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the product tells of one job."""

    job: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    journal: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """What an event's journal says was missed: so many times from the first on, before the one it fired for instead."""

    first: datetime
    fired_for: datetime
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A webhook call as its receiver saw it. Calls with the same id are the same news, told again."""

    id: str
    job_id: str


def check_all(submitted: Sequence[Submitted], told: Mapping[str, Told], runs: Iterable[Run]) -> Score:
    """`told` has every job that the product lists, by id; `runs` is all that the witness saw."""
    score = Score()
    by_job: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.began_ns):
        by_job[run.job_id].append(run)
    for job in submitted:
        if job.job_id not in told:
            score.jobs_lost += 1
            score.problems.append(f"{job.work.name} ({job.job_id}) was acknowledged and is not there")
            continue
        check_job(score, job, told[job.job_id], by_job.get(job.job_id, []))
    _check_strangers(score, submitted, told, by_job)
    _check_limits(score, submitted, by_job)
    return score


def check_job(score: Score, job: Submitted, told: Told, runs: Sequence[Run]) -> None:
    """One job's end, attempts, lines and output."""

    def wrong(what: str) -> None:
        score.problems.append(f"{job.work.name} ({job.work.kind}, {job.job_id}): {what}")

    _check_end(score, job, told, runs, wrong)
    _check_attempts(score, job.work, told, runs, wrong)
    for stream in STREAMS:
        _check_lines(score, job.work, stream, told, runs, wrong)
    if [line["seq"] for line in told.lines] != list(range(1, len(told.lines) + 1)):
        score.lines_doubled += 1
        wrong("its lines are not numbered 1, 2, 3 ...")
    if told.job["output"] != job.work.output:
        score.outputs_wrong += 1
        wrong(f"its output is {told.job['output']}, not {job.work.output}")


def _check_end(score: Score, job: Submitted, told: Told, runs: Sequence[Run], wrong: Callable[[str], None]) -> None:
    status, code = job.work.ending
    found = told.job
    if found["status"] not in FINAL:
        score.jobs_lost += 1
        wrong(f"it is still {found['status']}")
    elif found["status"] != status or (code is not None and found["exit_code"] != code):
        score.jobs_lost += 1
        wrong(f"it ended {_end(found)}, not {status} {code}: {found['message']}")
    elif code is not None and runs and runs[-1].code not in (None, code):
        score.jobs_lost += 1
        wrong(f"the witness saw exit code {[run.code for run in runs]}")
    if job.seen is not None and _end(job.seen) != _end(found):
        score.jobs_lost += 1
        wrong(f"a client saw it end {_end(job.seen)}, and now it is {_end(found)}")
    finishes = [entry for entry in told.journal if entry["kind"] == "finished"]
    if len(finishes) != 1:
        score.attempts_doubled += 1
        wrong(f"its journal has {len(finishes)} ends")


def _end(job: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(job[key] for key in ("status", "reason", "exit_code", "output", "attempt", "finished_at"))


def _check_attempts(score: Score, work: Work, told: Told, runs: Sequence[Run], wrong: Callable[[str], None]) -> None:
    """
    Each attempt runs once, the next begins when it has ended, and only the last one ends the job. An attempt of which
    the journal says that it was never started has not run.
    """
    attempts = [run.attempt for run in runs]
    given_back = attempts_given_back(told.journal)
    score.given_back += len(given_back)
    together = any(later.began_ns < run.last_ns for run, later in pairwise(runs))
    too_many = len(attempts) - len(set(attempts)) + sum(attempt >= work.attempts for attempt in attempts[:-1])
    if too_many or together or given_back & set(attempts):
        score.attempts_doubled += max(1, too_many)
        wrong(f"its script ran {len(runs)} times{', at the same time' if together else ''}: {list(runs)}")
    last = max([work.attempts, *attempts])
    missing = set(range(1, last + 1)) - set(attempts) - given_back
    if work.cancel_after is None and (missing or not attempts or attempts[-1] < work.attempts):
        score.jobs_lost += 1
        wrong(f"attempts {attempts} ran, {sorted(missing)} did not")
    if runs and told.job["attempt"] != attempts[-1]:
        score.attempts_doubled += 1
        wrong(f"attempt {attempts[-1]} ran last, and the job says {told.job['attempt']}")


def attempts_given_back(journal: Sequence[Mapping[str, Any]]) -> set[int]:
    """The attempts that were claimed and never started: their job went back to the queue without a run."""
    given_back = set()
    attempt = 0
    for entry in journal:
        if entry["kind"] in ("claimed", "adopted"):  # a claim that was cut short is known from its adoption only
            attempt = entry["data"]["attempt"]
        elif entry["kind"] == "queued" and attempt:
            given_back.add(attempt)
    return given_back


def _check_lines(
    score: Score, work: Work, stream: str, told: Told, runs: Sequence[Run], wrong: Callable[[str], None]
) -> None:
    """All that the script said; of one that was ended at least what the witness knows of, without a hole."""
    found = whole_lines(line for line in told.lines if line["stream"] == stream)
    score.lines += len(found)
    number = work.lines
    if number is None:
        number = max([run.said for run in runs], default=0)
        seen = set(found)
        more = takewhile(lambda n: text_of(work.name, stream, n, work.wide) in seen, count(number + 1))
        number += sum(1 for _ in more)
        # The last line may have been cut off in its middle by the end of the script.
        if len(found) == number + 1 and text_of(work.name, stream, number + 1, work.wide).startswith(found[-1]):
            found = found[:-1]
    wanted = [text_of(work.name, stream, n, work.wide) for n in range(1, number + 1)] * (len(runs) or 1)
    if found == wanted:
        return
    lost = (Counter(wanted) - Counter(found)).total()
    doubled = (Counter(found) - Counter(wanted)).total()
    score.lines_lost += lost
    score.lines_doubled += doubled or not lost
    first = next(n for n in count() if wanted[n : n + 1] != found[n : n + 1])
    what = f"{lost} lost, {doubled} too many" if lost or doubled else "out of order"
    wrong(f"of {len(wanted)} lines on {stream} {what}; the first at {first + 1}: {_short(found[first : first + 1])}")


def whole_lines(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Texts, with the pieces of long lines put together again."""
    whole: list[str] = []
    pieces: list[str] = []
    for line in lines:
        pieces.append(line["text"])
        if not line.get("continued"):
            whole.append("".join(pieces))
            pieces = []
    return whole + (["".join(pieces)] if pieces else [])


def _short(texts: Sequence[str]) -> str:
    return repr(texts[0][:80]) if texts else "nothing"


def _check_strangers(
    score: Score, submitted: Sequence[Submitted], told: Mapping[str, Told], by_job: Mapping[str, Sequence[Run]]
) -> None:
    """A job that nobody was told of was made twice from one submission, and a run without a job is nobody's."""
    known = {job.job_id for job in submitted}
    for job_id in set(told) - known:
        score.attempts_doubled += 1
        score.problems.append(f"{told[job_id].job['name']} ({job_id}) is there, and nobody submitted it")
    for job_id in set(by_job) - set(told):
        score.jobs_lost += 1
        score.problems.append(f"{job_id} ran, and there is no such job")


def _check_limits(score: Score, submitted: Sequence[Submitted], by_job: Mapping[str, Sequence[Run]]) -> None:
    """Of the jobs with one limit no more than that ran at a time. That each of them ran is seen by its own end."""
    by_limit: dict[int, list[Run]] = defaultdict(list)
    for job in submitted:
        if job.work.limit is not None:
            by_limit[job.work.limit] += by_job.get(job.job_id, [])
    for limit, runs in by_limit.items():
        for run in runs:
            beside = [other for other in runs if other.began_ns <= run.began_ns < other.last_ns and other is not run]
            if len(beside) >= limit:
                score.over_limit += 1
                score.problems.append(f"{run} ran beside {beside}, over the limit of {limit}")


def check_fires(
    score: Score, fires: Sequence[datetime], missed: Sequence[Missed], *, anchor: datetime, every: timedelta
) -> None:
    """Each time of the interval up to the last fire has one job, or is one that the journal says was missed."""
    score.fires = len(fires)
    skipped: set[datetime] = set()
    for entry in missed:
        times = [entry.first + number * every for number in range((entry.fired_for - entry.first) // every)]
        skipped.update(times)
        if len(times) != entry.times:
            score.fires_lost += 1
            score.problems.append(
                f"the journal counts {entry.times} missed fires, and {len(times)} there were: {entry}"
            )
    counted = Counter(fires)
    last = max(fires, default=anchor)
    due = {anchor + number * every for number in range(1, (last - anchor) // every + 1)}
    for at in sorted(due | set(counted)):
        made = counted[at]
        if at not in due or made > 1 or (made and at in skipped):
            score.fires_doubled += 1
            score.problems.append(
                f"{made} jobs for {at}, {'missed' if at in skipped else 'due' if at in due else 'not due'}"
            )
        elif not made and at not in skipped:
            score.fires_lost += 1
            score.problems.append(f"no job for {at}, and the journal does not say that it was missed")


def check_effects(score: Score, wanted: Collection[str], calls: Sequence[Call]) -> None:
    """Of each of these jobs the receiver was told, by calls of one id."""
    score.effects = len(calls)
    ids: dict[str, set[str]] = defaultdict(set)
    for call in calls:
        ids[call.job_id].add(call.id)
    for job_id in wanted:
        if not ids[job_id]:
            score.effects_lost += 1
            score.problems.append(f"nobody was told that {job_id} failed")
    for job_id, of_job in ids.items():
        if len(of_job) > 1 or (of_job and job_id not in wanted):
            score.effects_doubled += 1
            score.problems.append(f"of {job_id} was told as {sorted(of_job)}")
