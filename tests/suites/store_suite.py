"""What every store promises: one test and more for each promise in orchestrator/contracts/store.py."""

from __future__ import annotations

from tests.suites.store_artifacts import ArtifactSuite
from tests.suites.store_attempts import AttemptSuite
from tests.suites.store_concurrency import ConcurrencySuite
from tests.suites.store_contention import ContentionSuite
from tests.suites.store_enums import EnumSuite
from tests.suites.store_events import EventSuite
from tests.suites.store_faults import FaultSuite
from tests.suites.store_fencing import FencingSuite
from tests.suites.store_instances import InstanceSuite
from tests.suites.store_jobs import JobSuite
from tests.suites.store_logs import LogSuite
from tests.suites.store_making import (
    EVERY_KIND,
    LEASE,
    ODD_JSON,
    ODD_TEXT,
    BoomError,
    claim_all,
    claim_one,
    get,
    insert,
    make_job,
    make_lines,
    make_run,
    outcome,
)
from tests.suites.store_paging import PagingSuite
from tests.suites.store_queue import QueueSuite
from tests.suites.store_records import RecordSuite
from tests.suites.store_runs import RunSuite
from tests.suites.store_secrets import SecretSuite
from tests.suites.store_transactions import TransactionSuite
from tests.suites.store_values import ValueSuite
from tests.suites.store_variables import VariableSuite

__all__ = [
    "EVERY_KIND",
    "LEASE",
    "ODD_JSON",
    "ODD_TEXT",
    "BoomError",
    "StoreSuite",
    "claim_all",
    "claim_one",
    "get",
    "insert",
    "make_job",
    "make_lines",
    "make_run",
    "outcome",
]


class StoreSuite(
    TransactionSuite,
    JobSuite,
    QueueSuite,
    AttemptSuite,
    ArtifactSuite,
    LogSuite,
    RecordSuite,
    VariableSuite,
    RunSuite,
    SecretSuite,
    EventSuite,
    InstanceSuite,
    ConcurrencySuite,
    EnumSuite,
    ValueSuite,
    PagingSuite,
    FencingSuite,
    ContentionSuite,
    FaultSuite,
):
    """Subclass it, say how to open a store (`open_store`), and every promise is tested. M14: the same tests for all."""
