"""Say that a script printed a secret it was given: in its log and in the job's journal, without the value."""

from __future__ import annotations

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import Store
from orchestrator.jobs.logs import LogWriter
from orchestrator.jobs.persist import persist
from orchestrator.model.jobs import Claim
from orchestrator.model.journal import EntryKind
from orchestrator.model.json import Json


async def tell_printed(store: Store, clock: Clock, claim: Claim, writer: LogWriter, *, by: str) -> None:
    """At the end of an attempt whose log is complete."""
    names = writer.printed
    if not names:
        return
    step = "The script" if claim.job.step is None else f"The step {claim.job.step}"
    what = f"the secret {names[0]}" if len(names) == 1 else f"the secrets {', '.join(names)}"
    await writer.system(f"{step} printed {what}; the log shows *** instead.")
    data: dict[str, Json] = {"secrets": [*names], "attempt": claim.job.attempt}

    async def write() -> None:
        async with store.begin() as repos:
            await repos.journal.append(claim.job.id, EntryKind.SECRETS_PRINTED, at=clock.now(), by=by, data=data)

    await persist(write)
