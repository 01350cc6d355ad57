"""The journal: each change of state of a job, event or run, with who and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.model.json import Json


class EntryKind(StrEnum):
    """What happened. Job entries first, then entries of events and of runs."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    ADOPTED = "adopted"
    STARTED = "started"
    RETRYING = "retrying"
    REQUEUED = "requeued"
    CANCEL_REQUESTED = "cancel_requested"
    FINISHED = "finished"
    HELD = "held"
    ADMITTED = "admitted"
    REPLACED = "replaced"
    SECRETS_PRINTED = "secrets_printed"

    SECRET_SET = "secret_set"  # noqa: S105 - what happened
    SECRET_DELETED = "secret_deleted"  # noqa: S105
    SECRET_KEY_ROTATED = "secret_key_rotated"  # noqa: S105

    EVENT_CREATED = "event_created"
    EVENT_ACTIVATED = "event_activated"
    EVENT_PAUSED = "event_paused"
    EVENT_ARCHIVED = "event_archived"
    EVENT_EXHAUSTED = "event_exhausted"
    FIRES_MISSED = "fires_missed"

    RUN_STARTED = "run_started"
    STEP_STARTED = "step_started"
    STEP_COMPLETED = "step_completed"
    STEP_FAILED = "step_failed"
    STEP_SKIPPED = "step_skipped"
    WORKFLOW_SUCCEEDED = "workflow_succeeded"
    WORKFLOW_FAILED = "workflow_failed"
    WORKFLOW_CANCELLED = "workflow_cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry; `seq` counts from 1 per subject (a job, event or run id) without gaps. `by` is a person, token or `engine`."""

    subject: str
    seq: int
    at: datetime
    kind: EntryKind
    by: str
    data: Mapping[str, Json] = field(default_factory=dict)
