"""Composition: let an engine run workflows. Apart from `app.py`, so that a single script need not wait for the import."""

from __future__ import annotations

from orchestrator.app import Engine
from orchestrator.jobs.finish import ADVANCE_RUN
from orchestrator.workflows.advance import Advancer


def enable_workflows(engine: Engine) -> Advancer:
    """Register what takes runs further, and return what starts them."""
    advancer = Advancer(
        store=engine.store,
        clock=engine.clock,
        feed=engine.feed,
        submitter=engine.submitter,
        canceller=engine.canceller,
    )
    engine.follower.handlers[ADVANCE_RUN] = advancer.follow
    return advancer
