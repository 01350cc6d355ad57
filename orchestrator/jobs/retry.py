"""Whether a failed attempt is followed by another, and when. Pure."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.contracts.store import Outcome
from orchestrator.model.jobs import JobStatus, Reason
from orchestrator.model.specs import Backoff, RetryPolicy

# What may go better the next time. What was cancelled, refused or unsafe does not.
RETRYABLE = frozenset(
    {
        Reason.EXIT_CODE,
        Reason.TIMEOUT,
        Reason.OUT_OF_MEMORY,
        Reason.IMAGE_UNAVAILABLE,
        Reason.HOST_UNREACHABLE,
        Reason.LIMIT,
    }
)
MAX_DOUBLINGS = 40


def next_delay(policy: RetryPolicy, attempt: int, outcome: Outcome, *, chance: float) -> timedelta | None:
    """
    How long to wait before the attempt after `attempt` (the first is 1); None when the outcome stands.

    `chance` is a random number from 0 to 1, for the jitter.
    """
    if attempt >= policy.attempts or not _may_help(policy, outcome):
        return None
    delay = policy.delay
    if policy.backoff is Backoff.EXPONENTIAL:
        delay = policy.delay * 2 ** min(attempt - 1, MAX_DOUBLINGS)
    return min(delay, policy.max_delay) * (1 - policy.jitter * chance)


def _may_help(policy: RetryPolicy, outcome: Outcome) -> bool:
    if outcome.status not in (JobStatus.FAILED, JobStatus.TIMED_OUT) or outcome.reason is None:
        return False
    if outcome.reason is Reason.LOST:
        return policy.on_lost
    if outcome.reason not in (RETRYABLE if policy.reasons is None else policy.reasons):
        return False
    if outcome.reason is Reason.EXIT_CODE and policy.exit_codes is not None:
        return outcome.exit_code in policy.exit_codes
    return True
