"""Ids: prefixed, sortable by time, unique without asking anybody."""

from __future__ import annotations

from datetime import datetime

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case: safe in names of files and containers
RANDOM_BYTES = 10


def make_id(prefix: str, at: datetime, random: bytes) -> str:
    """Return `<prefix>_` and 26 characters: 48 bits of milliseconds, then `random` (10 bytes)."""
    number = (int(at.timestamp() * 1000) << (8 * RANDOM_BYTES)) | int.from_bytes(random[:RANDOM_BYTES])
    digits = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(ALPHABET[digit])
    return f"{prefix}_{''.join(reversed(digits))}"
