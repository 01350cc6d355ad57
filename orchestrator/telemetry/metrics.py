"""Metrics for Prometheus: an observer that counts what it is told, and the text of a scrape."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from orchestrator.model.backlog import Backlog
from orchestrator.model.jobs import Job, Reason
from orchestrator.model.specs import ExecutorKind
from orchestrator.telemetry.scrape import Standing

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
DURATION_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
LANES = ("inside", "outside")
OPERATIONS = ("begin", "read", "check")
BUDGETS = ("requests", "failed_logins")
UPGRADED = 101

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which says only when the process started


class PrometheusObserver:
    """
    Counts in a registry of its own, so that several engines can live in one process.

    Labels are words from closed sets (statuses, reasons, executors, operations, route templates); ids, names and what
    callers send never become labels. What alerts look at is there, as 0, before it has ever happened: a counter that
    appears as 1 has not increased.
    """

    def __init__(
        self, *, version: str, mode: str, store_driver: str, cache_driver: str, data_dir: Path | None = None
    ) -> None:
        self._data_dir = data_dir
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        build = {"version": version, "mode": mode, "store_driver": store_driver, "cache_driver": cache_driver}
        self._gauge("cronium_build_info", "What runs here; always 1.", *build).labels(**build).set(1)
        self._add_jobs()
        self._add_logs()
        self._add_following()
        self._add_calls()
        self._add_backends()
        self._add_warm()

    def _add_jobs(self) -> None:
        self._submitted = self._counter("cronium_jobs_submitted", "Jobs submitted.", "executor", "trigger")
        self._finished = self._counter(
            "cronium_jobs_finished", "Jobs that became final.", "status", "reason", "executor", "trigger"
        )
        self._retried = self._counter(
            "cronium_jobs_retried", "Failed attempts that another follows.", "executor", "reason"
        )
        self._adopted = self._counter(
            "cronium_jobs_adopted", "Jobs that were found running, or ended, without a supervisor.", "executor"
        )
        for executor in ExecutorKind:
            self._adopted.labels(executor=executor.value)
        self._inherited = self._counter("cronium_takeovers", "Dead servers whose jobs were taken over here.")
        self._leases = self._counter("cronium_lease_lost", "Writes refused because another supervisor owns the job.")
        self._latency = self._histogram(
            "cronium_job_start_latency_seconds",
            "From the creation of a job to the start of the script of its first attempt.",
            LATENCY_BUCKETS,
        )
        self._duration = self._histogram(
            "cronium_job_duration_seconds",
            "How long each phase of a finished job took.",
            DURATION_BUCKETS,
            "executor",
            "phase",
        )

    def _add_logs(self) -> None:
        self._lines = self._counter("cronium_log_lines", "Lines of output stored.")
        self._bytes = self._counter("cronium_log_bytes", "Bytes of output stored.")
        self._artifacts = self._counter("cronium_artifacts", "Artifacts recorded.")
        self._artifact_bytes = self._counter("cronium_artifact_bytes", "Bytes of artifacts recorded.")
        self._lag = self._histogram(
            "cronium_log_lag_seconds",
            "From the writing of a line to its storing, by the first of each batch.",
            CALL_BUCKETS,
        )
        self._watchers = self._gauge("cronium_watchers", "Connections that follow a log now.")

    def _add_following(self) -> None:
        self._fired = self._histogram(
            "cronium_fire_delay_seconds", "How long after its time a schedule fired.", LATENCY_BUCKETS
        )
        self._missed = self._counter(
            "cronium_fires_missed", "Times of schedules that passed while nobody looked and are not made up for."
        )
        self._failed = self._counter("cronium_outbox_failures", "Failed deliveries, tried again or not.", "lane")
        self._given_up = self._counter("cronium_outbox_given_up", "Outbox items that will not be delivered.", "lane")
        for lane in LANES:
            self._failed.labels(lane=lane)
            self._given_up.labels(lane=lane)

    def _add_calls(self) -> None:
        self._calls = self._counter(
            "cronium_runtime_calls", "Calls of scripts to the runtime API.", "operation", "status"
        )
        self._call_duration = self._histogram(
            "cronium_runtime_call_duration_seconds",
            "How long the runtime API took to answer.",
            CALL_BUCKETS,
            "operation",
        )
        self._requests = self._counter(
            "cronium_http_requests", "Requests to the API that were answered.", "method", "route", "status"
        )
        self._request_duration = self._histogram(
            "cronium_http_request_duration_seconds",
            "How long the API took to answer; WebSockets are not in it.",
            CALL_BUCKETS,
            "method",
            "route",
        )
        self._limited = self._counter("cronium_requests_limited", "Requests refused, by budget.", "budget")
        for budget in BUDGETS:
            self._limited.labels(budget=budget)

    def _add_backends(self) -> None:
        store_duration = self._histogram(
            "cronium_store_operation_duration_seconds",
            "How long work with the store took: transactions with their commit (begin), readings (read), checks.",
            CALL_BUCKETS,
            "operation",
        )
        self._store_errors = self._counter(
            "cronium_store_errors", "Work that the store could not do, by what it said.", "operation", "code"
        )
        # Looked up here once: finding a series by its labels takes longer than counting.
        self._store_durations = {operation: store_duration.labels(operation=operation) for operation in OPERATIONS}
        for operation in OPERATIONS:
            self._store_errors.labels(operation=operation, code="store_unavailable")
        self._cache_asked = self._counter(
            "cronium_cache_requests", "Questions to a cache; a miss asks the store.", "cache", "result"
        )
        self._degraded = self._gauge("cronium_cache_degraded", "Whether memory stands in for the cache's server.")
        self._dropped = self._counter("cronium_bus_messages_dropped", "Messages that slow subscribers lost.")

    def _add_warm(self) -> None:
        self._warm_starts = self._counter(
            "cronium_warm_starts", "Starts that a container may wait for; a miss was a cold start.", "result"
        )
        for result in ("hit", "miss"):
            self._warm_starts.labels(result=result)
        self._warm = self._gauge("cronium_warm_containers", "Containers that wait for a job now.")
        self._wasted = self._counter("cronium_warm_wasted", "Containers that waited and were thrown away unused.")

    def render(self, backlog: Backlog | None, writable: bool = False) -> bytes:
        """
        The text of a scrape; looks at a disk, which may block. `backlog`: None when the store does not answer;
        `writable`: whether it could be written a moment ago.
        """
        standing = CollectorRegistry()
        standing.register(Standing(backlog, writable=writable, data_dir=self._data_dir))
        return bytes(generate_latest(self._registry) + generate_latest(standing))

    def job_submitted(self, job: Job) -> None:
        self._submitted.labels(executor=job.executor.value, trigger=job.trigger.value).inc()

    def job_started(self, job: Job, latency_seconds: float) -> None:
        if job.attempt - job.given_back <= 1:  # a later attempt waited for the ones before it
            self._latency.observe(latency_seconds)

    def job_finished(self, job: Job) -> None:
        executor = job.executor.value
        self._finished.labels(
            status=job.status.value, reason=_word(job.reason), executor=executor, trigger=job.trigger.value
        ).inc()
        for phase, milliseconds in asdict(job.timings).items():
            if milliseconds is not None:
                name = phase.removesuffix("_ms")
                self._duration.labels(executor=executor, phase=name).observe(milliseconds / 1000)

    def job_retried(self, job: Job, reason: Reason | None) -> None:
        self._retried.labels(executor=job.executor.value, reason=_word(reason)).inc()

    def job_adopted(self, job: Job) -> None:
        self._adopted.labels(executor=job.executor.value).inc()

    def lines_stored(self, lines: int, size_bytes: int) -> None:
        self._lines.inc(lines)
        self._bytes.inc(size_bytes)

    def artifacts_kept(self, count: int, size_bytes: int) -> None:
        self._artifacts.inc(count)
        self._artifact_bytes.inc(size_bytes)

    def log_delayed(self, seconds: float) -> None:
        self._lag.observe(max(0.0, seconds))

    def lease_lost(self) -> None:
        self._leases.inc()

    def event_fired(self, late_seconds: float, missed: int) -> None:
        self._fired.observe(max(0.0, late_seconds))
        self._missed.inc(missed)

    def instance_inherited(self) -> None:
        self._inherited.inc()

    def follow_up_failed(self, lane: str, *, given_up: bool) -> None:
        self._failed.labels(lane=lane).inc()
        if given_up:
            self._given_up.labels(lane=lane).inc()

    def watcher_opened(self) -> None:
        self._watchers.inc()

    def watcher_closed(self) -> None:
        self._watchers.dec()

    def runtime_called(self, operation: str, status: int, seconds: float = 0.0) -> None:
        self._calls.labels(operation=operation, status=str(status)).inc()
        self._call_duration.labels(operation=operation).observe(seconds)

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in METHODS else "other"
        self._requests.labels(method=known, route=route, status=str(status)).inc()
        if status != UPGRADED:
            self._request_duration.labels(method=known, route=route).observe(seconds)

    def request_limited(self, budget: str) -> None:
        self._limited.labels(budget=budget).inc()

    def cache_asked(self, cache: str, *, hit: bool) -> None:
        self._cache_asked.labels(cache=cache, result="hit" if hit else "miss").inc()

    def warm_asked(self, *, hit: bool) -> None:
        self._warm_starts.labels(result="hit" if hit else "miss").inc()

    def warm_waiting(self, count: int) -> None:
        self._warm.set(count)

    def warm_wasted(self) -> None:
        self._wasted.inc()

    def cache_changed(self, degraded: bool) -> None:
        """The cache's server went away, or is back."""
        self._degraded.set(1 if degraded else 0)

    def messages_dropped(self, count: int) -> None:
        """A subscriber was too slow for its buffer."""
        self._dropped.inc(count)

    def store_worked(self, operation: str, took: timedelta, error: str | None) -> None:
        """Work with the store ended; `error` is the code of an `UnavailableError`."""
        self._store_durations[operation].observe(took.total_seconds())
        if error is not None:
            self._store_errors.labels(operation=operation, code=error).inc()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self._registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self._registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help_text, labels, buckets=buckets, registry=self._registry)


def _word(reason: Reason | None) -> str:
    return "" if reason is None else reason.value
