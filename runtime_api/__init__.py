"""The door for scripts: served on a socket of its own, knows nothing of the engine behind `backend.Backend`."""

from __future__ import annotations
