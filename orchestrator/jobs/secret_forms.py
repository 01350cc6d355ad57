"""How a secret may show up in output: as it is, and in the encodings that tools and shells put it into. Pure."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

MIN_FORM_BYTES = 6
NEWLINE = re.compile(r"\r\n|\r|\n")
PEM_FRAME = re.compile(r"-+(?:BEGIN|END) [A-Z0-9 ]+-+")
UNCHANGED = re.compile(r"[A-Za-z0-9_.-]+")  # by all of these encodings
SHELL_WORD = re.compile(r"[^A-Za-z0-9_@%+=:,./-]")
WRAPS = (64, 76)  # characters in a line of base64: RFC 7468 (PEM) and RFC 2045 (MIME, base64(1))
MIN_WRAPPED = 16  # of a last line: a shorter one tells little, and much else looks like it
URL_SAFE = str.maketrans("+/", "-_")


def forms_of(secret: str) -> frozenset[bytes]:
    """Every form that is masked. None of them holds a newline: what has several lines is masked line by line."""
    whole = secret.strip("\r\n")
    forms = {form.encode() for text in _texts(whole) for form in _plain(text)}
    for text in _texts(whole):
        raw = text.encode()
        forms |= {raw.hex().encode(), raw.hex().upper().encode()}
        forms.update(form.encode() for form in _in_base64(raw))
    forms.update(line.encode() for line in lines_of(whole))
    return frozenset(form for form in forms if len(form) >= MIN_FORM_BYTES and b"\n" not in form and b"\r" not in form)


def lines_of(secret: str) -> list[str]:
    """The lines of a secret that are masked by themselves: not the shortest, and not the frame of a PEM file."""
    lines = [line.strip() for line in NEWLINE.split(secret)]
    return [line for line in lines if len(line) >= MIN_FORM_BYTES and not PEM_FRAME.fullmatch(line)]


def _texts(whole: str) -> set[str]:
    """The secret with either kind of newline."""
    if NEWLINE.search(whole) is None:
        return {whole}
    lines = NEWLINE.split(whole)
    return {whole, "\n".join(lines), "\r\n".join(lines)}


def _plain(text: str) -> Iterator[str]:
    """The text, and how it is written into URLs, JSON, program text and shell commands."""
    yield text
    if UNCHANGED.fullmatch(text):  # such as each attempt's token, whose forms are made for every job
        return
    for safe in ("", "/", "!'()*", ":/?#[]@!$&'()*+,;="):
        encoded = quote(text, safe=safe)
        yield from (encoded, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), encoded))
    plus = quote_plus(text)
    yield from (plus, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), plus))
    escaped = json.dumps(text)[1:-1]
    yield from (escaped, re.sub(r"\\u[0-9a-f]{4}", lambda found: r"\u" + found[0][2:].upper(), escaped))
    readable = json.dumps(text, ensure_ascii=False)[1:-1]
    yield from (readable, readable.replace("/", "\\/"), escaped.replace("/", "\\/"))
    yield repr(text)[1:-1]
    yield shlex.quote(text)[1:-1] if SHELL_WORD.search(text) else text
    yield text.replace("'", "'\\''")
    yield SHELL_WORD.sub(lambda found: "\\" + found[0], text)
    yield re.sub(r'(["\\$`])', r"\\\1", text)


def _in_base64(raw: bytes) -> Iterator[str]:
    """What of the base64 of any text around `raw` depends on `raw` alone, at each of the three alignments."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        # The first and last characters also depend on neighbours; only those in between betray the secret.
        start = (shift * 8 + 5) // 6
        end = (shift + len(raw)) * 8 // 6
        yield from (encoded[start:end], encoded[start:end].translate(URL_SAFE))
    whole = base64.b64encode(raw).decode()[: len(raw) * 8 // 6]
    for width in WRAPS:
        if len(whole) > width:
            wrapped = (whole[begin : begin + width] for begin in range(0, len(whole), width))
            yield from (line for line in wrapped if len(line) >= MIN_WRAPPED)
