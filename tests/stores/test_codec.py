"""What is stored comes back equal, or is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidError
from orchestrator.model.events import Event, EventStatus, Schedule
from orchestrator.model.jobs import EventId
from orchestrator.model.logs import Cursor, Line, Position, Stream
from orchestrator.model.specs import (
    Backoff,
    Concurrency,
    ExecutorKind,
    GivenArtifact,
    JobSpec,
    Language,
    Limits,
    PullPolicy,
    RetryPolicy,
    Script,
    Volume,
    WantedSecret,
    WhenFull,
    Workspace,
)
from orchestrator.stores.codec import (
    EPOCH,
    MAX_DEPTH,
    cursor_document,
    from_json,
    micros,
    moment,
    pack_text,
    page_cursor,
    parse_cursor,
    parse_page_cursor,
    to_json,
    unpack_text,
)
from orchestrator.stores.documents import (
    EventSaying,
    event_document,
    job_document,
    parse_event_document,
    parse_job_document,
)
from orchestrator.stores.sql.log_chunks import MAX_CHUNK_BYTES, MAX_CHUNK_LINES, pack, text_bytes, unpack

TEXT = st.text()
BIG = st.integers(-(2**63), 2**64 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | BIG | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
SPANS = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=10_000))
SCRIPT = {
    "language": st.sampled_from(Language),
    "text": st.none() | TEXT,
    "file": st.none() | TEXT,
    "module": st.booleans(),
}
RETRY = {
    "attempts": BIG,
    "backoff": st.sampled_from(Backoff),
    "delay": SPANS,
    "max_delay": SPANS,
    "jitter": st.floats(0, 1),
    "exit_codes": st.none() | st.frozensets(st.integers(0, 255), max_size=4),
    "reasons": st.none() | st.frozensets(TEXT, max_size=4),
    "on_lost": st.booleans(),
}
CONCURRENCY = {"limit": BIG, "key": st.none() | TEXT, "when_full": st.sampled_from(WhenFull)}
LIMITS = {"memory_bytes": BIG, "pids": BIG, "cpus": st.floats(allow_nan=False, allow_infinity=False)}
SPEC = {
    "script": st.builds(Script, **SCRIPT),
    "name": st.none() | TEXT,
    "executor": st.none() | st.sampled_from(ExecutorKind),
    "image": st.none() | TEXT,
    "pull": st.sampled_from(PullPolicy),
    "network": TEXT,
    "args": st.lists(TEXT, max_size=4).map(tuple),
    "workdir": st.none() | TEXT,
    "input": JSON,
    "env": st.dictionaries(TEXT, TEXT, max_size=4),
    "timeout": SPANS,
    "setup_timeout": st.none() | SPANS,
    "queue_timeout": st.none() | SPANS,
    "retry": st.builds(RetryPolicy, **RETRY),
    "priority": BIG,
    "concurrency": st.none() | st.builds(Concurrency, **CONCURRENCY),
    "limits": st.builds(Limits, **LIMITS),
    "packages": st.lists(TEXT, max_size=4).map(tuple),
    "volumes": st.lists(st.builds(Volume, source=TEXT, target=TEXT), max_size=4).map(tuple),
    "workspace": st.sampled_from(Workspace),
    "warm": st.booleans(),
    "secrets": st.lists(st.builds(WantedSecret, name=TEXT, variable=TEXT), max_size=4).map(tuple),
    "artifacts": st.lists(
        st.builds(GivenArtifact, name=TEXT, step=TEXT, job_id=TEXT, artifact=st.none() | TEXT), max_size=4
    ).map(tuple),
}
SPECS = st.builds(JobSpec, **SPEC)
SCHEDULE = {"cron": TEXT, "every": SPANS}  # one of the two
SAYING = {
    "spec": SPECS,
    "description": st.none() | TEXT,
    "schedule": st.none() | st.one_of(st.builds(Schedule, **{name: value}) for name, value in SCHEDULE.items()),
    "max_executions": st.none() | BIG,
    "failure_webhook": st.none() | TEXT,
}
EVENT = Event(
    id=EventId("evt_1"),
    name="nightly",
    status=EventStatus.ACTIVE,
    spec=JobSpec(script=Script(language=Language.BASH, text="")),
    queue="main",
    created_at=EPOCH,
    updated_at=EPOCH,
    anchor=EPOCH,
)
POSITIONS = st.builds(Position, bytes=BIG, newlines=BIG, tail=BIG)
LINES = st.lists(
    st.tuples(st.datetimes(timezones=st.just(UTC)), st.sampled_from(Stream), TEXT, st.integers(1, 2), st.booleans()),
    min_size=1,
    max_size=30,
).map(
    lambda rows: [
        Line(seq=seq, at=at, stream=stream, text=text, attempt=attempt, continued=continued)
        for seq, (at, stream, text, attempt, continued) in enumerate(rows, start=5)
    ]
)


def shape(value):
    """A value with its types and the order of its keys, which `==` does not look at."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value), repr(value)


@given(JSON)
def test_json_comes_back_with_types_and_order(value):
    assert shape(from_json(to_json(value))) == shape(value)


@given(SPECS, JSON)
def test_a_job_comes_back_whole(spec, input_):
    document = job_document(spec, input_)
    assert "\0" not in document
    back, input_back = parse_job_document(document)
    assert back == spec
    assert list(back.env) == list(spec.env)
    assert shape([back.input, input_back]) == shape([spec.input, input_])


@given(st.fixed_dictionaries(SAYING))
def test_what_an_event_says_comes_back_whole(saying):
    document = event_document(replace(EVENT, **saying))
    assert "\0" not in document
    back = parse_event_document(document)
    assert back == EventSaying(**saying)
    assert list(back.spec.env) == list(saying["spec"].env)
    assert shape(back.spec.input) == shape(saying["spec"].input)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (JobSpec, SPEC),
        (Script, SCRIPT),
        (RetryPolicy, RETRY),
        (Concurrency, CONCURRENCY),
        (Limits, LIMITS),
        (Schedule, SCHEDULE),
        (EventSaying, SAYING),
    ],
)
def test_every_field_is_among_the_values_that_come_back(kind, values):
    """M19: a field that is new in the model fails here until it is stored."""
    assert {field.name for field in fields(kind)} == set(values)


def test_what_an_event_says_and_what_it_lives_through_are_all_there_is_of_it():
    """M19: what is not in the document has a column."""
    columns = {"id", "name", "status", "queue", "created_at", "updated_at", "anchor", "executions", "next_fire_at"}
    assert {field.name for field in fields(Event)} == columns | set(SAYING)


def test_a_document_from_before_there_was_concurrency_is_read():
    """M17"""
    fields_then = json.loads(job_document(EVENT.spec, None))
    del fields_then["spec"]["concurrency"]
    assert parse_job_document(json.dumps(fields_then)) == (EVENT.spec, None)


@given(st.text(alphabet=st.sampled_from("\0\\0ab"), max_size=12) | TEXT)
def test_packed_text_has_no_nul_and_comes_back(text):
    assert "\0" not in pack_text(text)
    assert unpack_text(pack_text(text)) == text


def test_packed_text_keeps_what_differs_apart():
    texts = [a + b + c for a in "\0\\0" for b in "\0\\0" for c in "\0\\0"]
    assert len({pack_text(text) for text in texts}) == len(texts)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))])))
def test_times_come_back_to_the_microsecond(at):
    assert moment(micros(at)) == at


def test_the_first_and_last_times_come_back():
    for at in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert moment(micros(at)) == at


@given(st.builds(Cursor, stdout=POSITIONS, stderr=POSITIONS))
def test_cursors_come_back(cursor):
    assert parse_cursor(cursor_document(cursor)) == cursor


@given(st.integers(0, 10**18 - 1))
def test_page_cursors_come_back(number):
    assert parse_page_cursor(page_cursor(number)) == number


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("-inf"), [None, {"a": float("inf")}], 2**64, -(2**63) - 1, "\ud800", {"\udc00": 0}, b"", {1}],
)
def test_what_would_not_come_back_is_refused(value):
    with pytest.raises(InvalidError):
        to_json(value)


def test_deep_values_come_back_up_to_the_limit():
    value = None
    for _ in range(MAX_DEPTH):
        value = [value]
    spec = JobSpec(script=Script(language=Language.BASH, text=""), input=value)
    assert parse_job_document(job_document(spec, value)) == (spec, value)
    for _ in range(10):
        value = [value]
    with pytest.raises(InvalidError, match=str(MAX_DEPTH)):
        to_json(value)


@given(LINES, st.integers(0, 40), st.integers(0, 40))
def test_lines_come_back_from_chunks(lines, after, limit):
    chunks = pack(lines)
    assert (chunks[0].first_seq, chunks[0].attempt) == (5, lines[0].attempt)
    back = []
    for chunk in chunks:
        back += unpack(
            chunk.data,
            first_seq=chunk.first_seq,
            attempt=chunk.attempt,
            after=after,
            limit=limit - len(back),
        )
    assert back == [line for line in lines if line.seq > after][:limit]


@pytest.mark.parametrize(("count", "size"), [(MAX_CHUNK_LINES * 2 + 1, 1), (100, MAX_CHUNK_BYTES // 7), (3, 2**20)])
def test_chunks_are_bounded(count, size):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    lines = [Line(seq=seq, at=at, stream=Stream.STDOUT, text="x" * size, attempt=1) for seq in range(1, count + 1)]
    chunks = pack(lines)
    assert [chunk.first_seq for chunk in chunks[1:]] == [chunk.last_seq + 1 for chunk in chunks[:-1]]
    assert (chunks[0].first_seq, chunks[-1].last_seq) == (1, count)
    for chunk in chunks:
        number = chunk.last_seq - chunk.first_seq + 1
        assert number <= MAX_CHUNK_LINES
        assert number == 1 or number * text_bytes(lines[0].text) <= MAX_CHUNK_BYTES
