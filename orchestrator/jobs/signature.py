"""Sign what is told to webhooks, as the Standard Webhooks specification says. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from orchestrator.errors import InvalidError

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)


def sign(key: bytes, *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def parse_signing_key(text: str) -> bytes:
    """The key in `whsec_` and base64, of 24 to 64 bytes. Raises `InvalidError` that repeats nothing of it."""
    encoded = text.strip().removeprefix(PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in KEY_BYTES:
        raise InvalidError(f"A signing key must be `{PREFIX}` and the base64 of 24 to 64 random bytes.")
    return key
