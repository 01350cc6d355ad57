"""The seal of a backup: a digest inside the file of everything else in the file."""

from __future__ import annotations

import hashlib
from pathlib import Path

SEAL_BYTES = hashlib.sha256().digest_size
_BLOCK_BYTES = 1 << 20


def digest_without(file: Path, hole: bytes) -> tuple[bytes, int]:
    """SHA-256 of a file in which each occurrence of `hole` counts as zeros, and where the first one is; -1: nowhere."""
    digest, place, at, kept = hashlib.sha256(), -1, 0, b""
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            block = kept + block
            if place < 0 and (found := block.find(hole)) >= 0:
                place = at + found
            block = block.replace(hole, bytes(len(hole)))
            # The end is kept back: `hole` may begin there and go on in the next block.
            cut = max(0, len(block) - len(hole) + 1)
            digest.update(block[:cut])
            at, kept = at + cut, block[cut:]
    digest.update(kept)
    return digest.digest(), place
