"""Runtime calls: what the script of one attempt may read and change. Implements `runtime_api.backend`."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

import orjson

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import AttemptOwner, Repositories, Store
from orchestrator.crash import crash_point
from orchestrator.errors import (
    ConflictError,
    CroniumError,
    InvalidError,
    LeaseLostError,
    LimitExceededError,
    NotFoundError,
    UnavailableError,
)
from orchestrator.jobs.environment import token_digest
from orchestrator.jobs.progress import ProgressBoard
from orchestrator.jobs.runtime_limits import RuntimeLimit
from orchestrator.jobs.script_log import STREAMS, Operation, ScriptLogs, entry_text
from orchestrator.jobs.variables import (
    Condition,
    Mismatch,
    Number,
    Writer,
    add,
    check_key,
    missing,
    remove,
    write,
)
from orchestrator.model.documents import time_text
from orchestrator.model.jobs import EXECUTION_MODES
from orchestrator.model.json import Json
from orchestrator.model.variables import GLOBAL_SCOPE, event_scope
from orchestrator.model.variables import Variable as StoredVariable
from runtime_api.backend import Level, RefusalError, Scope, Session, Terms, Variable, VariablePage

RETRY_SECONDS = 1
MAX_TOKEN_CHARS = 128
REFUSALS: Mapping[type[CroniumError], tuple[int, str | None]] = {
    NotFoundError: (404, None),
    ConflictError: (409, None),
    InvalidError: (422, None),
    LeaseLostError: (401, "attempt_over"),
    LimitExceededError: (413, None),
    UnavailableError: (503, None),
}
STATUS_BY_CODE = {"rate_limited": 429}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeBackend:
    """Finds the attempt that a token speaks for. `limit` None: its requests are not counted."""

    store: Store
    clock: Clock
    observer: Observer
    progress: ProgressBoard
    logs: ScriptLogs
    limit: RuntimeLimit | None = None

    async def authenticate(self, token: str) -> Session | None:
        if not token.isascii() or len(token) > MAX_TOKEN_CHARS:
            return None
        with _refusing():
            async with self.store.read() as repos:
                owner = await repos.jobs.owner_of(token_digest(token))
            if owner is None:
                return None
            if self.limit is not None:
                await self.limit.spend(owner)
        return AttemptSession(store=self.store, clock=self.clock, owner=owner, progress=self.progress, logs=self.logs)

    def called(self, operation: str, status: int, seconds: float) -> None:
        self.observer.runtime_called(operation, status, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSession:
    """One attempt's view. What it writes is refused once the attempt is over."""

    store: Store
    clock: Clock
    owner: AttemptOwner
    progress: ProgressBoard
    logs: ScriptLogs

    @property
    def execution_id(self) -> str:
        return self.owner.job.id

    async def get_input(self) -> Json:
        return self.owner.job.input

    async def set_output(self, value: Json) -> None:
        crash_point("output.before")
        with _refusing():
            async with self.store.begin() as repos:
                await repos.jobs.set_output(self.owner.job.id, self.owner.attempt, value)
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
        with _refusing():
            async with self.store.begin() as repos:
                await repos.jobs.set_condition(self.owner.job.id, self.owner.attempt, condition=condition)

    async def get_variable(self, key: str, scope: Scope | None) -> Variable:
        with _refusing():
            check_key(key)
            async with self.store.read() as repos:
                for name in self._read_scopes(scope):
                    found = await repos.variables.get(name, key)
                    if found is not None:
                        return _shown(found)
            raise missing(key)

    async def list_variables(self, scope: Scope, *, prefix: str, cursor: str | None, limit: int) -> VariablePage:
        with _refusing():
            async with self.store.read() as repos:
                page = await repos.variables.page(self._scope(scope), prefix=prefix, after=cursor, limit=limit)
        return VariablePage(items=[_shown(item) for item in page.items], next_cursor=page.next_cursor)

    async def set_variable(self, key: str, value: Json, scope: Scope, terms: Terms) -> int:
        async def change(repos: Repositories) -> dict[str, Json] | Mismatch:
            done = await write(repos, self._scope(scope), key, value, self._writer(), condition=_condition(terms))
            return done if isinstance(done, Mismatch) else {"version": done.version}

        answer = await self._once(key, terms, ["set", scope, key, value, terms.version, terms.only_new], change)
        return _whole(answer["version"])

    async def increment_variable(self, key: str, by: Number, scope: Scope, terms: Terms) -> tuple[Number, int]:
        async def change(repos: Repositories) -> dict[str, Json] | Mismatch:
            done = await add(repos, self._scope(scope), key, by, self._writer(), condition=_condition(terms))
            return done if isinstance(done, Mismatch) else {"value": done.value, "version": done.version}

        answer = await self._once(key, terms, ["add", scope, key, by, terms.version, terms.only_new], change)
        return _number(answer["value"]), _whole(answer["version"])

    async def delete_variable(self, key: str, scope: Scope, terms: Terms) -> None:
        async def change(repos: Repositories) -> dict[str, Json] | Mismatch:
            done = await remove(repos, self._scope(scope), key, condition=_condition(terms))
            return done if isinstance(done, Mismatch) else {"version": done.version}

        await self._once(key, terms, ["delete", scope, key, terms.version, terms.only_new], change)

    async def set_progress(self, value: Json) -> None:
        with _refusing():
            await self.progress.post(self.owner, value)

    async def write_log(self, level: Level, message: str, data: Json, operation: str | None) -> int:
        text = entry_text(level, message, data)
        named = None if operation is None else Operation(key=operation, digest=_digest(["log", text]))
        with _refusing():
            return await self.logs.write(self.store, self.owner, STREAMS[level], text, named)

    async def _once(
        self,
        key: str,
        terms: Terms,
        meant: Json,
        change: Callable[[Repositories], Awaitable[dict[str, Json] | Mismatch]],
    ) -> dict[str, Json]:
        """
        Carry out a write of a living attempt; one that was carried out under this name before is only answered.

        The attempt cannot end before the write is committed, and its writes wait for each other: of two that arrive at
        once under one name the second finds the first one's answer.
        """
        job_id, attempt, digest = self.owner.job.id, self.owner.attempt, _digest(meant)
        crash_point("variable.before")
        with _refusing():
            async with self.store.begin() as repos:
                await repos.variables.hold_attempt(job_id, attempt)
                if terms.operation is not None:
                    earlier = await repos.variables.answer_of(job_id, attempt, terms.operation, digest)
                    if earlier is not None:
                        return earlier
                answer = await change(repos)
                if isinstance(answer, Mismatch):
                    raise _mismatch(key, answer)
                if terms.operation is not None:
                    await repos.variables.keep_answer(job_id, attempt, terms.operation, digest, answer)
        crash_point("variable.committed")
        return answer

    def _writer(self) -> Writer:
        return Writer(by=self.owner.job.id, at=self.clock.now())

    def _read_scopes(self, scope: Scope | None) -> tuple[str, ...]:
        if scope is not None:
            return (self._scope(scope),)
        event_id = self.owner.job.event_id
        return (GLOBAL_SCOPE,) if event_id is None else (event_scope(event_id), GLOBAL_SCOPE)

    def _scope(self, scope: Scope) -> str:
        match scope:
            case "global":
                return GLOBAL_SCOPE
            case "event":
                event_id = self.owner.job.event_id
                if event_id is None:
                    message = (
                        "This job was not made by an event, so there are no variables of its event; use scope=global."
                    )
                    raise RefusalError(422, "no_event", message)
                return event_scope(event_id)
            case _:
                assert_never(scope)


def _shown(found: StoredVariable) -> Variable:
    return Variable(
        key=found.key,
        value=found.value,
        version=found.version,
        scope="global" if found.scope == GLOBAL_SCOPE else "event",
        updated_at=time_text(found.updated_at),
        description=found.description,
    )


def _condition(terms: Terms) -> Condition | None:
    if terms.only_new:
        return Condition(version=None)
    return None if terms.version is None else Condition(version=terms.version)


def _digest(meant: Json) -> bytes:
    return hashlib.sha256(orjson.dumps(meant, option=orjson.OPT_SORT_KEYS)).digest()


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _number(value: Json) -> Number:
    return value if isinstance(value, int | float) else 0


def _mismatch(key: str, mismatch: Mismatch) -> RefusalError:
    more: dict[str, Json] = {"current_version": mismatch.version}
    return RefusalError(412, "version_mismatch", mismatch.sentence(key), more=more)


@contextmanager
def _refusing() -> Iterator[None]:
    """The engine's errors in the words of the runtime API."""
    try:
        yield
    except CroniumError as error:
        raise _refusal(error) from error


def _refusal(error: CroniumError) -> RefusalError:
    status, code = REFUSALS.get(type(error), (500, None))
    status = STATUS_BY_CODE.get(error.code, status)
    retry = RETRY_SECONDS if status == 503 else None
    if isinstance(error, LimitExceededError):
        retry = error.retry_after_seconds
    return RefusalError(status, code or error.code, error.message, retry_after_seconds=retry)
