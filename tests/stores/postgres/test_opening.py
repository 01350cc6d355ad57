"""Opening a Postgres store: what is not there or does not want us is named, soon, and never with a password."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta

import asyncpg
import pytest

from orchestrator.errors import InvalidError, UnavailableError
from orchestrator.stores.postgres import open_postgres_store
from orchestrator.stores.postgres.connect import Address
from orchestrator.telemetry.clock import SystemClock
from tests.servers import free_port, running_postgres

BRIEF = timedelta(seconds=0.3)
PATIENCE = timedelta(seconds=5)


async def refusal(url: str, patience: timedelta = BRIEF) -> str:
    with pytest.raises(UnavailableError) as refused:
        async with open_postgres_store(url, clock=SystemClock(), patience=patience):
            pass
    assert refused.value.code == "store_unavailable"
    assert "secret" not in str(refused.value)
    return str(refused.value)


async def test_a_server_that_is_not_there_is_named_without_the_password():
    """M4"""
    port = free_port()
    said = await refusal(f"postgresql://me:secret@127.0.0.1:{port}/cronium")
    assert f"Postgres at 127.0.0.1:{port}/cronium did not answer within 0.3 s" in said


async def test_a_server_that_accepts_and_says_nothing_is_given_up():
    """M4"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = await refusal(f"postgresql://me:secret@127.0.0.1:{silent.getsockname()[1]}/cronium")
    assert "did not answer within 0.3 s" in said


@pytest.mark.parametrize("url", ["mysql://me:secret@db/cronium", "postgresql://db:secret/cronium", "secret"])
def test_what_is_no_url_of_postgres_is_refused_without_repeating_it(url):
    with pytest.raises(InvalidError) as refused:
        Address.parse(url)
    assert "secret" not in str(refused.value)


def test_an_address_does_not_show_its_password():
    address = Address.parse("postgresql://me:secret@db.example:6432/jobs")
    assert address.where == "Postgres at db.example:6432/jobs"
    assert "secret" not in repr(address)


@pytest.mark.distributed
async def test_a_database_that_does_not_exist_is_named_at_once(postgres):
    said = await refusal(postgres.url("nowhere"), timedelta(hours=1))
    assert "/nowhere refuses us" in said
    assert "does not exist" in said


@pytest.mark.distributed
async def test_an_account_that_does_not_exist_is_refused_at_once(postgres):
    said = await refusal(f"postgresql://stranger:secret@127.0.0.1:{postgres.port}/postgres", timedelta(hours=1))
    assert 'role "stranger" does not exist' in said


@pytest.mark.distributed
async def test_a_server_that_comes_up_in_time_is_waited_for():
    """M11"""
    with running_postgres() as server:
        server.stop()
        opening = open_postgres_store(server.url(), clock=SystemClock(), patience=timedelta(seconds=30))
        entered = asyncio.ensure_future(opening.__aenter__())
        await asyncio.to_thread(server.start)
        store = await entered
        await store.check()
        await opening.__aexit__(None, None, None)


@pytest.mark.distributed
async def test_a_block_waits_for_a_connection_and_then_gets_one(database):
    async with open_postgres_store(database, clock=SystemClock(), patience=PATIENCE, pool_size=1) as store:

        async def read() -> int:
            async with store.begin() as repos:
                return len(await repos.tokens.connection.rows("SELECT pg_sleep(0.01)"))

        assert await asyncio.gather(*(read() for _ in range(10))) == [1] * 10


@pytest.mark.distributed
async def test_sessions_are_ours_to_recognise_and_end_by_themselves(database):
    """A client that died must not hold a lock for long: M18 asks the same of SQLite, where the kernel sees to it."""
    async with open_postgres_store(database, clock=SystemClock(), patience=PATIENCE):
        connection = await asyncpg.connect(database)
        rows = await connection.fetch(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'cronium' AND datname = current_database()"
        )
        assert rows[0]["n"] >= 1
        await connection.close()
    async with open_postgres_store(database, clock=SystemClock(), patience=PATIENCE) as store, store.begin() as repos:
        [[seconds]] = await repos.tokens.connection.rows(
            "SELECT current_setting('idle_in_transaction_session_timeout')"
        )
    assert seconds == "1min"
