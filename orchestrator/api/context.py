"""What the handlers work with: handed to `create_api` by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from orchestrator.api.limits import RequestLimits
from orchestrator.contracts.cache import KeyValue
from orchestrator.contracts.clock import Clock
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import Store
from orchestrator.jobs.artifacts import Shelf
from orchestrator.jobs.cancel import Canceller
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.registrar import Registrar
from orchestrator.jobs.requeue import Requeuer
from orchestrator.jobs.submit import Submitter
from orchestrator.jobs.vault import Vault
from orchestrator.model.backlog import Backlog
from orchestrator.model.json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether jobs can be taken and run now. `details` are public: states and words, no addresses and no secrets."""

    ready: bool
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """How often a quiet connection is touched, and how long one may give no sign of life."""

    every_seconds: float = 15.0
    silence_seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """
    Everything behind the door.

    `cache` is this process's own: it decides whose token is taken. `limits` None: requests are not counted.
    `metrics_text` renders a scrape from the backlog (None: the store does not answer) and whether the store can be written;
    it may block.
    `shelf` None: no artifact lies here. `allowed_origins` are pages on other hosts that may open WebSockets, as browsers write them: `https://host[:port]`.
    """

    store: Store
    clock: Clock
    observer: Observer
    submitter: Submitter
    canceller: Canceller
    requeuer: Requeuer
    registrar: Registrar
    feed: Feed
    cache: KeyValue
    metrics_text: Callable[[Backlog | None, bool], bytes]
    readiness: Callable[[], Awaitable[Readiness]]
    limits: RequestLimits | None = None
    shelf: Shelf | None = None
    vault: Vault | None = None
    metrics_public: bool = False
    allowed_origins: frozenset[str] = frozenset()
    pulse: Pulse = field(default_factory=Pulse)


CONTEXT = web.AppKey("context", ApiContext)
