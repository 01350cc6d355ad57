"""A cache that goes on in memory while its server is away: `open_degrading_cache`."""

from __future__ import annotations

from orchestrator.caches.degrading.cache import DegradingCache, open_degrading_cache

__all__ = ["DegradingCache", "open_degrading_cache"]
