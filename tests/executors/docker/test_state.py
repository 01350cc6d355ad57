"""How the end of a container reads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.executors.docker.state import State, exit_of
from orchestrator.model.jobs import Reason


def ended(**changes: Any) -> State:
    document = {
        "Status": "exited",
        "Running": False,
        "ExitCode": 0,
        "OOMKilled": False,
        "StartedAt": "2026-11-21T07:09:46.690918997Z",
        "FinishedAt": "2026-11-21T07:09:46.694940576Z",
    }
    return State.model_validate({**document, **changes})


def test_a_script_that_ended_before_the_engine_noted_its_start_has_times_in_order():
    exit_ = exit_of(ended(StartedAt="2026-11-21T07:09:46.7Z"), by_engine=False, sent=None, signalled=False)
    assert exit_.started_at == exit_.finished_at == datetime(2026, 11, 21, 7, 9, 46, 694940, tzinfo=UTC)


def test_gos_zero_time_is_no_time():
    state = ended(Status="created", StartedAt="0001-01-01T00:00:00Z", FinishedAt="0001-01-01T00:00:00Z")
    assert not state.was_started
    exit_ = exit_of(state, by_engine=False, sent=None, signalled=False)
    assert (exit_.started_at, exit_.finished_at) == (None, None)


@pytest.mark.parametrize(
    ("state", "by_engine", "signalled", "code", "reason"),
    [
        ({"ExitCode": 137}, False, False, 137, None),
        ({"ExitCode": 137}, True, False, None, Reason.LOST),
        ({"ExitCode": 143}, True, True, 143, None),
        ({"ExitCode": 3}, True, False, 3, None),
        ({"ExitCode": 137, "Status": "removing"}, False, False, None, Reason.LOST),
        ({"ExitCode": 0, "Status": "removing"}, False, False, 0, None),
        ({"ExitCode": 137, "OOMKilled": True}, True, False, 137, Reason.OUT_OF_MEMORY),
        ({"ExitCode": 0, "OOMKilled": True}, False, False, 0, None),
    ],
)
def test_only_an_end_that_is_not_the_scripts_own_is_lost(
    state: dict[str, Any], by_engine: bool, signalled: bool, code: int | None, reason: Reason | None
):
    exit_ = exit_of(ended(**state), by_engine=by_engine, sent=None, signalled=signalled)
    assert (exit_.code, exit_.reason) == (code, reason)


def test_a_signal_sent_by_hand_keeps_the_exit_status_and_is_said():
    exit_ = exit_of(ended(ExitCode=137), by_engine=False, sent="SIGKILL", signalled=False)
    assert (exit_.code, exit_.reason) == (137, None)
    assert "SIGKILL" in (exit_.by_others or "")
