"""Masking secrets in output."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobs.redact import Mask, StreamMask

TOKEN = "cra_ZxY12-_abcdefghijklmnopqrstuvwxyzABCDEFG"


def test_a_token_in_a_line_is_masked():
    assert Mask([TOKEN]).text(f"TOKEN={TOKEN}; again {TOKEN}") == "TOKEN=***; again ***"


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=12), st.text(max_size=5))
def test_a_token_inside_base64_is_masked_at_every_alignment(before: str, after: str):
    encoded = base64.b64encode((before + TOKEN + after).encode()).decode()

    shown = Mask([TOKEN]).text(encoded)

    assert "***" in shown
    kept = shown.split("***")
    assert len("".join(kept)) < len(encoded) - len(TOKEN)


@given(st.lists(st.sampled_from([TOKEN, TOKEN[:10], "cra", "plain text ", "\n", "c"]), max_size=8), st.data())
def test_a_stream_is_masked_wherever_it_is_cut(parts: list[str], draw: st.DataObject):
    data = "".join(parts).encode()
    mask = StreamMask(Mask([TOKEN]))
    shown, offset = b"", 0
    while offset < len(data):
        size = draw.draw(st.integers(1, 30))
        shown += mask.feed(data[offset : offset + size])
        offset += size
    shown += mask.flush()

    assert shown == data.replace(TOKEN.encode(), b"***")


def test_a_stream_without_a_secret_is_not_held_back():
    mask = StreamMask(Mask([TOKEN]))

    assert mask.feed(b"Password: ") == b"Password: "


def test_no_secrets_change_nothing():
    assert Mask([]).text("anything") == "anything"
    assert StreamMask(Mask([])).feed(b"anything") == b"anything"
