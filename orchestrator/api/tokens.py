"""Tokens of people and programs: made here, known afterwards only to their owner."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "crn_"
RANDOM_BYTES = 32  # 43 characters, URL-safe


def new_token() -> tuple[str, bytes]:
    """A new token and its digest, which is all that is stored."""
    token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    return token, digest_of(token)


def digest_of(token: str) -> bytes:
    """SHA-256: a token is random and long, so there is nothing to guess that a slower hash would protect."""
    return hashlib.sha256(token.encode()).digest()
