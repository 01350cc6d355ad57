"""Read a retry policy as people write it: a number of attempts, or a mapping with more to say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from orchestrator.errors import InvalidError
from orchestrator.jobs.faults import Reading, kind_of, near, shown
from orchestrator.jobs.quantities import parse_duration
from orchestrator.jobs.retry import RETRYABLE
from orchestrator.model.json import Json
from orchestrator.model.specs import Backoff, RetryPolicy

ATTEMPTS = range(1, 101)
EXIT_CODES = range(1, 256)
ON_LOST = {"retry": True, "never": False}
KEYS = ("attempts", "backoff", "delay", "max_delay", "jitter", "exit_codes", "reasons", "on_lost")
USUAL = RetryPolicy()


def read_retry(value: Json, reading: Reading) -> RetryPolicy | None:
    """`3`, or `{attempts: 3, backoff: fixed, delay: 10s, ...}`. What is wrong is noted."""
    if not isinstance(value, dict):
        attempts = _attempts(value, reading)
        return None if attempts is None else RetryPolicy(attempts=attempts)
    for key in value:
        if key not in KEYS:
            reading.at(shown(key)).wrong(f"Unknown key `{shown(key)}`.{near(key, KEYS)}")
    if "attempts" not in value:
        reading.wrong("Needs `attempts`: how often the script may run in all.")
        return None
    delay = _duration(value, "delay", reading, USUAL.delay)
    return RetryPolicy(
        attempts=_attempts(value["attempts"], reading.at("attempts")) or USUAL.attempts,
        backoff=_backoff(value, reading),
        delay=delay,
        max_delay=_duration(value, "max_delay", reading, max(delay, USUAL.max_delay)),
        jitter=_jitter(value, reading),
        exit_codes=_exit_codes(value, reading),
        reasons=_reasons(value, reading),
        on_lost=_on_lost(value, reading),
    )


def _attempts(value: Json, reading: Reading) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value in ATTEMPTS:
        return value
    reading.wrong(f"Must be a whole number of attempts from {ATTEMPTS[0]} to {ATTEMPTS[-1]}, the first one included.")
    return None


def _backoff(value: Mapping[str, Json], reading: Reading) -> Backoff:
    given = value.get("backoff", USUAL.backoff.value)
    if isinstance(given, str) and given in set(Backoff):
        return Backoff(given)
    reading.at("backoff").wrong("Must be `fixed` or `exponential`.")
    return USUAL.backoff


def _duration(value: Mapping[str, Json], key: str, reading: Reading, usual: timedelta) -> timedelta:
    if key not in value:
        return usual
    try:
        return parse_duration(value[key])
    except InvalidError as error:
        reading.at(key).wrong(error.message)
        return usual


def _jitter(value: Mapping[str, Json], reading: Reading) -> float:
    given = value.get("jitter", USUAL.jitter)
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1:
        return float(given)
    reading.at("jitter").wrong("Must be a number from 0 to 1: the share of the delay that chance may take away.")
    return USUAL.jitter


def _exit_codes(value: Mapping[str, Json], reading: Reading) -> frozenset[int] | None:
    if "exit_codes" not in value:
        return None
    given = value["exit_codes"]
    if not isinstance(given, list) or not given:
        reading.at("exit_codes").wrong(f"Must be a list of exit codes such as `[75]`, not {kind_of(given)}.")
        return None
    codes = {code for code in given if isinstance(code, int) and not isinstance(code, bool) and code in EXIT_CODES}
    if len(codes) < len(given):
        reading.at("exit_codes").wrong(f"Must hold different whole numbers from {EXIT_CODES[0]} to {EXIT_CODES[-1]}.")
    return frozenset(codes)


def _reasons(value: Mapping[str, Json], reading: Reading) -> frozenset[str] | None:
    if "reasons" not in value:
        return None
    given, known = value["reasons"], sorted(RETRYABLE)
    if isinstance(given, list) and given and all(reason in known for reason in given):
        return frozenset(str(reason) for reason in given)
    reading.at("reasons").wrong(f"Must be a list of some of {', '.join(known)}; for `lost` there is `on_lost: retry`.")
    return None


def _on_lost(value: Mapping[str, Json], reading: Reading) -> bool:
    given = value.get("on_lost", "never")
    if isinstance(given, str) and given in ON_LOST:
        return ON_LOST[given]
    reading.at("on_lost").wrong(
        "Must be `retry` or `never`: whether to run the script again when nobody knows what became of it."
    )
    return False
