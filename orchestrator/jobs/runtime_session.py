"""Runtime calls: what the script of one attempt may read and change. Implements `runtime_api.backend`."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import AttemptOwner, Store
from orchestrator.crash import crash_point
from orchestrator.errors import CroniumError, InvalidError, LeaseLostError, LimitExceededError, UnavailableError
from orchestrator.jobs.environment import token_digest
from orchestrator.model.jobs import EXECUTION_MODES
from orchestrator.model.json import Json
from orchestrator.model.variables import GLOBAL_SCOPE
from runtime_api.backend import RefusalError, Session

RETRY_SECONDS = 1
REFUSALS = {
    InvalidError: (422, None),
    LeaseLostError: (401, "attempt_over"),
    LimitExceededError: (413, None),
    UnavailableError: (503, None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeBackend:
    """Finds the attempt that a token speaks for."""

    store: Store
    clock: Clock
    observer: Observer

    async def authenticate(self, token: str) -> Session | None:
        try:
            async with self.store.read() as repos:
                owner = await repos.jobs.owner_of(token_digest(token))
        except CroniumError as error:
            raise _refusal(error) from error
        return None if owner is None else AttemptSession(store=self.store, clock=self.clock, owner=owner)

    def called(self, operation: str, status: int, seconds: float) -> None:
        self.observer.runtime_called(operation, status, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSession:
    """One attempt's view. What it writes is refused once the attempt is over."""

    store: Store
    clock: Clock
    owner: AttemptOwner

    @property
    def execution_id(self) -> str:
        return self.owner.job.id

    async def get_input(self) -> Json:
        return self.owner.job.input

    async def set_output(self, value: Json) -> None:
        crash_point("output.before")
        try:
            async with self.store.begin() as repos:
                await repos.jobs.set_output(self.owner.job.id, self.owner.attempt, value)
        except CroniumError as error:
            raise _refusal(error) from error
        crash_point("output.committed")

    async def get_context(self) -> dict[str, Json]:
        job = self.owner.job
        return {
            "execution_id": job.id,
            "job_id": job.id,
            "attempt": self.owner.attempt,
            "event_id": job.event_id,
            "run_id": job.run_id,
            "step": job.step,
            "name": job.spec.name or job.step,
            "type": job.spec.script.language,
            "trigger": job.trigger,
            "executor": job.executor,
            "execution_mode": EXECUTION_MODES[job.executor],
            "created_at": job.created_at.isoformat().replace("+00:00", "Z"),
            "started_at": job.started_at.isoformat().replace("+00:00", "Z") if job.started_at else None,
        }

    async def get_condition(self) -> bool | None:
        return self.owner.job.condition

    async def set_condition(self, condition: bool) -> None:
        try:
            async with self.store.begin() as repos:
                await repos.jobs.set_condition(self.owner.job.id, self.owner.attempt, condition=condition)
        except CroniumError as error:
            raise _refusal(error) from error

    async def get_variable(self, key: str) -> Json:
        try:
            async with self.store.read() as repos:
                variable = await repos.variables.get(GLOBAL_SCOPE, key)
        except CroniumError as error:
            raise _refusal(error) from error
        if variable is None:
            raise RefusalError(404, "variable_not_found", f"There is no variable {key!r}.")
        return variable.value

    async def set_variable(self, key: str, value: Json) -> int:
        crash_point("variable.before")
        try:
            async with self.store.begin() as repos:
                variable = await repos.variables.set(GLOBAL_SCOPE, key, value, at=self.clock.now())
        except CroniumError as error:
            raise _refusal(error) from error
        crash_point("variable.committed")
        return variable.version


def _refusal(error: CroniumError) -> RefusalError:
    """The engine's error in the words of the runtime API."""
    status, code = REFUSALS.get(type(error), (500, None))
    retry = RETRY_SECONDS if status == 503 else None
    return RefusalError(status, code or error.code, error.message, retry_after_seconds=retry)
