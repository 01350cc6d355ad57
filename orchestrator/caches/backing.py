"""What a cache shows to the other caches, beyond the contract."""

from __future__ import annotations

from typing import Protocol

from orchestrator.contracts.cache import Bus, Cache


class Backing(Cache, Protocol):
    """A cache that another one can stand in for."""

    @property
    def request_bus(self) -> Bus:
        """The bus that its `requests` use, apart from `bus`, where it would be heard."""
        ...
