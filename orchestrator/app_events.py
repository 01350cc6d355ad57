"""Composition: let an engine keep events, fire their schedules and tell their webhooks. What `cronium run` has no need of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.app import Engine
from orchestrator.jobs.finish import NOTIFY, NOTIFY_LANE
from orchestrator.jobs.follow import Follower, Outside
from orchestrator.jobs.notify import Notifier
from orchestrator.jobs.registrar import Registrar
from orchestrator.jobs.scheduler import Scheduler
from orchestrator.model.outbound import OutboundRule
from orchestrator.tools.outbound import open_outbound
from orchestrator.tools.webhook import HttpWebhookSender


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What doors need of events."""

    registrar: Registrar
    scheduler: Scheduler


@asynccontextmanager
async def open_events(
    engine: Engine, *, allow: Sequence[OutboundRule] = (), deny: Sequence[OutboundRule] = ()
) -> AsyncIterator[Events]:
    """Watch schedules and deliver notifications while the block is open, to where the outbound rules let them."""
    queue = engine.submitter.queue
    scheduler = Scheduler(store=engine.store, clock=engine.clock, submitter=engine.submitter, queue=queue)
    registrar = Registrar(store=engine.store, clock=engine.clock, submitter=engine.submitter, wake=scheduler.wake)
    async with open_outbound(allow, deny) as outbound:
        notifier = Notifier(store=engine.store, clock=engine.clock, sender=HttpWebhookSender(outbound=outbound))
        teller = Follower(
            store=engine.store,
            clock=engine.clock,
            handlers={NOTIFY: notifier.follow},
            queue=f"{NOTIFY_LANE}{queue}",
            outside=Outside(),
            observer=engine.observer,
        )
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(scheduler.run()), tasks.create_task(teller.run())]
            try:
                yield Events(registrar=registrar, scheduler=scheduler)
            finally:
                for task in working:
                    task.cancel()
