"""The store on Postgres: `open_postgres_store`."""

from __future__ import annotations

from orchestrator.stores.postgres.store import open_postgres_store

__all__ = ["open_postgres_store"]
