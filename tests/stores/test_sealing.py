"""Encryption of secrets, and the keys it uses (S16)."""

from __future__ import annotations

import base64
import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.sealing import Sealer
from orchestrator.errors import InvalidError, UnavailableError
from orchestrator.model.secrets import SealedValue
from orchestrator.stores.key_ring import GivenKeys, KeyFile, given_keys, parse_keys
from orchestrator.stores.sealing import AesSealer

KEY, OTHER = (hashlib.sha256(word).digest() for word in (b"one", b"other"))  # the same in every worker
OF_KEY = {"scope": "global", "name": "API_KEY", "version": 1}


def sealer(*keys: bytes) -> Sealer:
    return AesSealer(GivenKeys(keys))


def sealed(value: str = "hunter-22", **changes: object) -> SealedValue:
    one = sealer(KEY)
    return one.seal(value, **{**OF_KEY, **changes}, key_id=one.key_ids()[0])


@given(st.text(st.characters(codec="utf-8")))
def test_a_value_comes_back_and_is_nowhere_in_what_is_stored(value: str):
    stored = sealed(value)
    assert sealer(OTHER, KEY).open(stored) == value
    assert len(value) < 6 or value.encode() not in stored.sealed + stored.wrapped


def test_the_same_value_is_never_sealed_the_same():
    one, other = sealed(), sealed()
    assert one.sealed != other.sealed
    assert one.wrapped != other.wrapped


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "OTHER"}, {"scope": "evt_1"}, {"version": 2}, {"sealed": sealed().sealed}, {"wrapped": sealed().wrapped},
        {"sealed": b""}, {"wrapped": b"short"}, {"sealed": bytes(60)},
    ],
    ids="-".join,
)  # fmt: skip
def test_rows_that_were_swapped_or_changed_do_not_open(changes):
    with pytest.raises(UnavailableError, match=r"API_KEY|OTHER") as refused:
        sealer(KEY).open(replace(sealed(), **changes))
    assert refused.value.code == "secret_key_wrong"
    assert "hunter" not in str(refused.value)


def test_a_missing_key_is_named():
    with pytest.raises(UnavailableError) as refused:
        sealer(OTHER).open(sealed())
    assert refused.value.code == "secret_key_missing"
    assert sealer(KEY).key_ids()[0] in refused.value.message
    assert sealer(OTHER).key_ids()[0] in refused.value.message


def test_a_value_is_wrapped_by_another_key_without_being_opened():
    both = sealer(OTHER, KEY)
    before = sealed()
    after = both.rewrap(before, key_id=both.key_ids()[0])
    assert after.sealed == before.sealed
    assert sealer(OTHER).open(after) == "hunter-22"
    with pytest.raises(UnavailableError):
        sealer(KEY).open(after)


def test_keys_and_values_are_in_no_repr():
    shown = repr([GivenKeys((KEY,)), sealed(), sealer(KEY)])
    assert "hunter" not in shown
    assert repr(KEY)[2:10] not in shown


@pytest.mark.parametrize(
    "write", [lambda key: base64.b64encode(key).decode(), bytes.hex, lambda key: base64.urlsafe_b64encode(key).decode()]
)
def test_a_key_is_read_as_base64_or_hexadecimal(write):
    assert parse_keys(f"{write(KEY)},{write(OTHER)}\n", "x") == (KEY, OTHER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter-22",
        "0" * 64,
        base64.b64encode(b"x" * 32).decode(),
        base64.b64encode(KEY[:16]).decode(),
        KEY.hex() + "00",
        "päss",
    ],
)
def test_what_is_no_strong_key_is_refused_with_the_command_that_makes_one(text: str):
    with pytest.raises(InvalidError, match="openssl rand -base64 32") as refused:
        given_keys(text)
    assert refused.value.code == "secret_key_unusable"
    assert not text or text not in refused.value.message


def test_the_key_file_is_made_once_and_is_private(tmp_path: Path):
    path = tmp_path / "secret.key"
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: KeyFile(path).load(), range(16)))
    assert len(found) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [path]


def test_a_key_that_is_added_comes_first_and_the_old_ones_stay_until_they_are_dropped(tmp_path: Path):
    ring = KeyFile(tmp_path / "secret.key")
    one = AesSealer(ring)
    (first,) = one.key_ids()
    second = one.make_key()
    assert AesSealer(ring).key_ids() == (second, first)
    one.drop_keys(but=second)
    assert AesSealer(ring).key_ids() == (second,)
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600


def test_no_key_is_made_that_another_server_would_not_have(tmp_path: Path):
    for ring in (KeyFile(tmp_path / "secret.key", shared=True), GivenKeys((KEY,))):
        with pytest.raises(InvalidError) as refused:
            AesSealer(ring).make_key()
        assert refused.value.code == "secret_key_given"


def test_a_key_that_is_put_into_the_file_is_found_without_a_restart(tmp_path: Path):
    ring = KeyFile(tmp_path / "secret.key")
    one = AesSealer(ring)
    one.key_ids()
    with pytest.raises(UnavailableError):
        one.open(sealed())
    ring.path.write_text(ring.path.read_text() + base64.b64encode(KEY).decode() + "\n")
    assert one.open(sealed()) == "hunter-22"


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(b"\xff\xfe"), lambda path: path.write_text("nonsense"), lambda path: path.mkdir()],
)
def test_a_file_that_is_no_key_is_named(tmp_path: Path, spoil):
    path = tmp_path / "secret.key"
    spoil(path)
    with pytest.raises(UnavailableError, match=r"secret\.key") as refused:
        KeyFile(path).load()
    assert refused.value.code.startswith("secret_key_un")


def test_a_key_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path):
    path = tmp_path / "missing" / "secret.key"
    with pytest.raises(UnavailableError, match="cannot be written"):
        KeyFile(path).load()
