"""The cache in this process's memory: `MemoryCache`."""

from __future__ import annotations

from orchestrator.caches.memory.cache import DEFAULT_MAX_ITEMS, MemoryCache

__all__ = ["DEFAULT_MAX_ITEMS", "MemoryCache"]
