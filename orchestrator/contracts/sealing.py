"""The seam to encryption: who holds the keys that secrets are kept with."""

from __future__ import annotations

from typing import Protocol

from orchestrator.model.secrets import SealedValue


class Sealer(Protocol):
    """
    Seals values with the installation's keys, which are kept where the store is not.

    Each value has a key of its own, and the master key wraps that one: another master key needs no value. Errors name
    no value and no key, only ids of keys. `UnavailableError`: `secret_key_missing` where a key is not here,
    `secret_key_wrong` where what is stored was not sealed so (another key under this id, or a row that was changed).
    """

    def key_ids(self) -> tuple[str, ...]:
        """The ids of the master keys that are here, the newest first. Blocking. Makes one where none may be missing."""
        ...

    def seal(self, value: str, *, scope: str, name: str, version: int, key_id: str) -> SealedValue:
        """A value under the master key `key_id`."""
        ...

    def open(self, value: SealedValue) -> str:
        """The inverse of `seal`."""
        ...

    def rewrap(self, value: SealedValue, *, key_id: str) -> SealedValue:
        """The same sealed value for another master key."""
        ...

    def make_key(self) -> str:
        """
        Make another master key, keep it beside the old ones, durably, and return its id. Blocking.

        Raises `InvalidError` (`secret_key_given`) where keys are given by configuration: whoever gave them gives another.
        """
        ...

    def drop_keys(self, *, but: str) -> None:
        """Forget all master keys but one, where they are ours to forget. Blocking."""
        ...
