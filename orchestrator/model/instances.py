"""An instance: an installation that serves, known by its data directory, whichever process serves from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """
    Where an instance keeps its files, so that another on the same machine can go on with its jobs when it dies.

    The names of the owners of its leases begin with `id`, which has no colon, and one. `boot_id` is that of the machine's kernel.
    """

    id: str
    state: str
    sockets: str
    boot_id: str
    seen_at: datetime
