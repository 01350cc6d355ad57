"""The store on SQLite: `open_sqlite_store`."""

from __future__ import annotations

from orchestrator.stores.sqlite.store import open_sqlite_store

__all__ = ["open_sqlite_store"]
