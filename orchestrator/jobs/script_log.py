"""Entries that scripts write to their job's log by the runtime API: brought to the one writer that numbers its lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from orchestrator.contracts.store import AttemptOwner, Repositories, Store
from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.model.jobs import JobId
from orchestrator.model.json import Json
from orchestrator.model.logs import Stream

STREAMS: Mapping[str, Stream] = {
    "debug": Stream.STDOUT,
    "info": Stream.STDOUT,
    "warning": Stream.STDERR,
    "error": Stream.STDERR,
}


# Of idempotency keys: a blank is in none that a script may give, so a log entry never meets another write's answer.
PREFIX = "log "
PATIENCE_SECONDS = 10.0

Keep: TypeAlias = Callable[[Repositories, int], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A script's name for one write, and the digest by which a repetition is told from another write."""

    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Storing:
    """A named entry on its way to the store."""

    task: asyncio.Task[int]
    operation: Operation


class EntryWriter(Protocol):
    """What takes an attempt's output to the store."""

    async def entry(self, stream: Stream, text: str, keep: Keep | None) -> int:
        """
        Store one more line, masked, and return its number; `keep` is called with it in the same transaction.

        Cancelling leaves the line to be stored. Raises `LimitExceededError` (`log_full`) when the log takes no more,
        `UnavailableError` (`log_not_here`) when it takes nothing yet or any more, and `LeaseLostError`.
        """
        ...


@dataclass(slots=True)
class ScriptLogs:
    """
    The writers of the attempts that are supervised in this process.

    An attempt's lines are numbered by one writer in one process, and its script calls the socket of that process's
    instance. Who calls before the writer is there (a server has just taken the job over) is told to try again.
    """

    writers: dict[tuple[JobId, int], EntryWriter] = field(default_factory=dict)
    _named: dict[tuple[JobId, int], dict[str, _Storing]] = field(default_factory=dict)

    @contextmanager
    def on(self, job_id: JobId, attempt: int, writer: EntryWriter) -> Iterator[None]:
        """Let the attempt's script write through `writer` while the block is open."""
        name = (job_id, attempt)
        self.writers[name], self._named[name] = writer, {}
        try:
            yield
        finally:
            if self.writers.get(name) is writer:
                del self.writers[name]
                for storing in self._named.pop(name).values():
                    storing.task.cancel()

    async def write(
        self, store: Store, owner: AttemptOwner, stream: Stream, text: str, operation: Operation | None
    ) -> int:
        """
        Store a line; its number. One that was stored under this name before is only answered.

        Raises `UnavailableError` (`log_not_here`), `ConflictError` (`idempotency_key_reused`) and what
        `EntryWriter.entry` raises.
        """
        name = (owner.job.id, owner.attempt)
        writer = self.writers.get(name)
        if writer is None:
            raise not_here(owner.job.id)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                if operation is None:
                    return await writer.entry(stream, text, None)
                return await _outcome(self._storing(store, owner, writer, stream, text, operation), owner)
        except TimeoutError as error:
            raise not_here(owner.job.id) from error

    def _storing(
        self,
        store: Store,
        owner: AttemptOwner,
        writer: EntryWriter,
        stream: Stream,
        text: str,
        operation: Operation,
    ) -> asyncio.Task[int]:
        """The storing of a named entry: the one under way, which also outlives a caller who waits no longer, or a new one."""
        under_way = self._named[owner.job.id, owner.attempt]
        found = under_way.get(operation.key)
        if found is None:
            task = asyncio.ensure_future(_once(store, owner, writer, stream, text, operation))
            found = under_way[operation.key] = _Storing(task, operation)
            task.add_done_callback(lambda done: _forget(under_way, operation, done))
        elif found.operation != operation:
            raise ConflictError(
                f"The idempotency key {operation.key!r} is in use for another log entry of this attempt: choose a new one.",
                code="idempotency_key_reused",
            )
        return found.task


async def _outcome(storing: asyncio.Task[int], owner: AttemptOwner) -> int:
    """What becomes of an entry, which is stored also if nobody waits for it any longer."""
    try:
        return await asyncio.shield(storing)
    except asyncio.CancelledError:
        if storing.cancelled():  # the log was closed over it
            raise not_here(owner.job.id) from None
        raise


def _forget(under_way: dict[str, _Storing], operation: Operation, done: asyncio.Task[int]) -> None:
    under_way.pop(operation.key, None)
    if not done.cancelled():
        done.exception()  # whoever waits is told; perhaps nobody does


async def _once(
    store: Store, owner: AttemptOwner, writer: EntryWriter, stream: Stream, text: str, operation: Operation
) -> int:
    job_id, attempt, key = owner.job.id, owner.attempt, PREFIX + operation.key
    async with store.read() as repos:
        earlier = await repos.variables.answer_of(job_id, attempt, key, operation.digest)
    if earlier is not None:
        seq = earlier["seq"]
        return seq if isinstance(seq, int) else 0

    async def keep(repos: Repositories, seq: int) -> None:
        # Not even an earlier call that was given up while its line waited may make storing the output fail.
        if await repos.variables.answer_of(job_id, attempt, key, operation.digest) is None:
            await repos.variables.keep_answer(job_id, attempt, key, operation.digest, {"seq": seq})

    return await writer.entry(stream, text, keep)


def not_here(job_id: JobId) -> UnavailableError:
    return UnavailableError(
        f"The log of job {job_id} is not written by this server just now; try again in a moment.", code="log_not_here"
    )


def entry_text(level: str, message: str, data: Json) -> str:
    """An entry as one line: a JSON object, so that whoever reads the log can tell the parts, and newlines stay inside."""
    entry: dict[str, Json] = {"level": level, "message": message}
    if data is not None:
        entry["data"] = data
    return json.dumps(entry, ensure_ascii=False)
