"""Masking secrets in output (S18)."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.jobs.lines import LineCutter
from orchestrator.jobs.redact import Mask, Screen, StreamMask
from orchestrator.jobs.secret_forms import forms_of
from orchestrator.model.logs import MAX_LINE_BYTES, Position

TOKEN = "cra_ZxY12-_abcdefghijklmnopqrstuvwxyzABCDEFG"
PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
# One line, nothing at its ends that would be cut off; letters of other scripts and what every encoding escapes among it.
SECRETS = st.text(st.sampled_from("abcXYZ0189 _-+/=%'\"\\$`<>&é日😀"), min_size=6, max_size=40).filter(
    lambda text: len(text.strip()) == len(text) >= 6 and len(set(text)) > 2
)
AROUND = st.text(st.sampled_from("#;|~"), max_size=9)  # nothing that a form could end or begin with
KEY = "\n".join(["-----BEGIN PRIVATE KEY-----", *[chr(97 + n) * 3 + "MIIEvQIBADANBgkqhkiG9w0BAQ" for n in range(6)], "-----END PRIVATE KEY-----", ""])  # fmt: skip


def encodings(secret: str) -> dict[str, str]:
    """A secret in each of the ways in which it is promised to be found."""
    raw = secret.encode()
    return {
        "raw": secret,
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "url": quote(secret, safe=""),
        "url of a path": quote(secret),
        "url, lower case": "".join(
            part.lower() if part[0] == "%" else part for part in percent_parts(quote(secret, safe=""))
        ),
        "form": quote_plus(secret),
        "json": json.dumps(secret)[1:-1],
        "json, readable": json.dumps(secret, ensure_ascii=False)[1:-1],
        "shell": shlex.quote(secret),
        "shell, traced": secret.replace("'", "'\\''"),
        "python": repr(secret)[1:-1],
    }


def percent_parts(text: str) -> list[str]:
    parts, begin = [], 0
    while begin < len(text):
        size = 3 if text[begin] == "%" else 1
        parts.append(text[begin : begin + size])
        begin += size
    return parts


def cut(data: bytes, draw: st.DataObject) -> list[bytes]:
    pieces, begin = [], 0
    while begin < len(data):
        size = draw.draw(st.integers(1, 30))
        pieces.append(data[begin : begin + size])
        begin += size
    return pieces


def test_a_token_in_a_line_is_masked():
    assert Mask([TOKEN]).text(f"TOKEN={TOKEN}; again {TOKEN}") == "TOKEN=***; again ***"


@given(PLAIN, st.text(max_size=5))
def test_a_token_inside_base64_is_masked_at_every_alignment(before: str, after: str):
    encoded = base64.b64encode((before + TOKEN + after).encode()).decode()

    shown = Mask([TOKEN]).text(encoded)

    assert "***" in shown
    kept = shown.split("***")
    assert len("".join(kept)) < len(encoded) - len(TOKEN)


@given(SECRETS, AROUND, AROUND)
@example("a'b\"c\\d$e`f", "#", "#")
@example("pass wörd+/=", "", "")
def test_a_secret_is_masked_in_every_encoding(secret: str, before: str, after: str):
    mask = Mask([TOKEN], {"S": secret})
    for kind, encoded in encodings(secret).items():
        shown = mask.text(f"{before}{encoded}{after}")
        assert encoded not in shown, kind
        assert shown.startswith(f"{before}"), kind
        assert "***" in shown, kind
    assert mask.printed == {"S"}


@given(SECRETS, st.binary(max_size=10), st.binary(max_size=10), st.booleans())
def test_a_secret_is_masked_in_base64_whatever_is_around_it(secret: str, before: bytes, after: bytes, url: bool):
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    shown = Mask([], {"S": secret}).data(encode(before + secret.encode() + after))
    bare = Mask([], {"S": secret}).data(encode(secret.encode()))

    assert b"***" in shown
    # What is left of it are the first and the last character, which neighbours have a share in.
    assert len(bare.replace(b"***", b"").rstrip(b"=")) <= 2


@given(st.lists(st.sampled_from([TOKEN, TOKEN[:10], "cra", "plain text ", "\n", "c"]), max_size=8), st.data())
def test_a_stream_is_masked_wherever_it_is_cut(parts: list[str], draw: st.DataObject):
    data = "".join(parts).encode()
    mask = StreamMask(Mask([TOKEN]))

    shown = b"".join([*map(mask.feed, cut(data, draw)), mask.flush()])

    assert shown == data.replace(TOKEN.encode(), b"***")


@given(st.lists(SECRETS, min_size=1, max_size=4), PLAIN, st.data())
def test_any_secret_in_any_encoding_is_masked_wherever_the_stream_is_cut(
    secrets: list[str], between: str, draw: st.DataObject
):
    named = {str(number): secret for number, secret in enumerate(secrets)}
    forms = [form for secret in secrets for form in encodings(secret).values()]
    data = between.join(draw.draw(st.lists(st.sampled_from(forms), min_size=1, max_size=5))).encode()
    mask = StreamMask(Mask([], named))

    shown = b"".join([*map(mask.feed, cut(data, draw)), mask.flush()])

    assert [form for form in forms if form.encode() in shown] == []


@given(st.lists(st.binary(max_size=40), max_size=5), st.data())
def test_output_without_secrets_is_unchanged(parts: list[bytes], draw: st.DataObject):
    data = b"".join(parts)
    whole = Mask([TOKEN], {"S": "hunter-22-\u20ac"})
    mask = StreamMask(whole)

    shown = b"".join([*map(mask.feed, cut(data, draw)), mask.flush()])

    assert shown == data
    assert whole.printed == set()


@given(
    st.lists(st.sampled_from([b"hunter-22", b"hunter", b"\n", b"some words of output ", b"x" * 300]), max_size=30),
    st.data(),
)
def test_a_line_is_clean_only_if_it_holds_no_secret(parts: list[bytes], draw: st.DataObject):
    start = Position(bytes=1000, newlines=3, tail=0)
    screen, cutter = Screen(Mask([], {"S": "hunter-22"}), start.bytes), LineCutter(start)
    size = draw.draw(st.integers(1, 400))
    data = b"".join(parts)
    for begin in range(0, len(data), size):
        piece = data[begin : begin + size]
        screen.feed(piece)
        for line in cutter.feed(piece):
            clean = screen.is_clean(line.end.bytes - len(line.data) - 1, line.end.bytes)
            assert not (clean and b"hunter-22" in line.data)


def test_only_the_lines_that_hold_a_secret_are_looked_at():
    screen, cutter = Screen(Mask([TOKEN], {"S": "hunter-22"})), LineCutter(Position())
    data = b"".join(b"it is hunter-22\n" if number % 100 == 50 else b"some words of output\n" for number in range(1000))
    screen.feed(data)
    lines = cutter.feed(data)
    clean = [screen.is_clean(line.end.bytes - len(line.data) - 1, line.end.bytes) for line in lines]
    assert [number for number, is_clean in enumerate(clean) if not is_clean] == [*range(50, 1000, 100)]


def test_a_stream_without_a_secret_is_not_held_back():
    mask = StreamMask(Mask([TOKEN]))

    assert mask.feed(b"Password: ") == b"Password: "


def test_no_secrets_change_nothing():
    assert Mask([]).text("anything") == "anything"
    assert StreamMask(Mask([])).feed(b"anything") == b"anything"
    assert Mask([]).held_back(b"anything") == 0


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_each_line_of_a_secret_of_several_lines_is_masked_but_not_its_frame(newline: str):
    mask = Mask([], {"key": KEY})
    shown = [mask.text(line) for line in KEY.replace("\n", newline).split("\n")]
    assert {line.rstrip("\r") for line in shown} == {
        "-----BEGIN PRIVATE KEY-----",
        "***",
        "-----END PRIVATE KEY-----",
        "",
    }


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_secret_of_several_lines_is_masked_where_it_is_written_in_one(newline: str):
    mask = Mask([], {"key": KEY})
    other = KEY.replace("\n", newline)
    for encoded in (json.dumps(other), quote(other), other.encode().hex(), repr(other)):
        assert len(mask.text(encoded)) < 20


@pytest.mark.parametrize("width", [64, 76])
def test_base64_in_lines_is_masked_line_by_line(width: str):
    encoded = base64.b64encode(KEY.encode()).decode()
    lines = [encoded[begin : begin + width] for begin in range(0, len(encoded), width)]
    mask = Mask([], {"key": KEY})
    assert [mask.text(line) for line in lines[:-1]] == ["***"] * (len(lines) - 1)


def test_secrets_that_overlap_are_masked_as_one():
    mask = Mask([], {"A": "abcdef-1", "B": "ef-1-ghij"})
    assert mask.text("<abcdef-1-ghij>") == "<***>"
    assert mask.printed == {"A", "B"}


def test_only_what_was_there_was_printed():
    mask = Mask([TOKEN], {"A": "abcdef-1", "B": "something-else"})
    mask.text(f"{TOKEN} abcdef-1")
    assert mask.printed == {"A"}


@pytest.mark.parametrize("before", range(MAX_LINE_BYTES - 12, MAX_LINE_BYTES + 2))
def test_a_secret_where_a_long_line_is_cut_is_masked(before: int):
    mask = Mask([], {"S": "hunter-22"})
    cutter = LineCutter(Position(), mask.held_back)
    pieces = cutter.feed(b"x" * before + b"hunter-22" + b"y" * 100 + b"\n")

    shown = b"".join(mask.data(piece.data) for piece in pieces)

    assert shown == b"x" * before + b"***" + b"y" * 100
    assert pieces[-1].end.bytes == before + 9 + 100 + 1
    assert all(len(piece.data) <= MAX_LINE_BYTES for piece in pieces)


def test_a_line_that_is_given_out_early_is_not_cut_inside_a_secret():
    mask = Mask([], {"S": "hunter-22"})
    cutter = LineCutter(Position(), mask.held_back)
    first = [*cutter.feed(b"password: hunt"), *cutter.release()]
    rest = cutter.feed(b"er-22 ok\n")
    assert [mask.data(piece.data) for piece in [*first, *rest]] == [b"password: ", b"*** ok"]


def test_a_mask_does_not_show_what_it_masks():
    assert "hunter" not in repr(Mask([], {"S": "hunter-22"}))


def test_forms_are_few_and_never_short():
    forms = forms_of("hunter-22")
    assert len(forms) <= 12
    assert min(map(len, forms)) >= 6


def test_a_short_secret_is_masked_wherever_it_begins_and_however_often():
    mask = Mask([], {"S": "0000-8"})
    for before in range(9):
        data = b"x" * before + b"0000-8" * 5
        assert mask.data(data) == b"x" * before + b"***" * 5


def test_a_secret_that_overlaps_itself_leaves_nothing():
    mask = Mask([], {str(number): f"other-secret-{number}" for number in range(20)} | {"S": "abc-X-abc"})
    for before in range(9):
        data = b"#" * before + b"abc-X-abc-X-abc-X-abc"
        assert mask.data(data) == b"#" * before + b"***"
