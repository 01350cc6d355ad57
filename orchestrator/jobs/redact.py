"""Masking of secrets in output. Pure. A convenience for people, not a boundary: a script can always encode."""

from __future__ import annotations

import base64
from collections.abc import Sequence

MASK = "***"


def forms_of(secret: str) -> list[str]:
    """The secret as it may show up: itself, and inside base64 at each of the three alignments."""
    raw = secret.encode()
    forms = [secret]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        # The first and last characters also depend on neighbours; only those in between betray the secret.
        start = (shift * 8 + 5) // 6
        end = (shift + len(raw)) * 8 // 6
        forms.append(encoded[start:end])
    return forms


class Mask:
    """Replaces the forms of some secrets by `***`."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._forms = [form for secret in secrets for form in forms_of(secret)]
        self._raw = [form.encode() for form in self._forms]
        self.longest = max((len(form) for form in self._raw), default=0)

    def text(self, text: str) -> str:
        """Mask a whole line."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def data(self, data: bytes) -> bytes:
        """Mask bytes in which no secret is cut."""
        for form in self._raw:
            if form in data:
                data = data.replace(form, MASK.encode())
        return data

    def held_back(self, data: bytes) -> int:
        """How many bytes at the end of `data` may be the beginning of a secret that goes on in the next bytes."""
        for size in range(min(self.longest - 1, len(data)), 0, -1):
            ending = data[-size:]
            if any(len(form) > size and form.startswith(ending) for form in self._raw):
                return size
        return 0


class StreamMask:
    """Masks a stream of bytes that comes in pieces cut anywhere; holds back only what may become a secret."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._pending = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown so far."""
        data = self._mask.data(self._pending + data)
        held = self._mask.held_back(data)
        self._pending = data[len(data) - held :]
        return data[: len(data) - held]

    def flush(self) -> bytes:
        """Return the rest, at the end of the stream."""
        rest, self._pending = self._pending, b""
        return rest
