"""Metrics: what is counted, under which names, and how many series there can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.contracts.observer import Observer, SilentObserver
from orchestrator.model.backlog import Backlog, Lane, Waiting
from orchestrator.model.jobs import Job, JobId, JobStatus, Reason, Timings, TriggerKind
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from orchestrator.telemetry.clock import SystemClock
from orchestrator.telemetry.metrics import PrometheusObserver

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EMPTY = Backlog(seen_at=NOW)
TIMINGS = Timings(queued_ms=100, setup_ms=50, execution_ms=2000, cleanup_ms=10)


def make_observer(data_dir: Path | None = None) -> PrometheusObserver:
    return PrometheusObserver(
        version="0.1.0", mode="standalone", store_driver="sqlite", cache_driver="memory", data_dir=data_dir
    )


def make_job(**changes: object) -> Job:
    values: dict[str, object] = {
        "id": JobId("job_1"),
        "status": JobStatus.QUEUED,
        "spec": JobSpec(script=Script(language=Language.BASH, text="true")),
        "executor": ExecutorKind.DOCKER,
        "queue": "main",
        "trigger": TriggerKind.API,
        "priority": 0,
        "created_at": NOW,
    }
    return Job(**{**values, **changes})  # type: ignore[arg-type]  # the defaults of a test


def samples(
    observer: PrometheusObserver, backlog: Backlog | None = EMPTY, *, writable: bool = True
) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(observer.render(backlog, writable).decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_the_build_is_there_from_the_first_scrape():
    name = "cronium_build_info{cache_driver=memory,mode=standalone,store_driver=sqlite,version=0.1.0}"
    assert samples(make_observer())[name] == 1


def test_the_life_of_a_job_is_counted():
    metrics = make_observer()
    observer: Observer = metrics
    observer.job_submitted(make_job())
    observer.job_started(make_job(attempt=1), 0.2)
    timings = Timings(queued_ms=100, setup_ms=50, execution_ms=2000, cleanup_ms=None)
    observer.job_retried(make_job(), Reason.LOST)
    observer.job_adopted(make_job())
    observer.job_finished(make_job(status=JobStatus.FAILED, reason=Reason.EXIT_CODE, timings=timings))
    observer.job_finished(make_job(status=JobStatus.SUCCEEDED))
    found = samples(metrics)
    assert found["cronium_jobs_submitted_total{executor=docker,trigger=api}"] == 1
    assert found["cronium_jobs_finished_total{executor=docker,reason=exit_code,status=failed,trigger=api}"] == 1
    assert found["cronium_jobs_finished_total{executor=docker,reason=,status=succeeded,trigger=api}"] == 1
    assert found["cronium_jobs_retried_total{executor=docker,reason=lost}"] == 1
    assert found["cronium_jobs_adopted_total{executor=docker}"] == 1
    assert found["cronium_job_start_latency_seconds_count{}"] == 1
    assert found["cronium_job_start_latency_seconds_sum{}"] == 0.2
    assert found["cronium_job_duration_seconds_sum{executor=docker,phase=execution}"] == 2.0
    assert "cronium_job_duration_seconds_sum{executor=docker,phase=cleanup}" not in found


def test_the_start_of_a_later_attempt_is_no_start_latency_and_that_of_one_given_back_is():
    metrics = make_observer()
    metrics.job_started(make_job(attempt=2), 3600)
    metrics.job_started(make_job(attempt=2, given_back=1), 0.5)
    assert samples(metrics)["cronium_job_start_latency_seconds_sum{}"] == 0.5


def test_lines_leases_watchers_and_calls_are_counted():
    metrics = make_observer()
    metrics.lines_stored(3, 120)
    metrics.lines_stored(1, 5)
    metrics.log_delayed(0.25)
    metrics.log_delayed(-1)  # two clocks
    metrics.lease_lost()
    metrics.instance_inherited()
    metrics.watcher_opened()
    metrics.watcher_opened()
    metrics.watcher_closed()
    metrics.runtime_called("get_input", 200, 0.5)
    metrics.cache_asked("tokens", hit=True)
    metrics.warm_asked(hit=True)
    metrics.warm_waiting(3)
    metrics.warm_wasted()
    found = samples(metrics)
    assert found["cronium_log_lines_total{}"] == 4
    assert found["cronium_log_bytes_total{}"] == 125
    assert (found["cronium_log_lag_seconds_sum{}"], found["cronium_log_lag_seconds_count{}"]) == (0.25, 2)
    assert found["cronium_lease_lost_total{}"] == 1
    assert found["cronium_takeovers_total{}"] == 1
    assert found["cronium_watchers{}"] == 1
    assert found["cronium_runtime_calls_total{operation=get_input,status=200}"] == 1
    assert found["cronium_runtime_call_duration_seconds_sum{operation=get_input}"] == 0.5
    assert found["cronium_cache_requests_total{cache=tokens,result=hit}"] == 1
    assert found["cronium_warm_starts_total{result=hit}"] == 1
    assert found["cronium_warm_starts_total{result=miss}"] == 0
    assert (found["cronium_warm_containers{}"], found["cronium_warm_wasted_total{}"]) == (3, 1)


def test_fires_and_what_follows_are_counted():
    metrics = make_observer()
    metrics.event_fired(1.5, 3)
    metrics.event_fired(0.5, 0)
    metrics.follow_up_failed("outside", given_up=False)
    metrics.follow_up_failed("outside", given_up=True)
    found = samples(metrics)
    assert (found["cronium_fire_delay_seconds_count{}"], found["cronium_fire_delay_seconds_sum{}"]) == (2, 2.0)
    assert found["cronium_fires_missed_total{}"] == 3
    assert found["cronium_outbox_failures_total{lane=outside}"] == 2
    assert found["cronium_outbox_given_up_total{lane=outside}"] == 1
    assert found["cronium_outbox_given_up_total{lane=inside}"] == 0


def test_requests_are_timed_and_websockets_only_counted():
    metrics = make_observer()
    metrics.request_answered("GET", "/api/v3/jobs/{id}", 200, 0.5)
    metrics.request_answered("GET", "/ws/jobs/{id}/logs", 101, 3600)
    metrics.request_answered("BREW", "unmatched", 404, 0.1)
    found = samples(metrics)
    assert found["cronium_http_requests_total{method=GET,route=/api/v3/jobs/{id},status=200}"] == 1
    assert found["cronium_http_request_duration_seconds_sum{method=GET,route=/api/v3/jobs/{id}}"] == 0.5
    assert found["cronium_http_requests_total{method=GET,route=/ws/jobs/{id}/logs,status=101}"] == 1
    assert "cronium_http_request_duration_seconds_sum{method=GET,route=/ws/jobs/{id}/logs}" not in found
    assert found["cronium_http_requests_total{method=other,route=unmatched,status=404}"] == 1


def test_the_backlog_is_shown_as_the_store_sees_it():
    metrics = make_observer()
    backlog = Backlog(
        seen_at=NOW,
        waiting={ExecutorKind.DOCKER: Waiting(due=3, oldest_due_at=NOW - timedelta(minutes=2), later=2, held=1)},
        running={ExecutorKind.PROCESS: 4},
        lanes={"inside": Lane(), "outside": Lane(pending=2, first_due_at=NOW - timedelta(seconds=9))},
        next_fire_at=NOW + timedelta(hours=1),
    )
    found = samples(metrics, backlog)
    assert found["cronium_jobs{executor=docker,status=queued}"] == 6
    assert found["cronium_jobs{executor=docker,status=running}"] == 0
    assert found["cronium_jobs{executor=process,status=running}"] == 4
    assert found["cronium_queue_depth{executor=docker}"] == 3
    assert found["cronium_queue_oldest_seconds{executor=docker}"] == 120
    assert found["cronium_queue_oldest_seconds{executor=process}"] == 0
    assert found["cronium_jobs_held{executor=docker}"] == 1
    assert (found["cronium_outbox_pending{lane=outside}"], found["cronium_outbox_lag_seconds{lane=outside}"]) == (2, 9)
    assert found["cronium_outbox_lag_seconds{lane=inside}"] == 0
    assert found["cronium_schedule_lag_seconds{}"] == 0
    assert (found["cronium_store_up{}"], found["cronium_store_writable{}"]) == (1, 1)


def test_a_schedule_that_is_due_and_does_not_fire_is_late():
    backlog = Backlog(seen_at=NOW, next_fire_at=NOW - timedelta(seconds=30))
    assert samples(make_observer(), backlog)["cronium_schedule_lag_seconds{}"] == 30


def test_while_the_store_is_away_the_backlog_is_not_shown_and_everything_else_is():
    metrics = make_observer()
    metrics.job_submitted(make_job())
    away = samples(metrics, None, writable=False)
    assert not [name for name in away if name.startswith(("cronium_jobs{", "cronium_queue", "cronium_outbox_lag"))]
    assert (away["cronium_store_up{}"], away["cronium_store_writable{}"]) == (0, 0)
    assert away["cronium_jobs_submitted_total{executor=docker,trigger=api}"] == 1
    assert samples(metrics)["cronium_jobs{executor=docker,status=queued}"] == 0


def test_the_room_on_the_disk_is_shown_where_there_is_a_disk(tmp_path: Path):
    found = samples(make_observer(tmp_path))
    assert 0 <= found["cronium_data_dir_free_bytes{}"] < found["cronium_data_dir_size_bytes{}"]
    assert "cronium_data_dir_free_bytes{}" not in samples(make_observer(tmp_path / "gone"))


ALERTED = [
    "cronium_lease_lost_total{}",
    "cronium_takeovers_total{}",
    "cronium_fires_missed_total{}",
    "cronium_outbox_given_up_total{lane=outside}",
    "cronium_cache_degraded{}",
    "cronium_requests_limited_total{budget=failed_logins}",
    "cronium_store_errors_total{code=store_unavailable,operation=begin}",
]


@pytest.mark.parametrize("name", ALERTED)
def test_what_alerts_look_at_is_there_before_it_happens(name: str):
    assert samples(make_observer())[name] == 0


def test_whatever_happens_there_is_a_bounded_number_of_series():
    """All that can be told, with every word there is, by a thousand different jobs and callers."""
    metrics = make_observer()
    words = list(product(JobStatus, [None, *Reason], ExecutorKind, TriggerKind))
    for status, reason, executor, trigger in words:
        job = make_job(status=status, reason=reason, executor=executor, trigger=trigger, timings=TIMINGS)
        metrics.job_submitted(job)
        metrics.job_finished(job)
        metrics.job_retried(job, reason)
        metrics.job_adopted(job)
    once = len(samples(metrics))
    for number in range(1000):
        job = make_job(id=JobId(f"job_{number}"), queue=f"q{number}", message=f"m{number}", step=f"s{number}")
        metrics.job_submitted(job)
        metrics.job_started(job, number)
        metrics.lines_stored(number, number)
        metrics.event_fired(number, number)
        metrics.request_answered(f"METHOD{number}", "unmatched", 404, 0.1)
    assert len(samples(metrics)) - once < 30
    assert once < len(words) + 1500


def test_an_observer_can_be_told_all_that_a_silent_one_can():
    told = {name for name in vars(SilentObserver) if not name.startswith("_")}
    assert told == {name for name in vars(Observer) if not name.startswith("_")}
    assert told <= set(vars(PrometheusObserver))


def test_two_observers_do_not_share_counts():
    first, second = make_observer(), make_observer()
    first.lease_lost()
    assert samples(second)["cronium_lease_lost_total{}"] == 0


def test_the_clock_is_aware_and_in_utc():
    assert SystemClock().now().tzinfo == UTC
    assert SystemClock().monotonic() <= SystemClock().monotonic()
