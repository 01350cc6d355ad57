"""What a real server has done is what it has counted."""

from __future__ import annotations

from tests.e2e.serving import Serving

RUNTIME = ("get_input", "set_output", "set_variable")


def test_jobs_are_counted_by_how_they_came_and_how_they_ended(busy: Serving):
    found = busy.metrics()
    assert found['cronium_jobs_submitted_total{executor="process",trigger="api"}'] == 2
    assert found['cronium_jobs_submitted_total{executor="process",trigger="schedule"}'] == 1
    finished = 'cronium_jobs_finished_total{executor="process",reason="%s",status="%s",trigger="%s"}'
    assert found[finished % ("", "succeeded", "api")] == 1
    assert found[finished % ("exit_code", "failed", "api")] == 1
    assert found[finished % ("", "succeeded", "schedule")] == 1
    assert found['cronium_jobs_retried_total{executor="process",reason="exit_code"}'] == 1
    assert found["cronium_job_start_latency_seconds_count"] == 3  # of four attempts
    assert found['cronium_job_duration_seconds_count{executor="process",phase="execution"}'] == 3


def test_fires_logs_watchers_and_calls_are_counted(busy: Serving):
    found = busy.metrics()
    assert found["cronium_fire_delay_seconds_count"] == 1
    assert found["cronium_log_lines_total"] == 3
    assert found["cronium_log_lag_seconds_count"] >= 3
    assert found["cronium_watchers"] == 0
    for operation in RUNTIME:
        assert found[f'cronium_runtime_calls_total{{operation="{operation}",status="200"}}'] == 1
        assert found[f'cronium_runtime_call_duration_seconds_sum{{operation="{operation}"}}'] > 0


def test_requests_and_work_with_the_store_are_counted(busy: Serving):
    found = busy.metrics()
    assert found['cronium_http_requests_total{method="POST",route="/api/v3/jobs",status="202"}'] == 2
    assert found['cronium_http_requests_total{method="GET",route="unmatched",status="404"}'] == 1
    assert found['cronium_http_request_duration_seconds_count{method="POST",route="/api/v3/jobs"}'] == 2
    assert found['cronium_cache_requests_total{cache="tokens",result="hit"}'] > 0
    for operation in ("begin", "read", "check"):
        assert found[f'cronium_store_operation_duration_seconds_count{{operation="{operation}"}}'] > 0
    assert found['cronium_store_errors_total{code="store_unavailable",operation="begin"}'] == 0


def test_no_label_is_an_id_or_a_name(busy: Serving):
    """One series more for each job would be the end of any Prometheus."""
    before = len(busy.metrics())
    for number in range(5):
        busy.wait(busy.submit(bash="true", executor="process", name=f"job-{number}"))
        busy.call("GET", f"/not/there/{number}")
    assert len(busy.metrics()) == before
    assert not [name for name in busy.metrics() if "job_0" in name or "job-" in name]
