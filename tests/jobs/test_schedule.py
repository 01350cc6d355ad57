"""When schedules fire: intervals from their anchor, cron expressions in UTC, and what is made up for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidError
from orchestrator.jobs.schedule import MOST_COUNTED, fire_times, latest_due, next_fire, parse_cron
from orchestrator.model.events import Schedule

NOON = datetime(2026, 3, 1, 12, 0, 30, 500_000, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(schedule: Schedule, count: int, *, after: datetime = NOON, anchor: datetime = NOON) -> list[datetime]:
    return list(islice(fire_times(schedule, anchor=anchor, after=after), count))


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("* * * * *", ["2026-03-01 12:01", "2026-03-01 12:02"]),
        ("30 2 * * *", ["2026-03-02 02:30", "2026-03-03 02:30"]),
        ("*/15 9-10 * * MON-FRI", ["2026-03-02 09:00", "2026-03-02 09:15"]),
        ("0 0 13 * 5", ["2026-03-06 00:00", "2026-03-13 00:00"]),  # crontab(5): the day of month or the day of week
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 12 1 * *", ["2026-04-01 12:00", "2026-05-01 12:00"]),
    ],
)
def test_a_cron_expression_fires_as_crontab_says_in_utc(cron: str, expected: list[str]):
    assert times(Schedule(cron=parse_cron(cron)), 2) == [at(text) for text in expected]


def test_summer_time_changes_nothing_in_utc():
    night = times(Schedule(cron="30 1 * * *"), 3, after=at("2026-03-28 12:00"))
    assert [moment.strftime("%d %H:%M") for moment in night] == ["29 01:30", "30 01:30", "31 01:30"]


@pytest.mark.parametrize(
    ("text", "cron"), [("@daily", "0 0 * * *"), (" @Hourly ", "0 * * * *"), ("5  4 * * *", "5 4 * * *")]
)
def test_shortcuts_are_expanded_and_blanks_made_one(text: str, cron: str):
    assert parse_cron(text) == cron


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields .*not 6"),
        ("61 * * * *", "bad minute"),
        ("0 0 31 2 *", "`0 0 31 2 \\*` is not a cron expression"),
        ("@often", "Shortcuts are @hourly"),
        ("a b c d e", "bad minute"),
    ],
)
def test_what_is_no_cron_expression_is_refused_with_the_reason(text: str, says: str):
    with pytest.raises(InvalidError, match=says):
        parse_cron(text)


def test_an_interval_counts_from_its_anchor_and_not_from_the_fire_before():
    schedule = Schedule(every=timedelta(minutes=7))
    assert times(schedule, 3) == [NOON + 7 * MINUTE, NOON + 14 * MINUTE, NOON + 21 * MINUTE]
    assert next_fire(schedule, anchor=NOON, after=NOON + 7 * MINUTE) == NOON + 14 * MINUTE
    assert next_fire(schedule, anchor=NOON, after=NOON + 8 * MINUTE) == NOON + 14 * MINUTE
    assert next_fire(schedule, anchor=NOON, after=NOON - timedelta(days=1)) == NOON + 7 * MINUTE


@pytest.mark.parametrize("schedule", [Schedule(cron="* * * * *"), Schedule(every=MINUTE)])
def test_of_several_that_have_passed_the_latest_is_due_and_the_others_are_counted(schedule: Schedule):
    due, second, third, fourth = times(schedule, 4)
    assert latest_due(schedule, anchor=NOON, due=due, now=due) == (due, 0)
    assert latest_due(schedule, anchor=NOON, due=due, now=second - timedelta(microseconds=1)) == (due, 0)
    assert latest_due(schedule, anchor=NOON, due=due, now=second) == (second, 1)
    assert latest_due(schedule, anchor=NOON, due=due, now=third + timedelta(seconds=59)) == (third, 2)
    assert latest_due(schedule, anchor=NOON, due=due, now=fourth) == (fourth, 3)


@pytest.mark.parametrize("schedule", [Schedule(cron="* * * * *"), Schedule(every=MINUTE)])
def test_a_year_that_has_passed_is_not_counted_to_its_end(schedule: Schedule):
    (due,) = times(schedule, 1)
    latest, missed = latest_due(schedule, anchor=NOON, due=due, now=due + timedelta(days=365))
    assert (latest, missed) == (due + timedelta(days=365), MOST_COUNTED)


@given(
    schedule=st.one_of(
        st.builds(Schedule, every=st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=40))),
        st.builds(Schedule, cron=st.sampled_from(["* * * * *", "*/7 3,9 * * *", "0 0 1 * *", "15 10 * * 1-5"])),
    ),
    late=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3)),
)
def test_what_is_due_is_a_fire_time_not_in_the_future_and_nothing_lies_between(schedule: Schedule, late: timedelta):
    due = next_fire(schedule, anchor=NOON, after=NOON)
    assert due is not None
    now = due + late
    latest, missed = latest_due(schedule, anchor=NOON, due=due, now=now)
    after = next_fire(schedule, anchor=NOON, after=latest)
    assert due <= latest <= now
    assert after is not None
    assert after > now
    assert next_fire(schedule, anchor=NOON, after=latest - timedelta(microseconds=1)) == latest
    assert (missed == 0) == (latest == due)
