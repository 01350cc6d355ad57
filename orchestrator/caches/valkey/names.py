"""What things are called on the server: everything under one prefix, the roles apart from each other."""

from __future__ import annotations

from orchestrator.caches.documents import text


class Names:
    """Names under `prefix`, so that several installations can share a server."""

    def __init__(self, prefix: str) -> None:
        self._prefix = text(prefix)
        self.keys = f"{prefix}key:"
        self.channels = f"{prefix}bus:"
        self.requests = f"{prefix}request:"

    def key(self, key: str) -> str:
        return self.keys + text(key)

    def lock(self, name: str) -> str:
        return f"{self._prefix}lock:{text(name)}"

    def own(self, name: str) -> str:
        """A key that no role sees."""
        return f"{self._prefix}own:{name}"
