"""The journal, variables and tokens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orchestrator.contracts.store import IdempotencyKey
from orchestrator.errors import ConflictError
from orchestrator.model.journal import Entry, EntryKind
from orchestrator.model.tokens import Scope, Token
from tests.suites.store_making import ODD_JSON, ODD_TEXT, BoomError, StoreOpening


class RecordSuite(StoreOpening):
    """The journal, variables and tokens."""

    # The journal

    async def test_entries_come_back_numbered_per_subject(self, store, clock):
        async with store.begin() as repos:
            await repos.journal.append("job_1", EntryKind.QUEUED, at=clock.now(), by=ODD_TEXT)
            await repos.journal.append("job_1", EntryKind.CLAIMED, at=clock.now(), by="x", data=ODD_JSON)
            await repos.journal.append("job_2", EntryKind.QUEUED, at=clock.now(), by="x")
        first = Entry(subject="job_1", seq=1, at=clock.now(), kind=EntryKind.QUEUED, by=ODD_TEXT)
        second = Entry(subject="job_1", seq=2, at=clock.now(), kind=EntryKind.CLAIMED, by="x", data=ODD_JSON)
        other = Entry(subject="job_2", seq=1, at=clock.now(), kind=EntryKind.QUEUED, by="x")
        async with store.read() as repos:
            assert await repos.journal.read("job_1") == [first, second]
            assert await repos.journal.read("job_1", after=1) == [second]
            assert await repos.journal.read("job_1", limit=1) == [first]
            assert await repos.journal.read("job_2") == [other]
            assert await repos.journal.read("job_3") == []

    async def test_numbers_have_no_gaps_with_many_writers_and_failures(self, store, clock):
        async def write(number: int) -> None:
            async with store.begin() as repos:
                await repos.journal.append("job_1", EntryKind.QUEUED, at=clock.now(), by=str(number))
                if number % 5 == 0:
                    raise BoomError

        results = await asyncio.gather(*(write(number) for number in range(100)), return_exceptions=True)
        assert sum(isinstance(result, BoomError) for result in results) == 20
        async with store.read() as repos:
            entries = await repos.journal.read("job_1")
        assert [entry.seq for entry in entries] == list(range(1, 81))
        assert {int(entry.by) for entry in entries} == {number for number in range(100) if number % 5}

    # Variables

    async def test_variables_count_their_versions_by_scope_and_key(self, store, clock):
        async with store.begin() as repos:
            assert await repos.variables.get("global", "k") is None
            first = await repos.variables.set("global", "k", ODD_JSON, at=clock.now())
            clock.advance(timedelta(seconds=1))
            second = await repos.variables.set("global", "k", None, at=clock.now())
            other = await repos.variables.set(ODD_TEXT, ODD_TEXT, False, at=clock.now())
        assert (first.value, first.version, second.version, other.version) == (ODD_JSON, 1, 2, 1)
        async with store.read() as repos:
            assert await repos.variables.get("global", "k") == second
            assert await repos.variables.get(ODD_TEXT, ODD_TEXT) == other
            assert await repos.variables.get("k", "global") is None

    async def test_concurrent_writes_of_a_variable_each_get_a_version(self, store, clock):
        async def write(number: int) -> int:
            async with store.begin() as repos:
                return (await repos.variables.set("global", "k", number, at=clock.now())).version

        assert sorted(await asyncio.gather(*(write(number) for number in range(40)))) == list(range(1, 41))

    # Tokens

    async def test_tokens_are_found_by_digest_revoked_or_not(self, store, clock):
        token = Token(id="tok_1", name=ODD_TEXT, scope=Scope.RUN, digest=b"\0\xff", created_at=clock.now())
        revoked = Token(
            id="tok_2", name="x", scope=Scope.READ, digest=b"r", created_at=clock.now(), revoked_at=clock.now()
        )
        async with store.begin() as repos:
            await repos.tokens.insert(token)
            await repos.tokens.insert(revoked)
        async with store.read() as repos:
            assert await repos.tokens.by_digest(b"\0\xff") == token
            assert await repos.tokens.by_digest(b"r") == revoked
            assert await repos.tokens.by_digest(b"nothing") is None

    async def test_an_admin_token_counts_unless_it_was_revoked(self, store, clock):
        def token(name: str, scope: Scope, revoked_at: datetime | None = None) -> Token:
            return Token(
                id=name, name=name, scope=scope, digest=name.encode(), created_at=clock.now(), revoked_at=revoked_at
            )

        async with store.begin() as repos:
            await repos.tokens.insert(token("a", Scope.WRITE))
            await repos.tokens.insert(token("b", Scope.ADMIN, clock.now()))
            assert not await repos.tokens.has_admin()
            await repos.tokens.insert(token("c", Scope.ADMIN))
            assert await repos.tokens.has_admin()

    async def test_the_same_token_twice_is_refused(self, store, clock):
        token = Token(id="tok_1", name="x", scope=Scope.RUN, digest=b"d", created_at=clock.now())
        async with store.begin() as repos:
            await repos.tokens.insert(token)
        with pytest.raises(ConflictError):
            async with store.begin() as repos:
                await repos.tokens.insert(replace(token, id="tok_2"))

    # Idempotency keys

    async def test_a_key_stands_for_the_first_request_that_used_it(self, store, clock):
        """M33"""
        key, day = IdempotencyKey(scope="tok_1", key=ODD_TEXT, digest=b"one"), timedelta(days=1)

        async def remember(key: IdempotencyKey, subject: str) -> str | None:
            async with store.begin() as repos:
                return await repos.idempotency.remember(key, subject, at=clock.now(), keep=day)

        assert await remember(key, "job_1") is None
        assert await remember(key, "job_2") == "job_1"
        assert await remember(replace(key, scope="tok_2"), "job_3") is None
        assert await remember(replace(key, key="other"), "job_4") is None
        with pytest.raises(ConflictError) as refused:
            await remember(replace(key, digest=b"two"), "job_5")
        assert refused.value.code == "idempotency_key_reused"
        clock.advance(day - timedelta(microseconds=1))
        assert await remember(key, "job_6") == "job_1"
        clock.advance(timedelta(microseconds=1))
        assert await remember(replace(key, digest=b"two"), "job_7") is None
        assert await remember(replace(key, digest=b"two"), "job_8") == "job_7"

    async def test_of_many_that_use_a_key_at_once_one_is_first(self, store, clock):
        """M33"""
        key = IdempotencyKey(scope="s", key="k", digest=b"d")

        async def remember(number: int) -> str | None:
            async with store.begin() as repos:
                return await repos.idempotency.remember(key, f"job_{number}", at=clock.now(), keep=timedelta(hours=1))

        answers = await asyncio.gather(*(remember(number) for number in range(20)))
        assert answers.count(None) == 1
        assert {answer for answer in answers if answer} == {f"job_{answers.index(None)}"}

    async def test_a_key_of_a_block_that_failed_is_free(self, store, clock):
        key = IdempotencyKey(scope="s", key="k", digest=b"d")
        with pytest.raises(BoomError):
            async with store.begin() as repos:
                await repos.idempotency.remember(key, "job_1", at=clock.now(), keep=timedelta(hours=1))
                raise BoomError
        async with store.begin() as repos:
            assert await repos.idempotency.remember(key, "job_2", at=clock.now(), keep=timedelta(hours=1)) is None
