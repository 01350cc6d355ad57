"""Metrics for Prometheus: an observer that counts what the verbs tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from orchestrator.model.jobs import Job, JobStatus, Reason

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
DURATION_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)


class PrometheusObserver:
    """
    Counts in a registry of its own, so that several engines can live in one process.

    Labels are words from closed sets (statuses, reasons, executors, operations); ids and names never become labels.
    """

    def __init__(self, *, version: str, mode: str, store_driver: str, cache_driver: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        build = {"version": version, "mode": mode, "store_driver": store_driver, "cache_driver": cache_driver}
        info = Gauge("cronium_build_info", "What runs here; always 1.", list(build), registry=self._registry)
        info.labels(**build).set(1)  # there from the first scrape of every boot
        self._submitted = self._counter("cronium_jobs_submitted", "Jobs submitted.", "executor")
        self._finished = self._counter(
            "cronium_jobs_finished", "Jobs that became final.", "status", "executor", "reason"
        )
        self._latency = Histogram(
            "cronium_job_start_latency_seconds",
            "From the creation of a job to the start of its script.",
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._duration = Histogram(
            "cronium_job_duration_seconds",
            "How long each phase of a finished job took.",
            ["executor", "phase"],
            buckets=DURATION_BUCKETS,
            registry=self._registry,
        )
        self._jobs = Gauge("cronium_jobs", "Jobs in the store, by status.", ["status"], registry=self._registry)
        self._store_up = Gauge("cronium_store_up", "Whether the store answered.", registry=self._registry)
        self._lines = self._counter("cronium_log_lines", "Lines of output stored.")
        self._bytes = self._counter("cronium_log_bytes", "Bytes of output stored.")
        self._leases = self._counter("cronium_lease_lost", "Writes refused because another supervisor owns the job.")
        self._watchers = Gauge("cronium_watchers", "Connections that follow a log now.", registry=self._registry)
        self._calls = self._counter(
            "cronium_runtime_calls", "Calls of scripts to the runtime API.", "operation", "status"
        )

        self._retried = self._counter(
            "cronium_jobs_retried", "Failed attempts that another follows.", "executor", "reason"
        )
        self._limited = self._counter("cronium_requests_limited", "Requests refused, by budget.", "budget")
        self._degraded = Gauge(
            "cronium_cache_degraded", "Whether memory stands in for the cache's server.", registry=self._registry
        )
        self._dropped = self._counter("cronium_bus_messages_dropped", "Messages that slow subscribers lost.")

    def render(self, jobs: Mapping[JobStatus, int] | None) -> bytes:
        """The text of a scrape. `jobs`: how many there are of each status, None when the store does not answer."""
        self._store_up.set(0 if jobs is None else 1)
        self._jobs.clear()
        if jobs is not None:
            for status in JobStatus:
                self._jobs.labels(status=status.value).set(jobs.get(status, 0))
        return generate_latest(self._registry)

    def job_submitted(self, job: Job) -> None:
        self._submitted.labels(executor=job.executor.value).inc()

    def job_started(self, job: Job, latency_seconds: float) -> None:
        self._latency.observe(latency_seconds)

    def job_finished(self, job: Job) -> None:
        reason = "" if job.reason is None else job.reason.value
        self._finished.labels(status=job.status.value, executor=job.executor.value, reason=reason).inc()
        for phase, milliseconds in asdict(job.timings).items():
            if milliseconds is not None:
                name = phase.removesuffix("_ms")
                self._duration.labels(executor=job.executor.value, phase=name).observe(milliseconds / 1000)

    def job_retried(self, job: Job, reason: Reason | None) -> None:
        self._retried.labels(executor=job.executor.value, reason=reason.value if reason else "").inc()

    def lines_stored(self, lines: int, size_bytes: int) -> None:
        self._lines.inc(lines)
        self._bytes.inc(size_bytes)

    def lease_lost(self) -> None:
        self._leases.inc()

    def watcher_opened(self) -> None:
        self._watchers.inc()

    def watcher_closed(self) -> None:
        self._watchers.dec()

    def runtime_called(self, operation: str, status: int) -> None:
        self._calls.labels(operation=operation, status=str(status)).inc()

    def request_limited(self, budget: str) -> None:
        self._limited.labels(budget=budget).inc()

    def cache_changed(self, degraded: bool) -> None:
        """The cache's server went away, or is back."""
        self._degraded.set(1 if degraded else 0)

    def messages_dropped(self, count: int) -> None:
        """A subscriber was too slow for its buffer."""
        self._dropped.inc(count)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self._registry)
