"""The judge of a chaos run: it sees each kind of fault, and finds none where there is none."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.check import Call, Missed, Score, Told, check_all, check_effects, check_fires, whole_lines
from tests.chaos.clients import Submitted
from tests.chaos.faults import draw_faults
from tests.chaos.mix import KINDS, Work, draw
from tests.chaos.witness import Run, read_records
from tests.chaos.workload import text_of

WORK = Work(name="c0-0", kind="short", lines=3, exit_code=7, saves=2)
ENDLESS = Work(name="c0-1", kind="cancelled", lines=None, cancel_after=1.0)
JOB = {
    "name": "c0-0",
    "status": "failed",
    "reason": "exit_code",
    "message": None,
    "exit_code": 7,
    "attempt": 1,
    "output": {"name": "c0-0", "count": 2},
    "finished_at": "2026-01-01T00:00:00.000000Z",
}
CANCELLED = {**JOB, "name": "c0-1", "status": "cancelled", "reason": "cancelled", "exit_code": 143, "output": None}
CLAIMED = {"kind": "claimed", "data": {"attempt": 1}}
JOURNAL = [{"kind": "queued"}, CLAIMED, {"kind": "started"}, {"kind": "finished"}]
RUN = Run(job_id="job_1", attempt=1, began_ns=10, last_ns=20, said=3)


def lines_of(work: Work, stdout: int, stderr: int) -> list[dict[str, Any]]:
    said = [("stdout", n) for n in range(1, stdout + 1)] + [("stderr", n) for n in range(1, stderr + 1)]
    return numbered({"stream": stream, "text": text_of(work.name, stream, n, work.wide)} for stream, n in said)


def numbered(lines: Any) -> list[dict[str, Any]]:
    return [{**line, "seq": seq} for seq, line in enumerate(lines, start=1)]


def told(**changes: Any) -> Told:
    return replace(Told(job=JOB, lines=lines_of(WORK, 3, 3), journal=JOURNAL), **changes)


def score_of(found: Told, runs: list[Run], *, work: Work = WORK, seen: dict[str, Any] | None = None) -> Score:
    return check_all([Submitted(work=work, job_id="job_1", seen=seen)], {"job_1": found}, runs)


def test_a_job_that_went_as_it_must_has_no_fault():
    score = score_of(told(), [RUN], seen=dict(JOB))

    assert score.clean, score.problems
    assert score.lines == 6


@pytest.mark.parametrize(
    ("fault", "changes", "runs"),
    [
        ("jobs_lost", {"job": {**JOB, "status": "running", "exit_code": None}}, [RUN]),
        ("jobs_lost", {"job": {**JOB, "exit_code": 8}}, [RUN]),
        ("jobs_lost", {"job": {**JOB, "reason": "lost", "exit_code": None}}, [RUN]),
        ("jobs_lost", {}, []),
        ("jobs_lost", {}, [replace(RUN, code=9)]),
        ("attempts_doubled", {}, [RUN, replace(RUN, began_ns=15)]),
        ("attempts_doubled", {}, [RUN, replace(RUN, attempt=2, began_ns=30)]),
        ("attempts_doubled", {"job": {**JOB, "attempt": 2}}, [RUN]),
        ("attempts_doubled", {"journal": [*JOURNAL, {"kind": "finished"}]}, [RUN]),
        ("lines_lost", {"lines": lines_of(WORK, 3, 2)}, [RUN]),
        ("lines_doubled", {"lines": lines_of(WORK, 3, 4)}, [RUN]),
        ("lines_doubled", {"lines": numbered([*lines_of(WORK, 3, 3), *lines_of(WORK, 1, 0)])}, [RUN]),
        ("lines_doubled", {"lines": numbered(reversed(lines_of(WORK, 3, 3)))}, [RUN]),
        ("lines_doubled", {"lines": [{**line, "seq": 1} for line in lines_of(WORK, 3, 3)]}, [RUN]),
        ("outputs_wrong", {"job": {**JOB, "output": {"name": "c0-0", "count": 1}}}, [RUN]),
    ],
)
def test_each_fault_is_counted_where_it_belongs(fault: str, changes: dict[str, Any], runs: list[Run]):
    score = score_of(told(**changes), runs)

    assert getattr(score, fault) > 0, score.problems
    assert score.problems


def test_attempts_that_follow_one_another_are_no_fault_and_each_has_its_lines():
    work, second = replace(WORK, attempts=2), replace(RUN, attempt=2, began_ns=30, last_ns=40)
    found = told(job={**JOB, "attempt": 2}, lines=numbered(lines_of(WORK, 3, 3) * 2))

    assert score_of(found, [RUN, second], work=work).clean
    assert score_of(found, [RUN], work=work).jobs_lost == 1
    assert score_of(found, [RUN, replace(second, began_ns=15)], work=work).attempts_doubled == 1
    assert score_of(replace(found, lines=lines_of(WORK, 3, 3)), [RUN, second], work=work).lines_lost == 6


@pytest.mark.parametrize("first", ["claimed", "adopted"])
def test_an_attempt_that_was_given_back_is_none_of_the_runs(first: str):
    before = [{"kind": "queued"}, {**CLAIMED, "kind": first}, {"kind": "queued"}]
    again = [*before, {"kind": "claimed", "data": {"attempt": 2}}, JOURNAL[-1]]
    found = told(job={**JOB, "attempt": 2}, journal=again)
    second = replace(RUN, attempt=2)

    assert score_of(found, [second]).clean
    assert score_of(found, [RUN, replace(second, began_ns=30)]).attempts_doubled > 0
    assert score_of(replace(found, journal=JOURNAL), [second]).jobs_lost == 1


@pytest.mark.parametrize(("limit", "over"), [(1, 2), (2, 1), (3, 0)])
def test_of_jobs_with_one_limit_no_more_than_that_may_run_at_a_time(limit: int, over: int):
    works = [replace(WORK, name=f"c0-{number}", limit=limit) for number in range(4)]
    submitted = [Submitted(work=work, job_id=f"job_{number}") for number, work in enumerate(works)]
    found = {
        f"job_{number}": told(
            job={**JOB, "name": work.name, "output": work.output},
            lines=lines_of(work, 3, 3),
        )
        for number, work in enumerate(works)
    }
    times = [(10, 20), (15, 30), (19, 25), (30, 40)]  # the last begins when the second ends
    runs = [replace(RUN, job_id=f"job_{n}", began_ns=began, last_ns=last) for n, (began, last) in enumerate(times)]

    score = check_all(submitted, found, runs)

    assert (score.over_limit, len(score.problems)) == (over, over)


def test_jobs_with_different_limits_and_those_without_one_run_beside_each_other():
    works = [replace(WORK, name=f"c0-{number}", limit=limit) for number, limit in enumerate((1, 2, None, None))]
    submitted = [Submitted(work=work, job_id=f"job_{number}") for number, work in enumerate(works)]
    runs = [replace(RUN, job_id=job.job_id) for job in submitted]

    assert check_all(submitted, {}, runs).over_limit == 0


def test_a_job_that_waits_for_ever_is_lost():
    held = told(job={**JOB, "status": "queued", "exit_code": None}, lines=[], journal=JOURNAL[:1])

    assert score_of(held, [], work=replace(WORK, limit=1)).jobs_lost > 0


def test_what_a_client_has_seen_final_may_not_change():
    assert score_of(told(), [RUN], seen={**JOB, "finished_at": "earlier"}).jobs_lost == 1


def test_a_job_that_was_acknowledged_and_is_not_there_is_lost():
    assert check_all([Submitted(work=WORK, job_id="job_1")], {}, []).jobs_lost == 1


def test_a_job_that_nobody_submitted_and_a_run_without_a_job_are_faults():
    score = check_all([], {"job_2": told()}, [RUN])

    assert (score.attempts_doubled, score.jobs_lost) == (1, 1)


@pytest.mark.parametrize(("stdout", "stderr", "lost"), [(3, 3, 0), (4, 3, 0), (2, 3, 1), (3, 0, 3)])
def test_of_a_job_that_was_ended_all_that_the_witness_knows_of_must_be_there(stdout: int, stderr: int, lost: int):
    score = score_of(told(job=CANCELLED, lines=lines_of(ENDLESS, stdout, stderr)), [RUN], work=ENDLESS)

    assert (score.lines_lost, score.lines_doubled) == (lost, 0)


def test_a_job_that_was_cancelled_before_it_ran_has_no_fault():
    unstarted = {**CANCELLED, "attempt": 0, "exit_code": None}

    assert score_of(told(job=unstarted, lines=[]), [], work=ENDLESS).clean


def test_pieces_of_a_long_line_are_put_together():
    pieces = [{"text": "a", "continued": True}, {"text": "b"}, {"text": "c"}]

    assert whole_lines(pieces) == ["ab", "c"]


def test_the_witness_knows_each_run_and_how_far_it_came(tmp_path: Path):
    file = tmp_path / "witness"
    file.write_text(
        "c0-0 job_1 1 10 begin 77\nc0-1 job_2 1 11 begin 78\nc0-0 job_1 1 15 said 3\nc0-0 job_1 1 20 end\n"
        "c0-0 job_1 2 30 begin 79\n"
    )

    assert read_records(file) == [
        Run(job_id="job_1", attempt=1, began_ns=10, last_ns=20, said=3),
        Run(job_id="job_2", attempt=1, began_ns=11, last_ns=11),
        Run(job_id="job_1", attempt=2, began_ns=30, last_ns=30),
    ]


DAWN = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def fires_of(*seconds: int, missed: tuple[Missed, ...] = ()) -> Score:
    score = Score()
    check_fires(score, [DAWN + second * SECOND for second in seconds], missed, anchor=DAWN, every=SECOND)
    return score


def test_every_time_of_an_interval_has_one_job_or_is_said_to_be_missed():
    three = Missed(first=DAWN + 2 * SECOND, fired_for=DAWN + 5 * SECOND, times=3)

    assert fires_of(1, 2, 3).clean
    assert fires_of(1, 5, 6, missed=(three,)).clean
    assert fires_of(1, 3).fires_lost == 1
    assert fires_of(1, 2, 2).fires_doubled == 1
    assert fires_of(1, 3, 5, missed=(three,)).fires_doubled == 1
    assert fires_of(1, 5, missed=(replace(three, times=2),)).fires_lost == 1


def test_of_each_failed_job_somebody_is_told_as_one_piece_of_news():
    def effects(*calls: tuple[str, str]) -> Score:
        score = Score()
        check_effects(score, ["job_1", "job_2"], [Call(id=name, job_id=job_id) for name, job_id in calls])
        return score

    assert effects(("a", "job_1"), ("b", "job_2"), ("b", "job_2")).clean
    assert effects(("a", "job_1")).effects_lost == 1
    assert effects(("a", "job_1"), ("b", "job_2"), ("c", "job_2")).effects_doubled == 1
    assert effects(("a", "job_1"), ("b", "job_2"), ("c", "job_3")).effects_doubled == 1


def test_every_crash_point_has_its_turn_and_the_number_of_kills_is_kept():
    points = ("submit.before", "claim.before", "finish.committed")
    faults = draw_faults(1, 50, 30, {"server 1": 1}, points)
    drawn = Counter(fault.point.partition(":")[0] for fault in faults if fault.point)

    assert sum(fault.kills for fault in faults) == 50
    assert set(drawn) == set(points)
    assert max(drawn.values()) - min(drawn.values()) <= 1


def test_the_seed_decides_what_is_submitted_and_what_is_killed():
    def drawn(seed: int) -> list[Work]:
        dice = random.Random(seed)
        return [draw(dice, str(n)) for n in range(300)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {work.kind for work in drawn(1)} == set(KINDS)
    targets = {"server 1": 1, "postgres": 1}
    assert draw_faults(1, 20, 30, targets) == draw_faults(1, 20, 30, targets) != draw_faults(2, 20, 30, targets)
