"""Metrics: what is counted, under which names."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.contracts.observer import Observer
from orchestrator.model.jobs import Job, JobId, JobStatus, Reason, Timings, TriggerKind
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from orchestrator.telemetry.clock import SystemClock
from orchestrator.telemetry.metrics import PrometheusObserver


def make_observer() -> PrometheusObserver:
    return PrometheusObserver(version="0.1.0", mode="standalone", store_driver="sqlite", cache_driver="memory")


def make_job(**changes: object) -> Job:
    values: dict[str, object] = {
        "id": JobId("job_1"),
        "status": JobStatus.QUEUED,
        "spec": JobSpec(script=Script(language=Language.BASH, text="true")),
        "executor": ExecutorKind.DOCKER,
        "queue": "main",
        "trigger": TriggerKind.API,
        "priority": 0,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Job(**{**values, **changes})  # type: ignore[arg-type]  # the defaults of a test


def samples(observer: PrometheusObserver, jobs: dict[JobStatus, int] | None = None) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(observer.render(jobs).decode()):
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
    observer.job_started(make_job(), 0.2)
    timings = Timings(queued_ms=100, setup_ms=50, execution_ms=2000, cleanup_ms=None)
    observer.job_finished(make_job(status=JobStatus.FAILED, reason=Reason.EXIT_CODE, timings=timings))
    observer.job_finished(make_job(status=JobStatus.SUCCEEDED))
    found = samples(metrics)
    assert found["cronium_jobs_submitted_total{executor=docker}"] == 1
    assert found["cronium_jobs_finished_total{executor=docker,reason=exit_code,status=failed}"] == 1
    assert found["cronium_jobs_finished_total{executor=docker,reason=,status=succeeded}"] == 1
    assert found["cronium_job_start_latency_seconds_count{}"] == 1
    assert found["cronium_job_start_latency_seconds_sum{}"] == 0.2
    assert found["cronium_job_duration_seconds_sum{executor=docker,phase=execution}"] == 2.0
    assert "cronium_job_duration_seconds_sum{executor=docker,phase=cleanup}" not in found


def test_lines_leases_watchers_and_calls_are_counted():
    metrics = make_observer()
    metrics.lines_stored(3, 120)
    metrics.lines_stored(1, 5)
    metrics.lease_lost()
    metrics.watcher_opened()
    metrics.watcher_opened()
    metrics.watcher_closed()
    metrics.runtime_called("get_input", 200)
    found = samples(metrics)
    assert found["cronium_log_lines_total{}"] == 4
    assert found["cronium_log_bytes_total{}"] == 125
    assert found["cronium_lease_lost_total{}"] == 1
    assert found["cronium_watchers{}"] == 1
    assert found["cronium_runtime_calls_total{operation=get_input,status=200}"] == 1


def test_jobs_are_shown_as_the_store_counts_them_and_not_at_all_while_it_is_away():
    metrics = make_observer()
    found = samples(metrics, {JobStatus.RUNNING: 2})
    assert (found["cronium_jobs{status=running}"], found["cronium_jobs{status=failed}"]) == (2, 0)
    assert found["cronium_store_up{}"] == 1
    away = samples(metrics, None)
    assert not any(name.startswith("cronium_jobs{") for name in away)
    assert away["cronium_store_up{}"] == 0


def test_two_observers_do_not_share_counts():
    first, second = make_observer(), make_observer()
    first.lease_lost()
    assert samples(second)["cronium_lease_lost_total{}"] == 0


def test_the_clock_is_aware_and_in_utc():
    assert SystemClock().now().tzinfo == UTC
    assert SystemClock().monotonic() <= SystemClock().monotonic()
