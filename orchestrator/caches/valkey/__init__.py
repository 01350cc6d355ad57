"""The cache on a Valkey or Redis server: `open_valkey_cache`."""

from __future__ import annotations

from orchestrator.caches.valkey.opening import open_valkey_cache

__all__ = ["open_valkey_cache"]
