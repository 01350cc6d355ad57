"""What the engine says while it pulls, and how that reads for people. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import BaseModel, Field, ValidationError

MEGABYTE = 1_000_000
DOWNLOADED = ("Download complete", "Extracting", "Pull complete", "Already exists")
DONE = ("Pull complete", "Already exists")
LAYER = ("Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", *DOWNLOADED)
DIGEST = re.compile(r"Digest: (\w+:[0-9a-f]{32,})")
UP_TO_DATE = "Status: Image is up to date"


class _Amount(BaseModel):
    current: int | None = None
    total: int | None = None


class _Line(BaseModel):
    status: str = ""
    id: str = ""
    error: str | None = None
    amount: _Amount | None = Field(None, alias="progressDetail")


@dataclass(slots=True)
class _Layer:
    status: str = ""
    current: int = 0
    total: int | None = None


class Progress:
    """
    One pull, as far as the engine has told of it. `error` is what it failed of, in the registry's own words.

    `digest` is that of what the name stands for; `is_up_to_date` that nothing had to be fetched.
    """

    def __init__(self) -> None:
        self.error: str | None = None
        self.digest: str | None = None
        self.is_up_to_date = False
        self._layers: dict[str, _Layer] = {}
        self._retrying = False

    def hear(self, line: bytes) -> None:
        """Take in one line. What is none of the engine's usual ones tells nothing."""
        if not line.strip():
            return
        try:
            said = _Line.model_validate_json(line)
        except ValidationError:
            return
        if said.error is not None:
            self.error = said.error
        if (digest := DIGEST.match(said.status)) is not None:
            self.digest = digest[1]
        if said.status.startswith(UP_TO_DATE):
            self.is_up_to_date = True
        if said.status.startswith("Retrying in "):
            self._retrying = True
        if said.id and said.status in LAYER:
            self._hear_of_layer(said)

    def words(self) -> str:
        """Such as `12.3 of 45.6 MB, 2 of 7 layers done`; how many bytes in all is known when every layer is begun."""
        if not self._layers:
            return "asking the registry"
        done = sum(layer.status in DONE for layer in self._layers.values())
        words = f"{self._bytes()}, {done} of {len(self._layers)} {_layers(len(self._layers))} done"
        return f"{words}; the registry broke off, the engine tries again" if self._retrying else words

    def _bytes(self) -> str:
        layers = self._layers.values()
        current = sum(layer.current for layer in layers)
        if any(layer.total is None and layer.status not in DOWNLOADED for layer in layers):
            return f"{_megabytes(current)} MB"
        return f"{_megabytes(current)} of {_megabytes(sum(layer.total or 0 for layer in layers))} MB"

    def _hear_of_layer(self, said: _Line) -> None:
        layer = self._layers.setdefault(said.id, _Layer())
        layer.status = said.status
        if said.status == "Downloading" and said.amount is not None:
            self._retrying = False
            layer.current = said.amount.current or 0
            layer.total = said.amount.total or layer.total
        elif said.status in DOWNLOADED:
            layer.current = layer.total or layer.current


def _megabytes(number: int) -> str:
    return f"{number / MEGABYTE:.1f}"


def _layers(number: int) -> str:
    return "layer" if number == 1 else "layers"
