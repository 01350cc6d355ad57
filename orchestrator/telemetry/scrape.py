"""What a scrape looks up anew: the backlog, whether the store works, room on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from orchestrator.model.backlog import Backlog, Waiting, age_seconds
from orchestrator.model.specs import ExecutorKind

NOTHING = Waiting()


@dataclass(frozen=True, slots=True, eq=False)  # a registry keeps it by identity
class Standing(Collector):
    """
    Gauges of one scrape, of all servers on the store together: who sums them over servers counts them twice.

    What is not known is left out, so that nobody takes an outage for an empty queue.
    """

    backlog: Backlog | None
    writable: bool
    data_dir: Path | None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("cronium_store_up", "Whether the store answered this scrape.", 0 if self.backlog is None else 1)
        yield _gauge("cronium_store_writable", "Whether the store could be written at this scrape.", int(self.writable))
        if self.backlog is not None:
            yield from _jobs(self.backlog)
            yield from _lanes(self.backlog)
        if self.data_dir is not None:
            yield from _disk(self.data_dir)


def _jobs(backlog: Backlog) -> Iterator[GaugeMetricFamily]:
    jobs = GaugeMetricFamily("cronium_jobs", "Jobs that are not final, by status.", labels=["status", "executor"])
    depth = GaugeMetricFamily("cronium_queue_depth", "Queued jobs that could be claimed now.", labels=["executor"])
    age = GaugeMetricFamily(
        "cronium_queue_oldest_seconds", "How long the oldest of those has been waiting.", labels=["executor"]
    )
    held = GaugeMetricFamily(
        "cronium_jobs_held", "Queued jobs that wait for a place under their concurrency key.", labels=["executor"]
    )
    for kind in ExecutorKind:
        waiting = backlog.waiting.get(kind, NOTHING)
        jobs.add_metric(["queued", kind.value], waiting.due + waiting.later + waiting.held)
        jobs.add_metric(["running", kind.value], backlog.running.get(kind, 0))
        depth.add_metric([kind.value], waiting.due)
        age.add_metric([kind.value], age_seconds(waiting.oldest_due_at, backlog.seen_at))
        held.add_metric([kind.value], waiting.held)
    yield from (jobs, depth, age, held)
    overdue = age_seconds(backlog.next_fire_at, backlog.seen_at)
    yield _gauge("cronium_schedule_lag_seconds", "How long the schedule that is due first has not fired.", overdue)


def _lanes(backlog: Backlog) -> Iterator[GaugeMetricFamily]:
    pending = GaugeMetricFamily("cronium_outbox_pending", "Outbox items to be delivered.", labels=["lane"])
    lag = GaugeMetricFamily("cronium_outbox_lag_seconds", "How long the oldest due item has waited.", labels=["lane"])
    for name, lane in backlog.lanes.items():
        pending.add_metric([name], lane.pending)
        lag.add_metric([name], age_seconds(lane.first_due_at, backlog.seen_at))
    yield from (pending, lag)


def _disk(directory: Path) -> Iterator[GaugeMetricFamily]:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return  # that it is not there is what the store says, if it is there
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    yield _gauge("cronium_data_dir_free_bytes", "Room on the disk of the data directory.", free)
    yield _gauge("cronium_data_dir_size_bytes", "Size of the disk of the data directory.", size)


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)
