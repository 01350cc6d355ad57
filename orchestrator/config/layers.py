"""What one source of settings - the flags, the environment, a file - says, before anybody knows whether it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value for a setting. `origin` is where it stands, for people; a relative path in it is relative to `base`."""

    key: str
    value: object = field(repr=False)
    origin: str
    base: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The values of one source, and what is wrong with it already."""

    given: Sequence[Given] = ()
    faults: Sequence[Fault] = ()


def fault(key: str, message: str, origin: str | None = None) -> Fault:
    """A fault of a setting that says where the value stands, and never what it is: it may be a secret."""
    return Fault(path=key, message=f"{message} ({origin})" if origin else message)
