"""Read a concurrency limit as people write it: a number of jobs, or a mapping with more to say."""

from __future__ import annotations

from orchestrator.jobs.faults import Reading, near, shown
from orchestrator.model.json import Json
from orchestrator.model.specs import Concurrency, WhenFull

LIMITS = range(1, 10_001)
KEYS = ("limit", "key", "when_full")
MAX_KEY = 200


def read_concurrency(value: Json, reading: Reading) -> Concurrency | None:
    """`2`, or `{limit: 1, key: deploy, when_full: skip}`. A job of no event needs the key. What is wrong is noted."""
    fields = value if isinstance(value, dict) else {"limit": value}
    for key in fields:
        if key not in KEYS:
            reading.at(shown(key)).wrong(f"Unknown key `{shown(key)}`.{near(key, KEYS)}")
    given = Concurrency(
        limit=_limit(fields.get("limit", 1), reading.at("limit") if fields is value else reading),
        key=_key(fields["key"], reading.at("key")) if "key" in fields else None,
        when_full=_when_full(fields.get("when_full", WhenFull.QUEUE.value), reading.at("when_full")),
    )
    if "key" not in fields and not reading.of_event:
        reading.wrong("Needs a `key`, shared by the jobs that are counted together; only an event has one of its own.")
    return given


def _limit(value: Json, reading: Reading) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value in LIMITS:
        return value
    reading.wrong(f"Must be a whole number of jobs from {LIMITS[0]} to {LIMITS[-1]}, or `{{limit: ..., key: ...}}`.")
    return 1


def _key(value: Json, reading: Reading) -> str | None:
    if isinstance(value, str) and len(value.strip()) > 0 and len(value) <= MAX_KEY and value.isprintable():
        return value
    reading.wrong(f"Must be one line of at most {MAX_KEY} characters that can be printed.")
    return None


def _when_full(value: Json, reading: Reading) -> WhenFull:
    if isinstance(value, str) and value in tuple(WhenFull):
        return WhenFull(value)
    reading.wrong("Must be `queue`, `skip` or `replace`: what becomes of a job when there is no place.")
    return WhenFull.QUEUE
