"""Encryption of secrets: AES-256-GCM (NIST SP 800-38D), a data key for each value, wrapped by a master key."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping

from orchestrator.errors import UnavailableError
from orchestrator.model.secrets import SealedValue
from orchestrator.stores.key_ring import KEY_BYTES, KeyRing

NONCE_BYTES = 12


class AesSealer:
    """`Sealer` by the keys of a ring, which is looked at again for a key that is not known."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._keys: Mapping[str, bytes] = {}

    def key_ids(self) -> tuple[str, ...]:
        self._keys = {id_of(key): key for key in self._ring.load()}
        return tuple(self._keys)

    def seal(self, value: str, *, scope: str, name: str, version: int, key_id: str) -> SealedValue:
        data_key = secrets.token_bytes(KEY_BYTES)
        bound = _bound(scope, name, version)
        return SealedValue(
            scope=scope,
            name=name,
            version=version,
            key_id=key_id,
            wrapped=_encrypt(self._key(key_id), data_key, b"key" + bound),
            sealed=_encrypt(data_key, value.encode(), b"value" + bound),
        )

    def open(self, value: SealedValue) -> str:
        return _decrypt(self._data_key(value), value.sealed, b"value", value).decode()

    def rewrap(self, value: SealedValue, *, key_id: str) -> SealedValue:
        bound = _bound(value.scope, value.name, value.version)
        return SealedValue(
            scope=value.scope,
            name=value.name,
            version=value.version,
            key_id=key_id,
            wrapped=_encrypt(self._key(key_id), self._data_key(value), b"key" + bound),
            sealed=value.sealed,
        )

    def make_key(self) -> str:
        made = id_of(self._ring.add())
        self.key_ids()
        return made

    def drop_keys(self, *, but: str) -> None:
        self._ring.keep_only(self._key(but))
        self.key_ids()

    def _data_key(self, value: SealedValue) -> bytes:
        return _decrypt(self._key(value.key_id), value.wrapped, b"key", value)

    def _key(self, key_id: str) -> bytes:
        if key_id not in self._keys and key_id not in self.key_ids():
            here = ", ".join(self._keys)
            raise UnavailableError(
                f"The secrets in the database need the key {key_id}, which is not here (here: {here}). Put the key they "
                f"were stored with into {self._ring.place}; docs/secrets.md says how.",
                code="secret_key_missing",
            )
        return self._keys[key_id]


def id_of(key: bytes) -> str:
    """A name for a master key, which tells nothing of it."""
    return hashlib.sha256(b"cronium master key" + key).hexdigest()[:16]


def _bound(scope: str, name: str, version: int) -> bytes:
    return json.dumps([scope, name, version]).encode()


def _encrypt(key: bytes, plain: bytes, bound: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - 40 ms, for those with secrets

    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def _decrypt(key: bytes, data: bytes, part: bytes, value: SealedValue) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - likewise
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    bound = part + _bound(value.scope, value.name, value.version)
    try:
        return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise UnavailableError(
            f"The secret {value.name} ({value.scope}, version {value.version}) was not stored as it is now: it was "
            f"changed in the database, or the key {value.key_id} is another one. Set it again: "
            f"`cronium secrets set {value.name}`.",
            code="secret_key_wrong",
        ) from None
