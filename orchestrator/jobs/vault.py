"""Secrets: set, delete, give to the attempts that name them, rotate their key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.sealing import Sealer
from orchestrator.contracts.store import Repositories, Store
from orchestrator.errors import NotFoundError, StartFailedError, UnavailableError
from orchestrator.jobs.persist import persist
from orchestrator.jobs.secret_values import check_description, check_name, check_value
from orchestrator.model.jobs import Job, Reason
from orchestrator.model.journal import EntryKind
from orchestrator.model.secrets import GLOBAL_SCOPE, GivenSecret, Grant, SealedValue, Secret

REWRAPPED_AT_ONCE = 100
SUBJECT = "secret:"  # of journal entries, before scope and name
KEY_SUBJECT = "secret_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What rotating the key did: the id of the key in force, and how many values were wrapped by it anew."""

    key_id: str
    rewrapped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """
    Keeps secrets. Their values go in by `set` and come out in what `given` returns, and nowhere else.

    Errors of the keys are those of `Sealer`; where the store names a key as the one in force that is not here, nothing
    is sealed with another one.
    """

    store: Store
    clock: Clock
    sealer: Sealer
    _rotating: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def set(
        self, name: str, value: str, *, scope: str = GLOBAL_SCOPE, description: str | None = None, by: str
    ) -> Secret:
        """
        Make a secret or give it a new value. Attempts that run keep the one they were given.

        Raises `InvalidError`: `secret_refused`, `secret_name_invalid`.
        """
        check_name(name)
        check_value(value)
        check_description(description or "")
        ids = await asyncio.to_thread(self.sealer.key_ids)
        async with self.store.begin() as repos:
            key_id = await repos.secrets.occupy_key(ids[0])
            secret = await repos.secrets.write(scope, name, description=description, at=self.clock.now())
            seal = partial(self.sealer.seal, value, scope=scope, name=name, version=secret.version, key_id=key_id)
            await repos.secrets.keep(await asyncio.to_thread(seal))
            await repos.secrets.prune()
            await self._note(repos, EntryKind.SECRET_SET, secret, by)
        return secret

    async def delete(self, name: str, *, scope: str = GLOBAL_SCOPE, by: str) -> Secret:
        """Delete a secret and return what it was; attempts that run keep it. Raises `NotFoundError`."""
        async with self.store.begin() as repos:
            secret = await repos.secrets.get(scope, name)
            if secret is None or not await repos.secrets.delete(scope, name):
                raise missing(name, scope)
            await repos.secrets.prune()
            await self._note(repos, EntryKind.SECRET_DELETED, secret, by)
        return secret

    async def get(self, name: str, *, scope: str = GLOBAL_SCOPE) -> Secret:
        """All about a secret but its value. Raises `NotFoundError`."""
        async with self.store.read() as repos:
            secret = await repos.secrets.get(scope, name)
        if secret is None:
            raise missing(name, scope)
        return secret

    async def _note(self, repos: Repositories, kind: EntryKind, secret: Secret, by: str) -> None:
        subject = f"{SUBJECT}{secret.scope}/{secret.name}"
        await repos.journal.append(subject, kind, at=self.clock.now(), by=by, data={"version": secret.version})

    async def grant(self, job: Job) -> tuple[GivenSecret, ...]:
        """
        Record which version of each secret that a job names its attempt gets, and return them: of the job's event, else
        the global one.

        Raises `StartFailedError` (`invalid`) for one that is not there, or cannot be opened. Waits while the store is away.
        """
        if not job.spec.secrets:
            return ()

        async def write() -> None:
            async with self.store.begin() as repos:
                await repos.secrets.grant(job.id, job.attempt, await self._wanted(repos, job))

        async def open_them() -> tuple[GivenSecret, ...]:
            try:
                return await self.given(job)
            except UnavailableError as error:
                if error.code.startswith("secret_key"):
                    raise StartFailedError(error.message, reason=Reason.INVALID) from error
                raise

        await persist(write)
        return await persist(open_them)

    async def _wanted(self, repos: Repositories, job: Job) -> list[Grant]:
        scopes = (GLOBAL_SCOPE,) if job.event_id is None else (job.event_id, GLOBAL_SCOPE)
        grants, absent = [], []
        # In the order of their names: two jobs at once must not wait for each other.
        for wanted in sorted(job.spec.secrets, key=lambda one: one.name):
            for scope in scopes:
                secret = await repos.secrets.use(scope, wanted.name, at=self.clock.now())
                if secret is not None:
                    grant = Grant(variable=wanted.variable, scope=scope, name=wanted.name, version=secret.version)
                    grants.append(grant)
                    break
            else:
                absent.append(wanted.name)
        if absent:
            raise StartFailedError(_absent(absent), reason=Reason.INVALID)
        return grants

    async def given(self, job: Job) -> tuple[GivenSecret, ...]:
        """What the job's attempt was given, also after the secret was changed or deleted."""
        if not job.spec.secrets:
            return ()
        async with self.store.read() as repos:
            granted = await repos.secrets.granted(job.id, job.attempt)
        return await asyncio.to_thread(self._open, granted)

    def _open(self, granted: Sequence[tuple[str, SealedValue]]) -> tuple[GivenSecret, ...]:
        return tuple(
            GivenSecret(variable=variable, name=sealed.name, value=self.sealer.open(sealed))
            for variable, sealed in granted
        )

    async def forget(self, job: Job) -> None:
        """An attempt is over: forget what only it needed."""
        if not job.spec.secrets:
            return

        async def write() -> None:
            async with self.store.begin() as repos:
                await repos.secrets.prune()

        await persist(write)

    async def rotate(self, *, forget: bool = False, by: str) -> Rotation:
        """
        Wrap every value by another master key: one that was put there, else a new one; go on where a rotation broke off.

        With `forget` the old keys are removed where they are ours: backups made before need them.
        """
        async with self._rotating:
            key_id = await self._choose(by)
            rewrapped = 0
            while count := await self._rewrap_some(key_id):
                rewrapped += count
            if forget:
                await self._drop_others(key_id)
            return Rotation(key_id=key_id, rewrapped=rewrapped)

    async def _choose(self, by: str) -> str:
        """The key to wrap by. From here on new values are sealed with it."""
        ids = await asyncio.to_thread(self.sealer.key_ids)
        async with self.store.begin() as repos:
            current = await repos.secrets.occupy_key(ids[0])
            unfinished = await repos.secrets.key_ids() - {current}
        if unfinished:
            return current
        target = ids[0]
        if target == current:
            target = await asyncio.to_thread(self.sealer.make_key)
        async with self.store.begin() as repos:
            await repos.secrets.occupy_key(target)
            await repos.secrets.set_key(target)
            await repos.journal.append(
                KEY_SUBJECT, EntryKind.SECRET_KEY_ROTATED, at=self.clock.now(), by=by, data={"key_id": target}
            )
        return target

    async def _rewrap_some(self, key_id: str) -> int:
        async with self.store.begin() as repos:
            values = await repos.secrets.under_other_keys(key_id, limit=REWRAPPED_AT_ONCE)
            for value in values:
                await repos.secrets.rewrap(self.sealer.rewrap(value, key_id=key_id))
        return len(values)

    async def _drop_others(self, key_id: str) -> None:
        """Inside a transaction that holds the key: nobody may begin to seal with one of those that go."""
        async with self.store.begin() as repos:
            if await repos.secrets.occupy_key(key_id) == key_id and await repos.secrets.key_ids() <= {key_id}:
                await asyncio.to_thread(self.sealer.drop_keys, but=key_id)

    async def missing_keys(self) -> frozenset[str]:
        """The ids of keys that stored values need and that are not here."""
        async with self.store.read() as repos:
            needed = await repos.secrets.key_ids()
        return needed - set(await asyncio.to_thread(self.sealer.key_ids)) if needed else needed


async def grant_secrets(vault: Vault | None, job: Job) -> tuple[GivenSecret, ...]:
    """As `Vault.grant`; without a vault a job that names secrets cannot run."""
    if vault is not None:
        return await vault.grant(job)
    if job.spec.secrets:
        raise StartFailedError(
            "Secrets are kept by a server (`cronium serve`), and this runs without one: submit it there, or give the "
            "values in `env`.",
            reason=Reason.INVALID,
        )
    return ()


async def given_secrets(vault: Vault | None, job: Job) -> tuple[GivenSecret, ...]:
    """As `Vault.given`; without a vault nothing was."""
    return () if vault is None else await vault.given(job)


def missing(name: str, scope: str) -> NotFoundError:
    where = "" if scope == GLOBAL_SCOPE else f" of the event {scope}"
    return NotFoundError(f"There is no secret {name!r}{where}; `cronium secrets list` lists those there are.")


def _absent(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"There is no secret {names[0]}, which the job names. Make it: `cronium secrets set {names[0]}`."
    return f"There are no secrets {', '.join(names)}, which the job names. Make each: `cronium secrets set {names[0]}`, and so on."
